"""Images of many sizes: sizes by their headers, and the size to resize to that follows from them."""

import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from convsmith.data.images.decode import FORMATS, TURNED, orientation_of, own_settings
from convsmith.data.images.input_rule import ResizePolicy
from convsmith.data.raw import RawData
from convsmith.text import percent, plural

# The shorter side of a net's input: the largest of these that a tenth of the images is smaller than, up to a
# limit. Larger inputs cost more than they gain in small nets.
SIDES = (8, 12, 16, 20, 24, 28, 32, 40, 48, 64, 80, 96, 112, 128, 160, 192, 224)
LONGEST = 128
_SMALL_SHARE = 0.1
# A size that so many images have is kept, up to the pixels of a square that is larger by this factor.
_COMMON_SHARE, _KEPT = 0.9, 4 / 3
# An input that is not square has at most that many times the pixels of the largest square one, so that 3:4
# costs no side and a panorama does not cost many times as much as a square.
_MORE_PIXELS = 4 / 3
# Widths over heights, the 95th percentile over the 5th: below the first, stretching changes no shape by more
# than a tenth; above the second, a crop loses more than half of some images.
_STRETCH, _CROP = 1.2, 2.0
# The longer side is a multiple, so that maps can be halved.
_MULTIPLE = 8
_MOST_LISTED, _MOST_PIXELS = 5, 1024
_TIFF_WIDTH, _TIFF_HEIGHT = 256, 257


@dataclass(frozen=True, kw_only=True)
class SizeSuggestion:
    """What to resize images of many sizes to.

    Attributes:
        resize: For `data.resize`: a side, or height and width.
        resize_policy: For `data.resize_policy`.
        reason: Why, in one line.
    """

    resize: int | str
    resize_policy: ResizePolicy
    reason: str

    @property
    def settings(self) -> str:
        """The settings of a command line; "stretch" is the default with `data.resize`."""
        policy = "" if self.resize_policy == "stretch" else f" data.resize_policy={self.resize_policy}"
        return f"data.resize={self.resize}{policy}"


def suggest_size(counts: Mapping[tuple[int, int], int], longest: int = LONGEST) -> SizeSuggestion:
    """Suggest a size and a policy from the number of images of each `(width, height)`; at least one.

    Args:
        counts: The images, upright.
        longest: The longest side of a square, in pixels; other shapes have at most 4/3 of its pixels.

    Example:
        >>> suggest_size({(500, 375): 80, (480, 360): 20}).settings
        'data.resize=128x168'
        >>> suggest_size({(500, 375): 80, (480, 360): 20}, longest=96).settings
        'data.resize=96x128'
        >>> suggest_size({(500, 375): 50, (375, 500): 50}).settings
        'data.resize=128 data.resize_policy=crop'
        >>> suggest_size({(30, 40): 50, (400, 20): 50}).settings
        'data.resize=20 data.resize_policy=pad'
        >>> suggest_size({(100, 100): 97, (3024, 3024): 3}).settings
        'data.resize=100'
    """
    shorter, aspects = Counter[float](), Counter[float]()
    for (width, height), count in counts.items():
        shorter[min(width, height)] += count
        aspects[width / height] += count
    low, aspect, high = (percentile(aspects, share) for share in (0.05, 0.5, 0.95))
    policy: ResizePolicy = "stretch" if high <= _STRETCH * low else "crop"
    if high > _CROP * low:
        policy = "pad"
    (width, height), most = max(counts.items(), key=lambda item: item[1])
    share = most / sum(counts.values())
    if share >= _COMMON_SHARE and is_kept(width, height, longest):
        # Resizing would blur most images for nothing.
        resize: int | str = width if width == height else f"{height}x{width}"
        reason = f"{percent(share, 1)} of the images have {height}x{width} pixels (height x width)"
        return SizeSuggestion(resize=resize, resize_policy=policy, reason=reason)
    small = percentile(shorter, _SMALL_SHARE)
    reason = (
        f"a tenth of the shorter sides have at most {small:,.0f} pixels; width / height is {low:.2f} to "
        f"{high:.2f} in 90 % of the images, its median {aspect:.2f}"
    )
    if len(counts) == 1:
        reason = f"all images have {height}x{width} pixels (height x width)"
    sides = [each for each in SIDES if each <= min(small, longest)] or [SIDES[0]]
    is_square = policy != "stretch" or max(aspect, 1 / aspect) <= _STRETCH
    resize = sides[-1] if is_square else _shape(sides, aspect, longest)
    return SizeSuggestion(resize=resize, resize_policy=policy, reason=reason)


def is_kept(width: int, height: int, longest: int) -> bool:
    """Return whether images of one size need no smaller one, for a longest side of a square.

    >>> is_kept(128, 128, 96), is_kept(160, 96, 96), is_kept(200, 96, 96)
    (True, True, False)
    """
    fits = SIDES[0] <= min(width, height) and max(width, height) <= _MOST_PIXELS
    return fits and width * height <= (_KEPT * longest) ** 2


def _shape(sides: Sequence[int], aspect: float, longest: int) -> str:
    """Return height and width with the largest shorter side whose number of pixels is allowed."""
    shapes = [(side, _longer(side, max(aspect, 1 / aspect))) for side in sides]
    allowed = [each for each in shapes if each[0] * each[1] <= _MORE_PIXELS * longest**2]
    side, longer = allowed[-1] if allowed else shapes[0]
    return f"{side}x{longer}" if aspect > 1 else f"{longer}x{side}"


def _longer(side: int, ratio: float) -> int:
    return min(_MULTIPLE * round(side * ratio / _MULTIPLE), _MOST_PIXELS)


def percentile(counts: Mapping[float, int], share: float) -> float:
    """Return the smallest value that at least this share of all does not exceed.

    >>> percentile({10: 9, 300: 1}, 0.9), percentile({10: 9, 300: 1}, 0.95)
    (10, 300)
    """
    values = sorted(counts)
    heap = np.cumsum([counts[value] for value in values])
    return values[int(np.searchsorted(heap, share * int(heap[-1]) - 1e-9))]


def size_lines(counts: Mapping[tuple[int, int], int], examples: Mapping[tuple[int, int], str]) -> list[str]:
    """Return the most common sizes, height first, each with the location of its first image."""
    common = Counter(dict(counts)).most_common(_MOST_LISTED)
    lines = [
        f"{height}x{width} (height x width): {plural(count, 'image')}, the first is {examples[width, height]}"
        for (width, height), count in common
    ]
    rest = len(counts) - len(common)
    return [*lines, *([f"... and {plural(rest, 'more size')}"] if rest else [])]


def header_sizes(raw: RawData) -> Counter[tuple[int, int]]:
    """Count the sizes `(width, height)` of upright images without decoding them.

    Images whose header cannot be read are left out; whether the pixels can be decoded is not known.
    """
    sizes: Counter[tuple[int, int]] = Counter()
    with own_settings():
        for split in raw.splits.values():
            sizes.update(size for each in split.images if (size := _size_by_header(each)))
    return sizes


def _size_by_header(encoded: Any) -> tuple[int, int] | None:
    if isinstance(encoded, np.ndarray):
        return int(encoded.shape[1]), int(encoded.shape[0])
    try:
        if isinstance(encoded, Image.Image):
            return _upright(encoded)
        if not isinstance(encoded, str | bytes):
            return None
        file = io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded
        with Image.open(file, formats=FORMATS) as image:
            return _upright(image)
    # For damaged files, decoders raise nearly any exception.
    except Exception:  # noqa: BLE001
        return None


def _upright(image: Image.Image) -> tuple[int, int]:
    width, height = image.size
    if image.format == "TIFF":
        # Pillow gives the size of the turned image, or that of the stored one, depending on its version.
        tags: Any = getattr(image, "tag_v2", {})
        width, height = int(tags[_TIFF_WIDTH]), int(tags[_TIFF_HEIGHT])
    return (height, width) if _orientation(image) in TURNED else (width, height)


def _orientation(image: Image.Image) -> Any:
    """Return the EXIF orientation; the pixels of a PNG are decoded only if metadata may follow them."""
    if image.format == "PNG" and "exif" not in image.info and not _has_late_metadata(image):
        return Image.Image.getexif(image).get(0x0112, 1) if "XML:com.adobe.xmp" in image.info else 1
    return orientation_of(image)


def _has_late_metadata(image: Image.Image) -> bool:
    """Return whether a PNG has metadata behind its pixels."""
    file = getattr(image, "fp", None)
    if file is None:
        return True
    place = file.tell()
    try:
        kinds = list(_chunks(file))
    finally:
        file.seek(place)
    late = kinds[kinds.index(b"IDAT") :] if b"IDAT" in kinds else kinds
    return bool({b"eXIf", b"iTXt", b"tEXt", b"zTXt"} & set(late))


def _chunks(file: Any) -> Iterator[bytes]:
    file.seek(8)
    while len(head := file.read(8)) == 8:
        yield head[4:]
        file.seek(int.from_bytes(head[:4], "big") + 4, 1)
