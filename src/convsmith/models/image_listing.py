"""The images that a text names: a file, folder, pattern, archive, table or IDX file, URL, standard input."""

import glob
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path

from convsmith.data.arrays.idx import is_idx_images
from convsmith.data.files.listing import SUFFIXES, is_image, walk
from convsmith.data.files.storage import SingleFile
from convsmith.errors import ConvsmithError, FileError, Problem
from convsmith.models.image_blocks import STDIN, ImageBlock, archive_block, idx_block, is_url, table_block
from convsmith.system import paths
from convsmith.system.archives import is_archive_name
from convsmith.text import plural

Note = Callable[[str], None]

# Suffixes of other files that a sentence names.
_MOST_KINDS = 5
_ARRAYS = (".npz", ".npy", "-ubyte", "-ubyte.gz")
_TABLES = (".parquet", ".pq")
_FOR_ARRAYS = "write image files, or pass arrays in Python: cs.load(...).predict(images)"


def image_blocks(
    texts: Iterable[str], note: Note = lambda _: None, column: str | None = None
) -> list[Iterator[ImageBlock]]:
    """Return the images that each text names, in order; those of a folder are listed on demand.

    Args:
        texts: Files, folders, patterns such as `*.png`, http(s) URLs, and `-` for standard input. A parquet
            file stands for the images of its rows, an archive or an IDX file for those in it.
        note: Takes a sentence for each folder that holds other files than images, once it is listed.
        column: The column of parquet files with the images; by default the only one of this type.

    Raises:
        FileError: Texts match nothing; one problem for each.
    """
    every, problems = list[Iterator[ImageBlock]](), list[Problem]()
    for text in texts:
        try:
            every.append(_expand(text, note, column))
        except ConvsmithError as error:
            problems += error.problems
    if problems:
        raise FileError.of(problems)
    return every


def _expand(text: str, note: Note, column: str | None) -> Iterator[ImageBlock]:
    path = Path(text)
    if text == STDIN or is_url(text):
        return iter([ImageBlock(text)])
    if paths.exists(path):
        return _blocks(path, text, note, column)
    if not glob.has_magic(text):
        raise FileError("no such file or folder", where=text, fix="check the path")
    matches = sorted(glob.glob(text, recursive=True))  # noqa: PTH207 - a pattern may be absolute
    if not matches:
        raise FileError("no file fits this pattern", where=text, fix="check folder and pattern")
    return chain.from_iterable(_blocks(Path(each), each, lambda _: None, column) for each in matches)


def _blocks(path: Path, text: str, note: Note, column: str | None) -> Iterator[ImageBlock]:
    """Return the images of a file or folder that exists."""
    if paths.is_folder(path):
        blocks = _folder_blocks(path, note, column)
        if (first := next(blocks, None)) is None:
            raise FileError("this folder holds no images", where=text, fix=_folder_fix(path))
        return chain([first], blocks)
    name = path.name.lower()
    if name.endswith(_TABLES):
        return iter([table_block(path, None, column)])
    if is_archive_name(name):
        block = archive_block(path)
        if not block:
            fix = f"looked for {_suffixes()}; unpack it if it holds tables or arrays"
            raise FileError("this archive holds no images", where=text, fix=fix)
        return iter([block])
    if is_idx_images(path):
        return iter([idx_block(path)])
    if name.endswith(_ARRAYS):
        raise FileError("found a file of arrays, expected images", where=text, fix=_FOR_ARRAYS)
    return iter([ImageBlock(text)])


def _folder_blocks(folder: Path, note: Note, column: str | None) -> Iterator[ImageBlock]:
    """Yield the rows of the parquet files of a folder if they have images, or its image and IDX files."""
    tables = {
        entry.path: block
        for entry in walk(folder)
        if not entry.is_folder and not entry.reason and _is_table(entry.path)
        if (block := _table_block(entry.path, folder, column))
    }
    left_out, kinds = 0, set[str]()
    for entry in walk(folder):
        if entry.is_folder or entry.reason:
            continue
        if entry.path in tables:
            yield tables[entry.path]
        elif not tables and is_image(entry.path):
            yield ImageBlock(str(entry.path))
        elif not tables and is_idx_images(entry.path):
            yield idx_block(entry.path)
        else:
            left_out += 1
            kinds.add(entry.path.suffix.lower() or "no suffix")
    if left_out:
        reason = "beside parquet files" if tables else "not images"
        shown = ", ".join(sorted(kinds)[:_MOST_KINDS])
        note(f"{folder}: {plural(left_out, 'file')} left out, {reason}: {shown}")


def _is_table(path: Path) -> bool:
    return path.name.lower().endswith(_TABLES)


def _table_block(path: Path, folder: Path, column: str | None) -> ImageBlock | None:
    """Return the rows of a parquet file; None if it has no images, but for example the labels of files."""
    from convsmith.data.hub.parquet import has_images

    return table_block(path, folder, column) if has_images(SingleFile(path), path.name, column) else None


def _folder_fix(folder: Path) -> str:
    files = [entry.path for entry in walk(folder) if not entry.is_folder and not entry.reason]
    if archive := next((path for path in files if is_archive_name(path.name)), None):
        return f"name the archive itself, for example {archive}"
    if any(path.name.lower().endswith(_ARRAYS) for path in files):
        return _FOR_ARRAYS
    return f"looked for {_suffixes()}, and for parquet files with images"


def _suffixes() -> str:
    return ", ".join(sorted(SUFFIXES))
