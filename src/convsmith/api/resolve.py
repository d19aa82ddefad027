"""Resolve a name to a model."""

from typing import TYPE_CHECKING

from convsmith.models import resolve as resolver
from convsmith.models.model import Model
from convsmith.models.resolve import Preference
from convsmith.modules.access import CodeAccess
from convsmith.net.inputs import Inputs

if TYPE_CHECKING:
    from torch import nn


def resolve(
    name: str,
    *overrides: str,
    input_shape: Inputs | None = None,
    prefer: Preference = "recipe",
    trust_code: bool = False,
    module: "nn.Module | None" = None,
) -> Model:
    """Resolve a name to a model, for `export`, `draw` and `receptive_field`.

    Args:
        name: A net in the notation, a recipe's name or file, a zoo model, the folder of a run or a bundle, or
            a module: `file.py:Class`, `notebook.ipynb:Class`, `package.module:function()`. `recipe:NAME` and
            `zoo:NAME` choose where one word names both.
        overrides: Settings of the net, or fields of the recipe, as `key=value`.
        input_shape: `(C, H, W)` of one image; by default that of the model's own data. For a module the same
            as in `summary`.
        prefer: Which model a word denotes that names both a recipe and a zoo model. With overrides it is the
            recipe.
        trust_code: Whether to run the code of a run or bundle whose net is a module.
        module: An instance of its net, to use instead of that code.

    Raises:
        UntrustedCodeError: The net of the run is a module, and its code may not be run.
        ConvsmithError: There is no such model, or its layers do not fit.

    Example:
        >>> import convsmith as cs
        >>> cs.resolve("mnist-classic").analysis.parameters
        593200
        >>> cs.resolve("digits").kind, cs.resolve("zoo:digits").kind
        ('recipe', 'zoo')
    """
    access = CodeAccess(trust=trust_code, module=module)
    return resolver.resolve(name, overrides, input_shape, prefer=prefer, access=access)
