"""The net of a first recipe, in the notation: stages by the size of the images, width by their number."""

import math

from convsmith.data.dataset import DatasetInfo
from convsmith.net.arithmetic import analyze_notation

# Channels of the first layer, from which a width is chosen, and the most of any layer.
WIDTHS = (8, 12, 16, 24, 32, 48)
MOST_CHANNELS = 256
# Side of the last map in pixels, side below which a net has no sums, and side from which on the first layer
# halves the image.
_LAST_SIDE, _TINY_SIDE, _LARGE_SIDE = 7, 14, 64
# Most pairs of convolutions of the last stage; more are not needed for any size.
_MOST_PAIRS = 4
# Training images up to which a width is not exceeded.
_WIDEST = ((300, 8), (1_000, 12), (3_000, 16), (12_000, 24), (50_000, 32))


def starter_net(info: DatasetInfo, width: int) -> str:
    """Return a net for images of a size.

    Each stage halves the map and doubles the channels, up to 256, until the shorter side has about 7 pixels.
    A stage is a convolution of stride 2 and a residual pair of convolutions; for tiny images, plain ones. The
    last stage has as many pairs as it takes for the receptive field to cover the shorter side.
    With more classes than channels, a 1x1 convolution widens the last map for the classifier.

    Args:
        info: Shape of the images `(C, H, W)`, and number of classes.
        width: Channels of the first layer, one of `WIDTHS`.

    Example:
        >>> starter_net(DatasetInfo(image_shape=(1, 28, 28), num_classes=10), 16)
        'C16 / C32:s2 +(C32 C32:anone):arelu / C64:s2 +(C64 C64:anone):arelu / G F10'
        >>> starter_net(DatasetInfo(image_shape=(1, 8, 8), num_classes=10), 16)
        'C16 C16 / C32:s2 C32 / G F10'
    """
    nets = (_net(info, width, pairs) for pairs in range(1, _MOST_PAIRS + 1))
    side = min(info.image_shape[1:])
    for net in nets:
        # The notation has the field of every net.
        if analyze_notation(net, info.image_shape).receptive_field >= side:
            break
    return net


def _net(info: DatasetInfo, width: int, pairs: int) -> str:
    side = min(info.image_shape[1:])
    halvings, channels = num_halvings(side), width
    if side < _TINY_SIDE:
        blocks = [f"C{channels} C{channels}"]
    elif side < _LARGE_SIDE:
        blocks = [f"C{channels}"]
    else:
        blocks, halvings = [f"C{channels}:k5:s2"], halvings - 1
    for number in range(halvings):
        channels = min(2 * channels, MOST_CHANNELS)
        pair = f"C{channels}" if side < _TINY_SIDE else f"+(C{channels} C{channels}:anone):arelu"
        times = f"*{pairs}" if pairs > 1 and number == halvings - 1 else ""
        blocks.append(f"C{channels}:s2 {pair}{times}")
    if info.num_classes > channels:
        blocks[-1] += f" P{min(-(-info.num_classes // 8) * 8, MOST_CHANNELS)}"
    return " / ".join([*blocks, f"G F{info.num_classes}"])


def num_halvings(side: int) -> int:
    """Return how often a map of this shorter side is halved, at least once and while 3 pixels are left.

    >>> [num_halvings(side) for side in (4, 8, 28, 32, 64, 96, 128, 224)]
    [1, 1, 2, 2, 3, 4, 4, 5]
    """
    return max(round(math.log2(side / _LAST_SIDE)), 1)


def widest(images: int) -> int:
    """Return the largest width for a number of training images: few images do not determine many weights.

    >>> widest(245), widest(1_200), widest(60_000)
    (8, 16, 48)
    """
    return next((width for most, width in _WIDEST if images <= most), WIDTHS[-1])
