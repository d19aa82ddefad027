"""Image files of every mode and format, with what must be read from them, computed without the decoder."""

import colorsys
import io
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

Samples = NDArray[Any]
# The upright image by EXIF orientation, as the standard defines it; axes are (row, column, ...).
UPRIGHT: dict[int, Callable[[Samples], Samples]] = {
    1: lambda image: image,
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: np.rot90(image, -1),
    7: lambda image: np.rot90(image, 2).swapaxes(0, 1),
    8: np.rot90,
}
ORIENTED = {"PNG", "JPEG", "WEBP", "TIFF"}
SUFFIX = {"JPEG": "jpg", "PPM": "ppm"}


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What a file holds, before it is turned: 8-bit grey `(H, W)` or RGB `(H, W, 3)`, and alpha `(H, W)`.

    Attributes:
        grey: Whether the file is stored in grey.
        tolerance: In levels, of conversions that are not exact.
    """

    pixels: Samples
    alpha: Samples
    grey: bool
    tolerance: int = 0


@dataclass(frozen=True, kw_only=True)
class Picture:
    """An encoded image, and what must be read from it."""

    name: str
    content: bytes
    orientation: int
    expected: Expected


def png(samples: Samples, depth: int, colour_type: int, chunks: bytes = b"") -> bytes:
    """Encode samples `(H, W)` or `(H, W, C)` as PNG of any depth, which Pillow does not write."""
    height, width = samples.shape[:2]
    rows = samples.reshape(height, -1).astype(">u2" if depth == 16 else np.uint8)
    if depth < 8:
        bits = (rows[..., None] >> np.arange(depth)[::-1]) & 1
        packed = [np.packbits(row.astype(np.uint8)).tobytes() for row in bits.reshape(height, -1)]
    else:
        packed = [row.tobytes() for row in rows]
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in packed))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunks + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def chunk(kind: bytes, content: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + checksum


def tiff(samples: bytes, width: int, height: int, **tags: int) -> bytes:
    """Encode grey samples as a TIFF of any depth and photometric interpretation, which Pillow does not write.

    Args:
        samples: Of all rows, each of whole bytes, little-endian.
        width: In pixels.
        height: In pixels.
        tags: `bits`, `photometric`, 0 if 0 is white, and `sample_format`: 1 unsigned, 2 signed, 3 float.
    """
    numbers = {"bits": 258, "photometric": 262, "sample_format": 339}
    values = {256: width, 257: height, 259: 1, 262: 1, 277: 1, 278: height, 279: len(samples), 339: 1}
    values |= {numbers[name]: value for name, value in tags.items()}
    values[273] = 8 + 2 + 12 * (len(values) + 1) + 4
    entries = [struct.pack("<HHII", tag, 4, 1, values[tag]) for tag in sorted(values)]
    head = b"II*\0" + struct.pack("<IH", 8, len(entries))
    return head + b"".join(entries) + struct.pack("<I", 0) + samples


def wide_tiffs() -> Iterator[tuple[str, bytes, Samples]]:
    """Yield TIFF files of more than 8 bits, with the 8-bit levels `(4, 6)` that must be read from them."""
    levels = np.random.default_rng(1).integers(0, 256, (4, 6))
    floats = (levels / 255).astype("<f4").tobytes()
    low, high = levels[:, ::2] * 16 + 5, levels[:, 1::2] * 16 + 9
    twelve = np.stack([low >> 4, (low & 15) << 4 | high >> 8, high & 255], axis=-1).astype(np.uint8).tobytes()
    sixteen = (levels * 256 + 77).astype("<u2").tobytes()
    yield "12 bits", tiff(twelve, 6, 4, bits=12), levels
    yield "16 bits", tiff(sixteen, 6, 4, bits=16), levels
    yield "16 bits, 0 is white", tiff(sixteen, 6, 4, bits=16, photometric=0), 255 - levels
    yield "floats", tiff(floats, 6, 4, bits=32, sample_format=3), levels
    yield "floats, 0 is white", tiff(floats, 6, 4, bits=32, sample_format=3, photometric=0), 255 - levels
    eight = levels.astype(np.uint8).tobytes()
    yield "8 bits, 0 is white", tiff(eight, 6, 4, bits=8, photometric=0), 255 - levels


def with_exif(content: bytes, orientation: int) -> bytes:
    """Insert an orientation into a PNG."""
    exif = b"MM\0*\0\0\0\x08\0\x01" + struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0) + b"\0\0\0\0"
    return content[:33] + chunk(b"eXIf", exif) + content[33:]


def encode(image: Image.Image, kind: str, orientation: int, **options: Any) -> bytes:
    content = io.BytesIO()
    if orientation != 1:
        exif = Image.Exif()
        exif[0x0112] = orientation
        options["exif"] = exif
    image.save(content, kind, **options)
    return content.getvalue()


def opaque(pixels: Samples, *, grey: bool, tolerance: int = 0) -> Expected:
    alpha = np.full(pixels.shape[:2], 255, np.uint8)
    return Expected(pixels=pixels, alpha=alpha, grey=grey, tolerance=tolerance)


Case = tuple[str, Callable[[np.random.Generator, int, int, int], tuple[bytes, Expected]], bool]


def _levels(random: np.random.Generator, *shape: int, top: int = 256) -> Samples:
    return random.integers(0, top, shape)


def _hand_made(depth: int, colour_type: int, key: bool = False) -> Any:
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour_type]

    def make(random: np.random.Generator, height: int, width: int, orientation: int) -> Any:
        samples = _levels(random, height, width, channels, top=2**depth)
        top = 2**depth - 1
        # All formats with 16 bits take the high byte; fewer bits are spread over the range.
        levels = samples >> 8 if depth == 16 else samples * 255 // top
        alpha = levels[..., -1] if colour_type in {4, 6} else np.full((height, width), 255)
        chunks = b""
        if key:
            transparent = samples[0, 0]
            chunks = chunk(b"tRNS", b"".join(struct.pack(">H", each) for each in transparent))
            compared, with_ = (levels, levels[0, 0]) if channels == 3 else (samples, transparent)
            alpha = np.where((compared == with_).all(axis=-1), 0, 255)
        colours = levels[..., :3] if channels > 2 else levels[..., 0]
        content = png(samples, depth, colour_type, chunks)
        expected = Expected(pixels=colours.astype(np.uint8), alpha=alpha.astype(np.uint8), grey=channels < 3)
        return (content if orientation == 1 else with_exif(content, orientation)), expected

    return make


def _saved(mode: str, kind: str, **options: Any) -> Any:
    """A mode whose samples are 8 bits, in a lossless format."""

    def make(random: np.random.Generator, height: int, width: int, orientation: int) -> Any:
        image, expected = PILLOW[mode](random, height, width)
        content = encode(image, kind, orientation, **options)
        stored = Image.open(io.BytesIO(content)).mode
        # WebP has no grey, and GIF a palette, which is grey if it has all levels in order.
        if kind in {"WEBP", "GIF"} and expected.grey and stored != "L":
            expected = Expected(
                pixels=np.repeat(expected.pixels[..., None], 3, axis=2), alpha=expected.alpha, grey=False
            )
        return content, expected

    return make


def _jpeg(mode: str) -> Any:
    """The samples of a lossy file are those that Pillow decodes, before any conversion."""

    def make(random: np.random.Generator, height: int, width: int, orientation: int) -> Any:
        image, _ = PILLOW[mode](random, height, width)
        content = encode(image, "JPEG", orientation, quality=95)
        stored = np.asarray(Image.open(io.BytesIO(content)))
        if mode == "CMYK":
            return content, opaque(_from_cmyk(stored), grey=False, tolerance=1)
        return content, opaque(stored, grey=mode == "L")

    return make


def _from_cmyk(samples: Samples) -> Samples:
    ink, black = samples[..., :3].astype(int), samples[..., 3:].astype(int)
    mixed: Samples = np.rint((255 - ink) * (255 - black) / 255).astype(np.uint8)
    return mixed


def _one(random: np.random.Generator, height: int, width: int) -> tuple[Image.Image, Expected]:
    bits = _levels(random, height, width, top=2).astype(bool)
    return Image.fromarray(bits), opaque(bits.astype(np.uint8) * 255, grey=True)


def _grey(random: np.random.Generator, height: int, width: int) -> tuple[Image.Image, Expected]:
    levels = _levels(random, height, width).astype(np.uint8)
    return Image.fromarray(levels), opaque(levels, grey=True)


def _grey_alpha(random: np.random.Generator, height: int, width: int) -> tuple[Image.Image, Expected]:
    levels = _levels(random, height, width, 2).astype(np.uint8)
    expected = Expected(pixels=levels[..., 0], alpha=levels[..., 1], grey=True)
    return Image.fromarray(levels, "LA"), expected


def _rgb(random: np.random.Generator, height: int, width: int) -> tuple[Image.Image, Expected]:
    levels = _levels(random, height, width, 3).astype(np.uint8)
    return Image.fromarray(levels), opaque(levels, grey=False)


def _rgba(random: np.random.Generator, height: int, width: int) -> tuple[Image.Image, Expected]:
    levels = _levels(random, height, width, 4).astype(np.uint8)
    return Image.fromarray(levels), Expected(pixels=levels[..., :3], alpha=levels[..., 3], grey=False)


def _rgbx(random: np.random.Generator, height: int, width: int) -> tuple[Image.Image, Expected]:
    levels = _levels(random, height, width, 4).astype(np.uint8)
    image = Image.frombytes("RGBX", (width, height), levels.tobytes())
    return image, opaque(levels[..., :3], grey=False)


def _palette(random: np.random.Generator, height: int, width: int) -> tuple[Image.Image, Expected]:
    colours = _levels(random, 256, 3).astype(np.uint8)
    samples = _levels(random, height, width).astype(np.uint8)
    image = Image.fromarray(samples, "P")
    image.putpalette(colours.tobytes())
    return image, opaque(colours[samples], grey=False)


def _palette_alpha(random: np.random.Generator, height: int, width: int) -> tuple[Image.Image, Expected]:
    """A palette with an alpha for each entry."""
    image, expected = _palette(random, height, width)
    alphas = _levels(random, 256).astype(np.uint8)
    image.info["transparency"] = alphas.tobytes()
    return image, Expected(pixels=expected.pixels, alpha=alphas[np.asarray(image)], grey=False)


def _palette_key(random: np.random.Generator, height: int, width: int) -> tuple[Image.Image, Expected]:
    """A palette with one transparent entry."""
    image, expected = _palette(random, height, width)
    samples = np.asarray(image)
    key = int(samples[0, 0])
    image.info["transparency"] = key
    alpha = np.where(samples == key, 0, 255).astype(np.uint8)
    return image, Expected(pixels=expected.pixels, alpha=alpha, grey=False)


def _pa(random: np.random.Generator, height: int, width: int) -> tuple[Image.Image, Expected]:
    image, expected = _palette(random, height, width)
    alpha = _levels(random, height, width).astype(np.uint8)
    pa = image.convert("PA")
    pa.putalpha(Image.fromarray(alpha))
    return pa, Expected(pixels=expected.pixels, alpha=alpha, grey=False)


def _cmyk(random: np.random.Generator, height: int, width: int) -> tuple[Image.Image, Expected]:
    levels = _levels(random, height, width, 4).astype(np.uint8)
    image = Image.fromarray(levels, "CMYK")
    return image, opaque(_from_cmyk(levels), grey=False, tolerance=1)


def _ycbcr(random: np.random.Generator, height: int, width: int) -> tuple[Image.Image, Expected]:
    levels = _levels(random, height, width, 3).astype(np.uint8)
    y, cb, cr = (levels[..., channel].astype(float) for channel in range(3))
    cb, cr = cb - 128, cr - 128
    colour = np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], axis=-1)
    pixels = np.rint(colour).clip(0, 255).astype(np.uint8)
    return Image.fromarray(levels, "YCbCr"), opaque(pixels, grey=False, tolerance=2)


def _hsv(random: np.random.Generator, height: int, width: int) -> tuple[Image.Image, Expected]:
    levels = _levels(random, height, width, 3).astype(np.uint8)
    rows = [colorsys.hsv_to_rgb(*(each / 255)) for each in levels.reshape(-1, 3)]
    pixels = np.rint(255 * np.array(rows)).reshape(levels.shape).astype(np.uint8)
    return Image.fromarray(levels, "HSV"), opaque(pixels, grey=False, tolerance=2)


def _lab(random: np.random.Generator, height: int, width: int) -> tuple[Image.Image, Expected]:
    """LAB of known colours, so that the way back is known; 8 bits distinguish fewer of the bright ones."""
    colours = random.integers(96, 160, (height, width, 3)).astype(np.uint8)
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    transform = ImageCms.buildTransform(*profiles, "RGB", "LAB")
    image = ImageCms.applyTransform(Image.fromarray(colours), transform)
    assert image is not None
    return image, opaque(colours, grey=False, tolerance=5)


def _sixteen(mode: str) -> Any:
    def make(random: np.random.Generator, height: int, width: int) -> tuple[Image.Image, Expected]:
        levels = _levels(random, height, width, top=65_536)
        stored = levels.astype({"I;16": "<u2", "I;16B": ">u2", "I;16L": "<u2", "I": "<i4"}[mode])
        image = Image.frombytes(mode, (width, height), stored.tobytes())
        return image, opaque((levels // 256).astype(np.uint8), grey=True)

    return make


def _float(random: np.random.Generator, height: int, width: int) -> tuple[Image.Image, Expected]:
    levels = random.random((height, width), dtype=np.float32)
    pixels = np.array([[round(255 * float(each)) for each in row] for row in levels], np.uint8)
    return Image.fromarray(levels), opaque(pixels, grey=True)


# Every mode of Pillow.
PILLOW: dict[str, Callable[[np.random.Generator, int, int], tuple[Image.Image, Expected]]] = {
    "1": _one, "L": _grey, "LA": _grey_alpha, "P": _palette, "P bytes": _palette_alpha, "P key": _palette_key,
    "PA": _pa, "RGB": _rgb, "RGBA": _rgba, "RGBX": _rgbx, "CMYK": _cmyk, "YCbCr": _ycbcr, "HSV": _hsv,
    "LAB": _lab, "I": _sixteen("I"), "I;16": _sixteen("I;16"), "I;16B": _sixteen("I;16B"),
    "I;16L": _sixteen("I;16L"), "F": _float,
}  # fmt: skip
# Every mode in every format that holds it without loss, and JPEG, by its name and format.
_LZW = {"compression": "tiff_lzw"}
CASES: dict[tuple[str, str], Any] = {
    **{(f"grey {depth}", "PNG"): _hand_made(depth, 0) for depth in (1, 2, 4, 8, 16)},
    **{(f"grey {depth} key", "PNG"): _hand_made(depth, 0, key=True) for depth in (1, 2, 4, 8, 16)},
    **{(f"RGB {depth}", "PNG"): _hand_made(depth, 2) for depth in (8, 16)},
    **{(f"RGB {depth} key", "PNG"): _hand_made(depth, 2, key=True) for depth in (8, 16)},
    **{(f"grey alpha {depth}", "PNG"): _hand_made(depth, 4) for depth in (8, 16)},
    **{(f"RGBA {depth}", "PNG"): _hand_made(depth, 6) for depth in (8, 16)},
    **{
        (mode, "PNG"): _saved(mode, "PNG")
        for mode in ("1", "L", "LA", "P", "P bytes", "P key", "RGB", "RGBA")
    },
    **{
        (mode, "TIFF"): _saved(mode, "TIFF")
        for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I", "I;16", "I;16B", "F")
    },
    **{(f"{mode} LZW", "TIFF"): _saved(mode, "TIFF", **_LZW) for mode in ("L", "RGB", "RGBA", "I;16")},
    **{
        (mode, "WEBP"): _saved(mode, "WEBP", lossless=True, exact=True) for mode in ("L", "LA", "RGB", "RGBA")
    },
    **{(mode, "BMP"): _saved(mode, "BMP") for mode in ("1", "L", "P", "RGB")},
    **{(mode, "GIF"): _saved(mode, "GIF") for mode in ("L", "P", "P key")},
    **{(mode, "PPM"): _saved(mode, "PPM") for mode in ("1", "L", "RGB", "I", "F")},
    **{(mode, "JPEG"): _jpeg(mode) for mode in ("L", "RGB", "CMYK")},
}
SIZES = ((16, 16), (40, 5), (5, 40), (7, 7), (33, 33), (1, 1), (1, 20))


def pictures(*, every: bool) -> Iterator[Picture]:
    """Yield images of all cases in all sizes `(height, width)` and orientations, or a few of each case."""
    random = np.random.default_rng(0)
    for number, ((name, kind), make) in enumerate(CASES.items()):
        orientations = tuple(UPRIGHT) if kind in ORIENTED else (1,)
        for place, (height, width) in enumerate(SIZES):
            few = (orientations[(number + place) % len(orientations)],)
            for orientation in orientations if every else few:
                content, expected = make(random, height, width, orientation)
                title = f"{name} {height}x{width} {orientation}.{SUFFIX.get(kind, kind.lower())}"
                yield Picture(
                    name=title.replace(";", "-"), content=content, orientation=orientation, expected=expected
                )


def flattened(picture: Expected, orientation: int, background: tuple[int, ...]) -> Samples:
    """Return the upright, opaque pixels `(H, W, C)` of an image, as floats."""
    pixels = picture.pixels.astype(float)
    if len(background) == 1:
        grey = pixels if pixels.ndim == 2 else np.floor(pixels @ (0.299, 0.587, 0.114) + 0.5)
        pixels = grey[..., None]
    elif pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    alpha = picture.alpha.astype(float)[..., None]
    mixed = np.floor((alpha * pixels + (255 - alpha) * np.array(background)) / 255 + 0.5)
    return UPRIGHT[orientation](mixed)


def resized(
    image: Samples, size: int, policy: str, background: tuple[int, ...], axes: tuple[int, int]
) -> Samples:
    """Resize an image `(H, W, C)` to a square, by sums over Lanczos windows, along the axes in this order."""
    height, width = image.shape[:2]
    if (height, width) == (size, size):
        return image
    if policy == "crop":
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        return lanczos(image[top : top + side, left : left + side], size, size, axes)
    if policy == "stretch":
        return lanczos(image, size, size, axes)
    longest = max(height, width)
    inner = max(1, round(height * size / longest)), max(1, round(width * size / longest))
    result = np.tile(np.array(background, float), (size, size, 1))
    top, left = (size - inner[0]) // 2, (size - inner[1]) // 2
    inside = image if inner == (height, width) else lanczos(image, *inner, axes)
    result[top : top + inner[0], left : left + inner[1]] = inside
    return result


def lanczos(image: Samples, height: int, width: int, axes: tuple[int, int]) -> Samples:
    """Resize by the Lanczos filter, along one axis after the other, each rounded to levels."""
    for axis in axes:
        length = (height, width)[axis]
        if image.shape[axis] != length:
            weights = _weights(image.shape[axis], length)
            image = np.moveaxis(np.tensordot(weights, image, axes=(1, axis)), 0, axis)
            image = np.floor(image + 0.5).clip(0, 255)
    return image


def _weights(before: int, after: int) -> Samples:
    scale = before / after
    stretch = max(scale, 1.0)
    centres = (np.arange(after) + 0.5) * scale
    distance = (np.arange(before) + 0.5 - centres[:, None]) / stretch
    weights = np.where(np.abs(distance) < 3, np.sinc(distance) * np.sinc(distance / 3), 0.0)
    # The window ends at whole pixels.
    low = np.maximum((centres - 3 * stretch + 0.5).astype(int), 0)[:, None]
    high = np.minimum((centres + 3 * stretch + 0.5).astype(int), before)[:, None]
    inside = (np.arange(before) >= low) & (np.arange(before) < high)
    weights = np.where(inside, weights, 0.0)
    normal: Samples = weights / weights.sum(axis=1, keepdims=True)
    return normal
