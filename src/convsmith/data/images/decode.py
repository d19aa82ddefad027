"""Decode images, and explain why an image cannot be decoded.

Decoding is the first half of the rule that all images are read by: any file becomes upright, with 8 bits per
channel, grey or RGB, its transparency apart. `data.input_rule` has the second half.
"""

import io
import os
import stat
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import GifImagePlugin, Image, ImageFile, UnidentifiedImageError, features

from convsmith.data.images.modes import GREY_MODES, grey_or_rgb, mode_of, transparent_sample
from convsmith.system.parallel import Interrupted
from convsmith.system.stamps import FileStamp, is_fresh, stamp_of

Encoded = bytes | str | NDArray[np.uint8] | Image.Image | None
# Formats that Pillow decodes without external programs; a PSD or FITS file named .png is rejected.
FORMATS = (
    *("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF", "PPM"),
    # Since Pillow 11.3, where it was built with libavif.
    *(("AVIF",) if "avif" in features.modules and features.check("avif") else ()),
)
# Limits of an image: the bytes of its file, and its pixels by the header, which is read first. A resize of a
# longer side would take gigabytes.
MAX_BYTES = 256 * 1024**2
MAX_PIXELS = 50_000_000
MAX_SIDE = 65_535
# Of memory while an image is decoded and resized: the stored and the converted pixels, alpha, and a copy.
BYTES_PER_PIXEL = 16
_TILE_WIDTH, _TILE_HEIGHT, _ORIENTATION = 322, 323, 0x0112
# From the stored image to the upright one, by the EXIF orientation.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Orientations that exchange width and height.
TURNED = frozenset({5, 6, 7, 8})
# The first bytes of files that are sometimes named like images, and of images that Pillow cannot read.
_SIGNATURES = (
    (b"\x89PNG", "a PNG whose header is damaged"),
    (b"\xff\xd8\xff", "a JPEG whose header is damaged"),
    (b"II*\x00", "a TIFF whose header is damaged, or with samples that Pillow does not read"),
    (b"MM\x00*", "a TIFF whose header is damaged, or with samples that Pillow does not read"),
    (b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
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
    (b"RIFF", "a RIFF file, such as WebP, whose header is damaged, or AVI"),
    (b"version https://git-lfs", "a Git LFS pointer: the image itself was never downloaded"),
)
# The brands of the ISO base media format, which follow the size of its first box.
_BRANDS = {
    **dict.fromkeys(
        (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"), "HEIC, export it as JPEG"
    ),
    **dict.fromkeys((b"avif", b"avis"), "AVIF, damaged or not supported by this Pillow"),
}


@dataclass(frozen=True, kw_only=True)
class DecodedImage:
    """A decoded image, upright.

    Attributes:
        image: Of mode L or RGB, without regard to transparency.
        alpha: Of mode L, 0 is transparent; None if every pixel is opaque.
        mode: Of the file.
        format: Of the file; None for pixels.
        pages: The number of images in the file; the first one is decoded.
        stamp: Of the file that was read; None for bytes and pixels, and for a file that changed so recently
            that its stamp does not identify its content.
    """

    image: Image.Image
    alpha: Image.Image | None
    mode: str
    format: str | None = None
    pages: int = 1
    stamp: FileStamp | None = None

    @cached_property
    def pixels(self) -> NDArray[np.uint8]:
        """The pixels of `image`, `(H, W, C)`, not to be written to."""
        bands = len(self.image.getbands())
        flat = np.frombuffer(self.image.tobytes(), np.uint8)
        return flat.reshape(self.image.height, self.image.width, bands)

    @property
    def is_grey(self) -> bool:
        """Whether the mode of the file is grey, whatever the pixels of a colour image are."""
        return self.mode in GREY_MODES


class UnusableImageError(Exception):
    """An image cannot be used; `reason` explains why."""

    def __init__(self, kind: Literal["unreadable", "oversized", "missing"], reason: str) -> None:
        super().__init__(reason)
        self.kind, self.reason = kind, reason


# Called with what is about to be in memory, the bytes of a "file" or of decoded "pixels"; may wait.
Reserve = Callable[[Literal["file", "pixels"], int], None]


def decode_image(encoded: Encoded, reserve: Reserve = lambda _kind, _size: None) -> DecodedImage:
    """Decode one image: the first frame or page, turned by its EXIF orientation, with 8 bits per channel.

    Args:
        encoded: A file's bytes, its path, a Pillow image, or pixels uint8: grey `(H, W)` or `(H, W, 1)`, RGB
            `(H, W, 3)`, RGBA `(H, W, 4)`.
        reserve: Limits the memory of parallel decoders.

    Raises:
        UnusableImageError: The file is damaged, not an image, of an unsupported format, not a regular file,
            too large, or changed while it was read; bytes and pixels are checked before any pixel is decoded.

    Example:
        >>> decode_image(np.zeros((2, 3), np.uint8)).image.size
        (3, 2)
        >>> decode_image(b"This is text")
        Traceback (most recent call last):
        convsmith.data.images.decode.UnusableImageError: not an image in one of the formats PNG, ...: text
    """
    if encoded is None:
        raise UnusableImageError("unreadable", "no image")
    content: bytes | None = None
    try:
        if isinstance(encoded, str):
            content, stamp = _read_file(encoded, reserve)
            return replace(_decode_file(content, reserve), stamp=stamp)
        if isinstance(encoded, bytes):
            content = _checked_content(encoded)
            return _decode_file(content, reserve)
        with own_settings():
            opened = _from_pixels(encoded) if isinstance(encoded, np.ndarray) else encoded
            return _decode_opened(opened, reserve)
    except (UnusableImageError, Interrupted):
        raise
    except Image.DecompressionBombError as error:
        raise _oversized() from error
    except MemoryError as error:
        raise UnusableImageError("oversized", "does not fit into memory") from error
    # For damaged files, decoders raise nearly any exception: struct.error, zlib.error, IndexError, ...
    except Exception as error:
        raise UnusableImageError("unreadable", _reason(error, content)) from error


def decode_each(
    images: Iterable[Encoded | UnusableImageError],
) -> Iterator[DecodedImage | UnusableImageError]:
    """Decode images one by one; yield the error for an image that is unusable."""
    for encoded in images:
        try:
            yield encoded if isinstance(encoded, UnusableImageError) else decode_image(encoded)
        except UnusableImageError as error:
            yield error


def _read_file(path: str, reserve: Reserve) -> tuple[bytes, FileStamp | None]:
    """Return the bytes of a regular file within the limit, and its stamp: a pipe may never end."""
    status = os.stat(path)  # noqa: PTH116 - called for every file
    if not stat.S_ISREG(status.st_mode):
        raise UnusableImageError("unreadable", "not a regular file")
    _check_bytes(status.st_size)
    reserve("file", status.st_size)
    with open(path, "rb") as file:  # noqa: PTH123
        before, now = stamp_of(os.fstat(file.fileno())), time.time_ns()
        content = file.read(MAX_BYTES + 1) if status.st_size == 0 else file.read(status.st_size + 1)
        after = stamp_of(os.fstat(file.fileno()))
    if after != before or len(content) != before[0] > 0:
        raise UnusableImageError("unreadable", "the file changed while it was read")
    return _checked_content(content), None if is_fresh(after, now) else after


def _checked_content(content: bytes) -> bytes:
    _check_bytes(len(content))
    if not content:
        raise UnusableImageError("unreadable", "the file is empty")
    return content


def _check_bytes(size: int) -> None:
    if size > MAX_BYTES:
        raise UnusableImageError("oversized", f"{size:,} bytes, expected at most {MAX_BYTES:,}")


def _decode_file(content: bytes, reserve: Reserve) -> DecodedImage:
    with own_settings():
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            decoded = _decode_opened(image, reserve)
        if decoded.format == "PNG":
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


def _decode_opened(image: Image.Image, reserve: Reserve) -> DecodedImage:
    # All from the header: no pixel is decoded yet.
    mode, file_format, transparent = mode_of(image), image.format, transparent_sample(image)
    _check_size(image)
    reserve("pixels", image.width * image.height * BYTES_PER_PIXEL)
    _load(image)
    try:
        pixels, alpha = grey_or_rgb(image, transparent)
    except ValueError as error:
        raise UnusableImageError("unreadable", str(error)) from error
    if alpha is not None and alpha.getextrema() == (255, 255):
        alpha = None
    turn = _UPRIGHT.get(orientation_of(image))
    if turn is not None:
        pixels, alpha = pixels.transpose(turn), alpha and alpha.transpose(turn)
    pages = _pages(image)
    return DecodedImage(image=pixels, alpha=alpha, mode=mode, format=file_format, pages=pages)


def _load(image: Image.Image) -> None:
    """Decode the pixels, never through a map of the file.

    Pillow 13 maps an uncompressed TIFF that was opened by its path in the size of the turned image, so that
    rows and columns are mixed up.
    """
    name = getattr(image, "filename", None)
    if name:
        image.filename = ""  # type: ignore[attr-defined]
    try:
        image.load()
    finally:
        if name:
            image.filename = name  # type: ignore[attr-defined]


def _check_size(image: Image.Image) -> None:
    if 0 in image.size:
        raise UnusableImageError(
            "unreadable", f"{image.height} x {image.width} pixels, expected at least 1 x 1"
        )
    tags: Any = getattr(image, "tag_v2", {})
    # A small TIFF may consist of one huge tile.
    tile = int(tags.get(_TILE_WIDTH, 1)) * int(tags.get(_TILE_HEIGHT, 1))
    if max(image.width * image.height, tile) > MAX_PIXELS:
        raise _oversized()
    if max(image.size) > MAX_SIDE:
        what = f"{image.height:,} x {image.width:,} pixels by its header"
        raise UnusableImageError("oversized", f"{what}, expected at most {MAX_SIDE:,} on a side")


def orientation_of(image: Image.Image) -> Any:
    """Return the EXIF orientation: 1 to 8, or what else the file has there."""
    try:
        return image.getexif().get(_ORIENTATION, 1)
    # Damaged metadata does not make the pixels unusable.
    except Exception:  # noqa: BLE001 - the parser raises nearly any exception
        return 1


def _from_pixels(array: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array)


class _OwnSettings:
    """Settings of Pillow, which any program may have changed, and how many decoders rely on them now."""

    values = (
        # Otherwise truncated files decode, grey where pixels are missing.
        (ImageFile, "LOAD_TRUNCATED_IMAGES", False),
        (Image, "MAX_IMAGE_PIXELS", MAX_PIXELS),
        # Otherwise grey images become RGB.
        (GifImagePlugin, "LOADING_STRATEGY", GifImagePlugin.LoadingStrategy.RGB_AFTER_FIRST),
    )
    lock = threading.Lock()
    users = 0
    found: tuple[Any, ...] = ()
    # Odd metadata, and large images, which are checked by this module. The filters of a program are no
    # thread's own.
    filters: "warnings.catch_warnings[None] | None" = None


@contextmanager
def own_settings() -> Iterator[None]:
    """Decode by convsmith's settings of Pillow; the last of parallel decoders restores those found."""
    own = _OwnSettings
    with own.lock:
        if own.users == 0:
            own.filters = warnings.catch_warnings(action="ignore")
            own.filters.__enter__()
            own.found = tuple(getattr(module, name) for module, name, _ in own.values)
            for module, name, value in own.values:
                setattr(module, name, value)
        own.users += 1
    try:
        yield
    finally:
        with own.lock:
            own.users -= 1
            if own.users == 0:
                for (module, name, _), value in zip(own.values, own.found, strict=True):
                    setattr(module, name, value)
                if own.filters:
                    own.filters.__exit__(None, None, None)


def _oversized() -> UnusableImageError:
    return UnusableImageError("oversized", f"more than {MAX_PIXELS:,} pixels by its header")


def _reason(error: Exception, content: bytes | None) -> str:
    match error:
        case UnidentifiedImageError():
            return f"not an image in one of the formats {', '.join(FORMATS)}{_actual_type(content or b'')}"
        case OSError() if error.strerror:
            return error.strerror
        case _:
            return (str(error).splitlines() or [type(error).__name__])[0]


def _actual_type(content: bytes) -> str:
    """Return what a file is instead of an image, if its first bytes reveal it."""
    start = content[:64]
    for signature, name in _SIGNATURES:
        if start.startswith(signature):
            return f": {name}"
    if start[4:8] == b"ftyp":
        return f": {_BRANDS.get(start[8:12], 'a video or another media file')}"
    return ": text" if start and all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in start) else ""
