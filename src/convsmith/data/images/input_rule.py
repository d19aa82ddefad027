"""The rule by which decoded images become a net's input: the same in training, verification and prediction.

1. `data.decode`: the first frame, upright, 8 bits per channel, grey or RGB.
2. Convert to the channels of the net: grey is `0.299 R + 0.587 G + 0.114 B`.
3. Composite over the background: `(alpha pixel + (255 - alpha) background) / 255`, rounded.
4. Resize to the net's size by the resize policy, with a Lanczos filter as wide as the reduction, which avoids
   aliasing. An image of that size stays as it is.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convsmith.data.images.decode import DecodedImage, Encoded, UnusableImageError, decode_image

Pixels = NDArray[np.uint8]
Colour = tuple[int, ...]
ResizePolicy = Literal["stretch", "crop", "pad"]
POLICIES: dict[ResizePolicy, str] = {
    "stretch": "the whole image is resized to the input's height and width",
    "crop": "the largest central part with the input's aspect ratio is resized",
    "pad": "the whole image is resized to fit, centred, and the background fills the rest",
}
assert set(POLICIES) == set(get_args(ResizePolicy))


@dataclass(frozen=True, kw_only=True)
class Frame:
    """The size of a net's input, and how images of other sizes get it.

    Attributes:
        height: In pixels; `width` likewise.
        resize_policy: A key of `POLICIES`.
    """

    height: int
    width: int
    resize_policy: ResizePolicy

    def inner_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the size to which an image `(width, height)` is resized before it is padded.

        >>> Frame(height=96, width=128, resize_policy="pad").inner_size((64, 64))
        (96, 96)
        """
        if self.resize_policy != "pad":
            return self.width, self.height
        width, height = size
        scale = min(self.width / width, self.height / height)
        return max(1, round(scale * width)), max(1, round(scale * height))

    def place(self, inner: tuple[int, int]) -> tuple[int, int]:
        """Return the left and the top pixel of a resized image in the net's input."""
        return (self.width - inner[0]) // 2, (self.height - inner[1]) // 2


@dataclass(frozen=True, kw_only=True)
class InputRule(Frame):
    """How decoded images become a net's input.

    Attributes:
        channels: 1 for grey, 3 for RGB.
        background: One level of 0 to 255 per channel.
    """

    channels: int
    background: Colour


def read_pixels(encoded: Encoded, rule: InputRule) -> Pixels:
    """Return the net's input `(H, W, C)` uint8.

    Args:
        encoded: As for `decode_image`.
        rule: Of the run or the bundle.

    Raises:
        UnusableImageError: The image cannot be used.

    Example:
        >>> rule = InputRule(channels=1, height=2, width=2, resize_policy="crop", background=(128,))
        >>> read_pixels(Image.new("RGB", (6, 4), "white"), rule).tolist()
        [[[255], [255]], [[255], [255]]]
    """
    decoded = decode_image(encoded)
    try:
        return as_array(resize(flatten(decoded, rule.background), rule))
    except MemoryError as error:
        raise UnusableImageError("oversized", "does not fit into memory") from error


def flatten(decoded: DecodedImage, background: Colour) -> Image.Image:
    """Return an image without transparency, of mode L for a background of one channel, else RGB."""
    mode = "L" if len(background) == 1 else "RGB"
    image = decoded.image if decoded.image.mode == mode else decoded.image.convert(mode)
    if decoded.alpha is None:
        return image
    return Image.composite(image, Image.new(mode, image.size, background), decoded.alpha)


def resize(image: Image.Image, rule: InputRule) -> Image.Image:
    """Return an image of mode L or RGB in the size of the net."""
    inner, size = shrink(image, rule), (rule.width, rule.height)
    if inner.size == size:
        return inner
    padded = Image.new(image.mode, size, rule.background)
    padded.paste(inner, rule.place(inner.size))
    return padded


def shrink(image: Image.Image, frame: Frame) -> Image.Image:
    """Return an image resized to `frame.inner_size`: what the background does not show through."""
    width, height = size = (frame.width, frame.height)
    if image.size == size:
        return image
    if frame.resize_policy == "crop":
        scale = min(image.width / width, image.height / height)
        inner = (max(1, round(scale * width)), max(1, round(scale * height)))
        left, top = (image.width - inner[0]) // 2, (image.height - inner[1]) // 2
        # Crop first: a filter over the full image would mix in pixels outside of the crop.
        image = image.crop((left, top, left + inner[0], top + inner[1]))
    return image.resize(frame.inner_size(image.size), Image.Resampling.LANCZOS)


def as_array(image: Image.Image) -> Pixels:
    """Return the pixels `(H, W, C)` of an image of mode L or RGB."""
    return np.array(image).reshape(image.height, image.width, len(image.getbands()))
