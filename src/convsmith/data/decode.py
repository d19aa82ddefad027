"""The one way in which images are decoded, and why one cannot be."""

import io
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

Encoded = bytes | str | NDArray[np.uint8] | None
# Only formats that Pillow decodes without outside programs; a PSD or FITS named .png is refused.
FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF", "PPM")
MAX_PIXELS = 50_000_000
GREY_MODES = frozenset({"1", "L", "LA"})
WIDE_MODES = ("I", "F")
# What some files begin with that are named like images and are none.
_MAGIC = (
    (b"\x80\x02", "a pickle"),
    (b"\x80\x03", "a pickle"),
    (b"\x80\x04", "a pickle"),
    (b"\x80\x05", "a pickle"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"8BPS", "a Photoshop file"),
    (b"SIMPLE  =", "a FITS file"),
    (b"%PDF", "a PDF"),
    (b"%!PS", "PostScript"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"PAR1", "a parquet file"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x00\x00\x00\x0cjP", "JPEG 2000"),
    (b"version https://git-lfs", "a Git LFS pointer: the image itself was never fetched"),
)


@dataclass(frozen=True, kw_only=True)
class DecodedImage:
    """A decoded image, of mode L or RGB by default, with the mode and the format that it is stored in."""

    image: Image.Image
    mode: str
    format: str | None = None


class UnusableImageError(Exception):
    """An image that cannot be used; says why."""

    def __init__(self, kind: Literal["unreadable", "oversized"], reason: str) -> None:
        super().__init__(reason)
        self.kind, self.reason = kind, reason


def plain(image: Image.Image) -> Image.Image:
    """Mode L or RGB of any mode of 8 bits a channel."""
    return image.convert("L" if image.mode in GREY_MODES else "RGB")


def open_image(encoded: Encoded, convert: Callable[[Image.Image], Image.Image] = plain) -> DecodedImage:
    """Decode one image.

    Args:
        encoded: A file's bytes, its path, or pixels `(H, W)` or `(H, W, 3)` uint8.
        convert: What is made of a file's image while the file is open.

    Raises:
        UnusableImageError: It is damaged, no image, of a format that is not read, or too large, which its
            header tells before any pixel is decoded.

    Example:
        >>> open_image(np.zeros((2, 3), np.uint8)).image.size
        (3, 2)
        >>> open_image(b"This is text")
        Traceback (most recent call last):
        convsmith.data.decode.UnusableImageError: not an image in one of the formats PNG, JPEG, ...: text
    """
    try:
        return _opened(encoded, convert)
    except (UnusableImageError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise _too_large() from error
    # Damaged files make decoders raise nearly anything: struct.error, zlib.error, IndexError, ...
    except Exception as error:
        raise UnusableImageError("unreadable", _reason(error, encoded)) from error


def look_at(images: Iterable[Encoded | UnusableImageError]) -> Iterator[DecodedImage | UnusableImageError]:
    """Decode images one by one; those that cannot be used come as the error that says why."""
    for encoded in images:
        try:
            yield encoded if isinstance(encoded, UnusableImageError) else open_image(encoded)
        except UnusableImageError as error:
            yield error


def _opened(encoded: Encoded, convert: Callable[[Image.Image], Image.Image]) -> DecodedImage:
    if encoded is None:
        raise UnusableImageError("unreadable", "there is no image")
    if isinstance(encoded, np.ndarray):
        image = Image.fromarray(encoded)
        return DecodedImage(image=image, mode=image.mode)
    content = encoded if isinstance(encoded, bytes) else Path(encoded).read_bytes()
    if not content:
        raise UnusableImageError("unreadable", "the file is empty")
    with warnings.catch_warnings():
        # Of odd metadata, and of sizes, which are looked at here.
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            mode = image.mode
            # From the header, before any pixel is decoded.
            if image.width * image.height > MAX_PIXELS:
                raise _too_large()
            if mode.startswith(WIDE_MODES):
                raise UnusableImageError("unreadable", f"mode {mode} holds more than 8 bits a channel")
            kind = image.format
            opened = DecodedImage(image=convert(image), mode=mode, format=kind)
        if kind == "PNG":
            # The pixels' checksums, which decoding passes over.
            with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
                image.verify()
    return opened


def _too_large() -> UnusableImageError:
    return UnusableImageError("oversized", f"more than {MAX_PIXELS:,} pixels by its header")


def _reason(error: Exception, encoded: Encoded) -> str:
    match error:
        case UnidentifiedImageError():
            return f"not an image in one of the formats {', '.join(FORMATS)}{_like(encoded)}"
        case OSError() if error.strerror:
            return error.strerror
        case _:
            return (str(error).splitlines() or [type(error).__name__])[0]


def _like(encoded: Encoded) -> str:
    """What a file is that is no image, where its first bytes tell."""
    start = encoded[:64] if isinstance(encoded, bytes) else _start_of(str(encoded))
    for magic, name in _MAGIC:
        if start.startswith(magic):
            return f": {name}"
    return ": text" if start and all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in start) else ""


def _start_of(path: str) -> bytes:
    with Path(path).open("rb") as file:
        return file.read(64)
