"""A recipe for an instance of a module."""

from typing import TYPE_CHECKING

from convsmith.modules.config import ModuleConfig
from convsmith.recipes.origin import with_origin
from convsmith.recipes.schema import Recipe

if TYPE_CHECKING:
    from torch import nn


def with_instance(recipe: Recipe, module: "nn.Module") -> Recipe:
    """Return a recipe that names the class of an instance instead of its own net."""
    from convsmith.modules.instance import loaded_instance

    outputs = recipe.model.outputs if isinstance(recipe.model, ModuleConfig) else None
    model = ModuleConfig(module=str(loaded_instance(module).reference), outputs=outputs)
    return with_origin(recipe.model_copy(update={"model": model}), recipe)
