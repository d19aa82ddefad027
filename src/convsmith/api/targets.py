"""Names of networks."""

from convsmith.models.resolve import Target, find


def load_target(text: str, *overrides: str, input_shape: tuple[int, int, int] | None = None) -> Target:
    """Find a net by what names it, notation, a recipe, a run or a bundle; for `export`, `draw` and the like.

    Args:
        text: A net in the notation, a recipe's name or file, or the folder of a run or a bundle.
        overrides: Settings of the net, or fields of the recipe, as `key=value`.
        input_shape: `(C, H, W)` of one image; that of a recipe's data if left out.

    Raises:
        ConvsmithError: Nothing of that name, or its layers do not fit.

    Example:
        >>> import convsmith as cs
        >>> cs.load_target("mnist-classic").analysis.parameters
        593200
    """
    return find(text, overrides, input_shape)
