"""Small copies of images, by which near-duplicates are found."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convsmith.data.images.memory_mapped import Images

# Pixels a side of the thumbnails.
SIDE = 32
_CHUNK = 2048


class Thumbnails:
    """Small copies of images, 3 KB each.

    Example:
        >>> thumbnails = Thumbnails()
        >>> thumbnails.add(Image.new("L", (100, 50)))
        >>> thumbnails.pixels().shape
        (1, 32, 32, 1)
    """

    def __init__(self) -> None:
        self._side = 0
        self._content = bytearray()

    def add(self, image: Image.Image) -> None:
        """Add an image, which is stretched to a square. The size of the first one limits the size of all."""
        self._side = self._side or min(SIDE, max(image.size))
        square = (self._side, self._side)
        image = image.convert("RGB")
        if image.size != square:
            image = image.resize(square, Image.Resampling.BOX)
        self._content += image.tobytes()

    @staticmethod
    def reduced(image: Image.Image) -> Image.Image:
        """Return an image as small as `add` needs it, for the memory of what waits to be added."""
        if max(image.size) <= SIDE:
            return image
        return image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX)

    def pixels(self) -> NDArray[np.uint8]:
        """Return them: `(N, S, S, C)`; C is 1 if all are grey."""
        side = self._side or 1
        pixels = np.frombuffer(bytes(self._content), np.uint8).reshape(-1, side, side, 3)
        parts = np.array_split(pixels, len(pixels) // _CHUNK + 1)
        return pixels[..., :1] if all((part == part[..., :1]).all() for part in parts) else pixels


def thumbnails_of(images_NHWC: Images) -> NDArray[np.uint8]:  # noqa: N803
    """Return thumbnails of images of one size: `(N, S, S, C)`."""
    _, height, width, channels = images_NHWC.shape
    side = min(SIDE, max(height, width))
    thumbnails = np.empty((len(images_NHWC), side, side, channels), dtype=np.uint8)
    for thumbnail, pixels in zip(thumbnails, images_NHWC, strict=True):
        if (height, width) != (side, side):
            image = Image.fromarray(pixels if channels > 1 else pixels[..., 0])
            pixels = np.asarray(image.resize((side, side), Image.Resampling.BOX))  # noqa: PLW2901
        thumbnail[...] = pixels.reshape(side, side, channels)
    return thumbnails
