"""The size that images of a first recipe are resized to."""

from dataclasses import replace

from convsmith.data.checks.description import Sizes
from convsmith.data.sizes import SizeSuggestion, is_kept, suggest_size

# The longest side of a square without and with a GPU: the operations grow with its square.
LONGEST_ON_A_CPU, LONGEST_ON_A_GPU = 96, 224


def resizing(sizes: Sizes, longest: int) -> SizeSuggestion | None:
    """Return how to resize images of these sizes; None if they stay as they are.

    The size is that of `suggest_size`, which the error for mixed sizes suggests too.

    Example:
        >>> resizing(Sizes.of({(28, 28): 100}), 96)
        >>> resizing(Sizes.of({(500, 375): 100}), 96).settings
        'data.resize=96x128'
        >>> resizing(Sizes.of({(500, 375): 70, (375, 500): 30}), 96).settings
        'data.resize=96 data.resize_policy=crop'
    """
    (width, height), _ = sizes.common[0]
    if sizes.distinct == 1 and is_kept(width, height, longest):
        return None
    suggestion = suggest_size(sizes.counts, longest)
    side = int(sizes.shorter.median)
    if is_kept(side, side, longest):
        return suggestion
    return replace(
        suggestion, reason=f"{suggestion.reason}; larger images may be more accurate, but train longer"
    )
