"""The size that images of a first recipe are resized to."""

from dataclasses import dataclass
from typing import Literal

from convsmith.data.checks.description import Sizes

# Sides in pixels, and the longest without a GPU: the operations grow with its square.
_SIDES = (16, 24, 32, 48, 64, 96, 128, 160, 192, 224)
LONGEST_ON_A_CPU, LONGEST_ON_A_GPU = 96, 224
# A longer side than this is not kept even if all images have it, and aspect ratios that differ by more than
# this factor are not stretched.
_KEPT, _STRETCHED = 4 / 3, 1.6


@dataclass(frozen=True, kw_only=True)
class Resizing:
    """How images are resized.

    Attributes:
        side: Height and width in pixels.
        policy: A value of `data.resize_policy`.
        reason: Why, a sentence without its full stop.
    """

    side: int
    policy: Literal["stretch", "pad"]
    reason: str


def resizing(sizes: Sizes, longest: int) -> Resizing | None:
    """Return how to resize images of these sizes; None if they stay as they are.

    The side is the largest of a list that three quarters of the images have, at most `longest`. Images whose
    aspect ratios differ are padded, so that nothing is cut off and nothing is distorted.

    Example:
        >>> resizing(Sizes.of({(28, 28): 100}), 96)
        >>> found = resizing(Sizes.of({(500, 375): 70, (375, 500): 30}), 96)
        >>> found.side, found.policy
        (96, 'pad')
    """
    (width, height), _ = sizes.common[0]
    if sizes.distinct == 1 and max(width, height) <= _KEPT * longest:
        return None
    usual = int(sizes.shorter.p25)
    side = next((side for side in reversed(_SIDES) if side <= min(usual, longest)), _SIDES[0])
    spread = sizes.aspect.p95 / sizes.aspect.p5
    middle = max(sizes.aspect.median, 1 / sizes.aspect.median)
    policy: Literal["stretch", "pad"] = "stretch" if spread * middle <= _STRETCHED else "pad"
    ratio = f"width/height {sizes.aspect.p5:.3g} to {sizes.aspect.p95:.3g}"
    what = (
        "all images have" if sizes.distinct == 1 else "the shorter side of three quarters of the images has"
    )
    least = min(width, height) if sizes.distinct == 1 else usual
    reason = f"{what} {'a shorter side of ' if sizes.distinct == 1 else 'at least '}{least} pixels, {ratio}"
    if usual > side:
        reason += f"; {side} pixels train fast, larger ones may be more accurate"
    return Resizing(side=side, policy=policy, reason=reason)
