"""Resolve a name to a model."""

from convsmith.models import resolve as resolver
from convsmith.models.model import Model
from convsmith.models.resolve import Preference
from convsmith.net.inputs import Inputs


def resolve(
    name: str, *overrides: str, input_shape: Inputs | None = None, prefer: Preference = "recipe"
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

    Raises:
        ConvsmithError: There is no such model, or its layers do not fit.

    Example:
        >>> import convsmith as cs
        >>> cs.resolve("mnist-classic").analysis.parameters
        593200
        >>> cs.resolve("digits").kind, cs.resolve("zoo:digits").kind
        ('recipe', 'zoo')
    """
    return resolver.resolve(name, overrides, input_shape, prefer=prefer)
