"""Decode images, and explain why an image cannot be decoded."""

import io
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError, features

Encoded = bytes | str | NDArray[np.uint8] | None
# Formats that Pillow decodes without external programs; a PSD or FITS file named .png is rejected.
FORMATS = (
    *("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF", "PPM"),
    # Since Pillow 11.3, where it was built with libavif.
    *(("AVIF",) if "avif" in features.modules and features.check("avif") else ()),
)
MAX_PIXELS = 50_000_000
GREY_MODES = frozenset({"1", "L", "LA"})
WIDE_MODES = ("I", "F")
# The first bytes of files that are sometimes named like images.
_SIGNATURES = (
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
    (b"version https://git-lfs", "a Git LFS pointer: the image itself was never downloaded"),
)


@dataclass(frozen=True, kw_only=True)
class DecodedImage:
    """A decoded image, in mode L or RGB by default, with the mode and format of its file.

    `pages` counts the images in the file; the first one is decoded.
    """

    image: Image.Image
    mode: str
    format: str | None = None
    pages: int = 1


class UnusableImageError(Exception):
    """An image cannot be used; `reason` explains why."""

    def __init__(self, kind: Literal["unreadable", "oversized"], reason: str) -> None:
        super().__init__(reason)
        self.kind, self.reason = kind, reason


def to_grey_or_rgb(image: Image.Image) -> Image.Image:
    """Convert an image of any mode with 8 bits per channel to mode L or RGB."""
    return image.convert("L" if image.mode in GREY_MODES else "RGB")


def decode_image(
    encoded: Encoded, convert: Callable[[Image.Image], Image.Image] = to_grey_or_rgb
) -> DecodedImage:
    """Decode one image.

    Args:
        encoded: A file's bytes, its path, or pixels `(H, W)` or `(H, W, 3)` uint8.
        convert: Applied to the image while its file is open.

    Raises:
        UnusableImageError: The file is damaged, not an image, of an unsupported format, or too large by its
            header, which is checked before any pixel is decoded.

    Example:
        >>> decode_image(np.zeros((2, 3), np.uint8)).image.size
        (3, 2)
        >>> decode_image(b"This is text")
        Traceback (most recent call last):
        convsmith.data.decode.UnusableImageError: not an image in one of the formats PNG, JPEG, ...: text
    """
    try:
        return _decode(encoded, convert)
    except (UnusableImageError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise _oversized() from error
    # For damaged files, decoders raise nearly any exception: struct.error, zlib.error, IndexError, ...
    except Exception as error:
        raise UnusableImageError("unreadable", _reason(error, encoded)) from error


def decode_each(
    images: Iterable[Encoded | UnusableImageError],
) -> Iterator[DecodedImage | UnusableImageError]:
    """Decode images one by one; yield the error for an image that is unusable."""
    for encoded in images:
        try:
            yield encoded if isinstance(encoded, UnusableImageError) else decode_image(encoded)
        except UnusableImageError as error:
            yield error


def _decode(encoded: Encoded, convert: Callable[[Image.Image], Image.Image]) -> DecodedImage:
    if encoded is None:
        raise UnusableImageError("unreadable", "no image")
    if isinstance(encoded, np.ndarray):
        image = Image.fromarray(encoded)
        return DecodedImage(image=image, mode=image.mode)
    content = encoded if isinstance(encoded, bytes) else Path(encoded).read_bytes()
    if not content:
        raise UnusableImageError("unreadable", "the file is empty")
    with warnings.catch_warnings():
        # Odd metadata, and large images, which are checked below.
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            mode = image.mode
            # Read from the header: no pixel is decoded yet.
            if image.width * image.height > MAX_PIXELS:
                raise _oversized()
            if mode.startswith(WIDE_MODES):
                raise UnusableImageError("unreadable", f"mode {mode} has more than 8 bits per channel")
            file_format = image.format
            decoded = DecodedImage(image=convert(image), mode=mode, format=file_format, pages=_pages(image))
        if file_format == "PNG":
            # Decoding does not check the checksums of the pixels.
            with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
                image.verify()
    return decoded


def _pages(image: Image.Image) -> int:
    try:
        return int(getattr(image, "n_frames", 1))
    # Damage after the first page, which is used.
    except Exception:  # noqa: BLE001 - decoders raise nearly any exception
        return 1


def _oversized() -> UnusableImageError:
    return UnusableImageError("oversized", f"more than {MAX_PIXELS:,} pixels by its header")


def _reason(error: Exception, encoded: Encoded) -> str:
    match error:
        case UnidentifiedImageError():
            return f"not an image in one of the formats {', '.join(FORMATS)}{_actual_type(encoded)}"
        case OSError() if error.strerror:
            return error.strerror
        case _:
            return (str(error).splitlines() or [type(error).__name__])[0]


def _actual_type(encoded: Encoded) -> str:
    """Return what a file is instead of an image, if its first bytes reveal it."""
    start = encoded[:64] if isinstance(encoded, bytes) else _first_bytes(str(encoded))
    for signature, name in _SIGNATURES:
        if start.startswith(signature):
            return f": {name}"
    return ": text" if start and all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in start) else ""


def _first_bytes(path: str) -> bytes:
    with Path(path).open("rb") as file:
        return file.read(64)
