"""Image sources for prediction: files, folders, patterns, URLs, standard input, Pillow images and arrays."""

import glob
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convsmith.data.files.listing import SUFFIXES, is_image, list_files
from convsmith.data.images.decode import Encoded, UnusableImageError
from convsmith.errors import ConvsmithError, FileError, ImageError, Problem
from convsmith.system import paths
from convsmith.system.archives import is_archive_name
from convsmith.system.download import TransferError, download, without_password
from convsmith.text import plural

Note = Callable[[str], None]
ImageInput = str | Path | Image.Image | NDArray[np.uint8]

# Limits for a URL or standard input, in bytes and in seconds.
MAX_BYTES = 64 * 1024**2
TIMEOUT = 20.0
# Suffixes of other files that a sentence names.
_MOST_KINDS = 5
_PACKED = (".npz", ".npy", ".parquet", "-ubyte", "-ubyte.gz")
_UNPACK = (
    "unpack an archive, and name the folder; for arrays and tables write image files, or pass arrays in "
    "Python: cs.load(...).predict(images)"
)
_ARRAYS = "(H, W), (H, W, C) or (N, H, W, C) with C of 1, 3 or 4"


@dataclass(frozen=True, kw_only=True)
class ImageSource:
    """One image: its name, and a function that returns it, encoded or as pixels."""

    name: str
    read: Callable[[], Encoded]


def image_sources(
    inputs: ImageInput | Iterable[ImageInput], note: Note = lambda _: None
) -> Iterator[ImageSource]:
    """Iterate over images in order; each is read on demand.

    Args:
        inputs: Paths of files and folders, patterns such as `*.png`, http(s) URLs, `-` for standard input,
            Pillow images, or uint8 arrays `(H, W)`, `(H, W, C)` or `(N, H, W, C)`.
        note: Takes a sentence for each folder that holds other files than images.

    Raises:
        FileError: Paths do not exist; one problem for each, before any image is read.
    """
    is_single = isinstance(inputs, str | Path | Image.Image | np.ndarray)
    every = [cast("ImageInput", inputs)] if is_single else list(cast("Iterable[ImageInput]", inputs))
    expanded = iter(expand_paths((str(each) for each in every if isinstance(each, str | Path)), note))
    return _sources(every, expanded)


def _sources(every: list[ImageInput], expanded: Iterator[list[str]]) -> Iterator[ImageSource]:
    number = 0
    for each in every:
        if isinstance(each, str | Path):
            yield from (ImageSource(name=_shown(name), read=_reader(name)) for name in next(expanded))
        elif isinstance(each, Image.Image):
            yield ImageSource(name=f"image {number}", read=_image_reader(each))
        else:
            _check_array(each)
            count = len(each) if each.ndim == 4 else 1
            for index in range(count):
                image = each[index] if each.ndim == 4 else each
                yield ImageSource(name=f"image {number + index}", read=_array_reader(image))
            number += count - 1
        number += 1


def _is_packed(path: Path) -> bool:
    """Return whether a file is named like one of many images, which only training reads."""
    return is_archive_name(path.name) or path.name.lower().endswith(_PACKED)


def _folder_fix(folder: Path) -> str:
    looked_for = f"looked for {', '.join(sorted(SUFFIXES))}"
    return _UNPACK if any(map(_is_packed, list_files(folder))) else looked_for


def expand_paths(texts: Iterable[str], note: Note = lambda _: None) -> list[list[str]]:
    """Expand each text to a list of files and URLs: the images of a folder, or the matches of a pattern.

    Raises:
        FileError: Texts match nothing; one problem for each.
    """
    expanded, problems = [], []
    for text in texts:
        try:
            names = _expand(text, note)
        except ConvsmithError as error:
            names = error.problems[0]
        if isinstance(names, Problem):
            problems.append(names)
        else:
            expanded.append(names)
    if problems:
        raise FileError.of(problems)
    return expanded


def _expand(text: str, note: Note) -> list[str] | Problem:
    path = Path(text)
    if text == "-" or _is_url(text):
        return [text]
    if paths.is_folder(path):
        names = find_images(path, note)
        return names or Problem(what="this folder holds no images", where=text, fix=_folder_fix(path))
    if paths.exists(path):
        if _is_packed(path):
            return Problem(what="found a file of many images, expected an image", where=text, fix=_UNPACK)
        return [text]
    if glob.has_magic(text):
        matches = sorted(glob.glob(text, recursive=True))  # noqa: PTH207 - a pattern may be absolute
        names = [
            name
            for each in matches
            for name in (find_images(Path(each)) if paths.is_folder(Path(each)) else [each])
        ]
        return names or Problem(what="no file fits this pattern", where=text, fix="check folder and pattern")
    return Problem(what="no such file or folder", where=text, fix="check the path")


def find_images(folder: Path, note: Note = lambda _: None) -> list[str]:
    """Return the image files below a folder, sorted: those that training reads.

    Args:
        folder: The folder.
        note: Takes a sentence if it holds other files.

    Raises:
        DataError: The folder, or one below it, cannot be listed.
    """
    images, others = list[Path](), list[Path]()
    for path in list_files(folder):
        (images if is_image(path) else others).append(path)
    if others:
        kinds = ", ".join(sorted({path.suffix.lower() or "no suffix" for path in others})[:_MOST_KINDS])
        note(f"{folder}: {plural(len(others), 'file')} left out, not images: {kinds}")
    return [str(path) for path in images]


def _shown(name: str) -> str:
    return without_password(name) if _is_url(name) else name


def _is_url(text: str) -> bool:
    return text.lower().startswith(("http://", "https://"))


def _reader(name: str) -> Callable[[], Encoded]:
    if name == "-":
        return lambda: _limited(sys.stdin.buffer.read(MAX_BYTES + 1))
    if _is_url(name):
        return lambda: fetch(name)
    return lambda: name


def _image_reader(image: Image.Image) -> Callable[[], Encoded]:
    return lambda: image


def _array_reader(array: NDArray[np.uint8]) -> Callable[[], Encoded]:
    return lambda: array


def _check_array(array: NDArray[np.generic]) -> None:
    """Raises ImageError for an array of another type or shape than images have."""
    fits = array.ndim == 2 or (array.ndim in {3, 4} and array.shape[-1] in {1, 3, 4})
    if array.dtype != np.uint8 or not fits or 0 in array.shape[-3:]:
        raise ImageError(
            f"found {array.dtype} {array.shape}, expected uint8 {_ARRAYS}",
            where="images",
            fix="pass pixels from 0 to 255 with the channels last: array.astype('uint8')",
        )


def fetch(url: str, *, timeout: float = TIMEOUT, limit: int = MAX_BYTES) -> bytes:
    """Download an http(s) URL; see `system.download`.

    Raises:
        UnusableImageError: The server cannot be reached, returns an error, is too slow, or sends too much.
    """
    try:
        return download(url, timeout=timeout, limit=limit)
    except TransferError as error:
        raise UnusableImageError("oversized" if error.too_large else "unreadable", str(error)) from error


def _limited(content: bytes | bytearray, limit: int = MAX_BYTES) -> bytes:
    if len(content) > limit:
        raise UnusableImageError("oversized", f"more than {limit:,} bytes")
    return content  # type: ignore[return-value]
