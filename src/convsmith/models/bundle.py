"""The bundle: a folder with a trained net that predicts without the training code.

`bundle.json` holds the metadata (`bundle_schema`), `model.safetensors` the weights, `README.md` the card,
`source/` the code of a net that is a module, and `manifest.json` size and SHA-256 of all of these. Reading a
bundle executes nothing: names are keys of closed tables, and sizes are checked before anything is built. The
code of a module runs in `bundle_code`, if the user allows it.
"""

import contextlib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from convsmith.errors import BundleError, FileError, ModuleError, Problem
from convsmith.models.bundle_schema import BundleMetadata, ModuleSpec
from convsmith.modules.architecture import SOURCE
from convsmith.modules.config import ModuleConfig
from convsmith.modules.reference import parse_reference
from convsmith.modules.sources import MAX_FILE, MAX_FILES, MAX_TOTAL, SourceFiles, check_name, names_in
from convsmith.net.settings import NotationConfig
from convsmith.system import files, folders, paths, reading
from convsmith.text import escape_json

METADATA, WEIGHTS, CARD, MANIFEST = "bundle.json", "model.safetensors", "README.md", "manifest.json"
CONTENTS = (METADATA, WEIGHTS, CARD)
# The largest files that are read; those of a small net are 100 times smaller.
MAX_BYTES = {METADATA: 16 * 1024**2, WEIGHTS: 256 * 1024**2, CARD: 4 * 1024**2, MANIFEST: 1024**2}
_CODE = f"{SOURCE}/"
_FIX = "copy the bundle again, or export it again: convsmith export RUN --bundle DIR"


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    bytes: Annotated[int, Field(ge=0)]


_MANIFEST = TypeAdapter(dict[str, _Entry])


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A verified bundle.

    Attributes:
        contents: The bytes of each file but the manifest, by name.
    """

    folder: Path
    metadata: BundleMetadata
    contents: Mapping[str, bytes]

    @cached_property
    def sources(self) -> SourceFiles | None:
        """The files of a module; None for notation, and for installed packages.

        Raises:
            BundleError: The net and the files do not fit together.
        """
        files = {
            name.removeprefix(_CODE): content
            for name, content in self.contents.items()
            if name.startswith(_CODE)
        }
        place, spec = "", self.metadata.spec
        path = self.folder / METADATA
        if isinstance(spec, ModuleSpec):
            try:
                reference = parse_reference(spec.module)
            except ModuleError as error:
                raise damaged(path, f"spec.module: {error.problems[0].what}") from error
            place = reference.place if reference.is_file else ""
        if not place:
            if files:
                raise damaged(self.folder / SOURCE, "the net has no code, but there are files")
            return None
        if not place.startswith(_CODE):
            raise damaged(path, f"spec.module: its file is not in {_CODE}")
        try:
            return SourceFiles(place.removeprefix(_CODE), files)
        except FileError as error:
            problem = error.problems[0]
            raise damaged(path, f"spec.module: {problem.what}: {problem.where}") from error


def contents_of(
    metadata: BundleMetadata, weights: bytes, card: str, sources: SourceFiles | None = None
) -> dict[str, bytes]:
    """Return the files of a bundle by name; equal arguments give equal bytes."""
    code = sources.files if sources else {}
    written = {
        METADATA: (escape_json(metadata.model_dump_json(indent=2)) + "\n").encode(),
        WEIGHTS: weights,
        CARD: card.encode(),
        **{_CODE + name: content for name, content in code.items()},
    }
    return with_manifest(written)


def with_manifest(contents: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the files of a bundle with their manifest."""
    manifest = {
        name: {"sha256": _sha256(contents[name]), "bytes": len(contents[name])} for name in sorted(contents)
    }
    return {**contents, MANIFEST: (json.dumps(manifest, indent=2) + "\n").encode()}


def check_destination(folder: Path) -> None:
    """Check that a folder can become a bundle, or be replaced by one: before the work on its contents.

    Raises:
        FileError: It is a file, holds something else than a bundle, or is not writable.
    """
    folders.restore(folder)
    if paths.exists(folder) and not paths.is_folder(folder):
        raise FileError("this is a file, expected a folder", where=str(folder), fix="name a new folder")
    if paths.is_folder(folder) and not paths.is_file(folder / METADATA) and paths.children(folder):
        raise FileError("this is no bundle, and not empty", where=str(folder), fix="name another folder")
    folders.check_destination(folder)


def write(folder: Path, contents: Mapping[str, bytes], *, replace: bool = False) -> None:
    """Write a bundle atomically.

    Args:
        folder: Created if missing; an empty folder, and one that holds an equal bundle, are accepted.
        contents: The files, from `contents_of`.
        replace: Whether to replace another bundle.

    Raises:
        FileError: The folder holds something else, or cannot be written to.
    """
    check_destination(folder)
    if paths.is_folder(folder) and all(_holds(folder / name, content) for name, content in contents.items()):
        return
    is_bundle = paths.is_file(folder / METADATA)
    if is_bundle and (others := _other_files(folder)):
        raise FileError(
            f"the folder holds other files than those of a bundle: {', '.join(others[:5])}",
            where=str(folder),
            fix="move them, or name another folder",
        )
    if is_bundle and not replace:
        raise FileError(
            "another bundle is there already",
            where=str(folder),
            fix="name another folder, or replace it with --force",
        )
    try:
        with folders.atomic_folder(folder, replace=True) as new:
            for name, content in contents.items():
                (new / name).parent.mkdir(parents=True, exist_ok=True)
                files.write_bytes(new / name, content)
    except OSError as error:
        raise files.write_error(folder, error) from error


def _other_files(folder: Path) -> list[str]:
    """Return what a folder holds besides its bundle; its code is known by the manifest."""
    present = {path.name for path in paths.children(folder)} - {*CONTENTS, MANIFEST}
    if SOURCE in present:
        present.remove(SOURCE)
        known: set[str] = set()
        with contextlib.suppress(BundleError):
            known.update(_manifest(folder))
        present |= {_CODE + name for name in names_in(folder / SOURCE)} - known
    return sorted(present)


def read(folder: Path) -> Bundle:
    """Read a bundle and verify it against its manifest. Its code is not run.

    Raises:
        BundleError: There is no bundle, it is damaged, or of another version.
    """
    if not paths.is_file(folder / METADATA):
        raise BundleError(
            f"this folder is no bundle: {METADATA} is missing"
            if paths.is_folder(folder)
            else "no such bundle",
            where=str(folder),
            fix="`convsmith export RUN --bundle DIR` writes one",
        )
    contents = _verified_contents(folder)
    bundle = Bundle(folder=folder, metadata=_metadata(folder, contents[METADATA]), contents=contents)
    # Files and net fit together, or this raises.
    _ = bundle.sources
    return bundle


def _manifest(folder: Path) -> dict[str, _Entry]:
    content = _read_bounded(folder, MANIFEST)
    _check_json(folder / MANIFEST, content)
    try:
        return _MANIFEST.validate_json(content)
    except ValidationError as error:
        raise damaged(folder / MANIFEST, "expected sha256 and bytes of each file") from error


def _check_code(folder: Path, manifest: Mapping[str, _Entry]) -> None:
    """Check names and sizes of the code before it is read, and that there is no other code."""
    code = manifest.keys() - set(CONTENTS)
    unknown = sorted(name for name in code if not name.startswith(_CODE))
    if unknown or not set(CONTENTS) <= manifest.keys():
        raise damaged(folder / MANIFEST, f"expected the entries {', '.join(CONTENTS)}, and code in {_CODE}")
    if not code:
        return
    sizes = [manifest[name].bytes for name in code]
    if len(sizes) > MAX_FILES or sum(sizes) > MAX_TOTAL:
        found = f"{len(sizes):,} source files of {sum(sizes):,} bytes"
        raise damaged(
            folder / MANIFEST, f"found {found}, expected at most {MAX_FILES} of {MAX_TOTAL:,} bytes"
        )
    source = folder / SOURCE
    if source.is_symlink():
        raise damaged(source, "found a link, expected a folder")
    try:
        for name in code:
            check_name(name.removeprefix(_CODE))
        present = {_CODE + name for name in names_in(source)} if paths.is_folder(source) else set()
    except FileError as error:
        raise damaged(Path(error.problems[0].where), error.problems[0].what) from error
    if others := sorted(present - code):
        raise damaged(folder / others[0], "not a file of this bundle's code")


def _verified_contents(folder: Path) -> dict[str, bytes]:
    """Read all files of a bundle and compare them with the manifest."""
    manifest = _manifest(folder)
    _check_code(folder, manifest)
    contents, problems = {}, []
    for name in (*CONTENTS, *sorted(manifest.keys() - set(CONTENTS))):
        contents[name] = _read_bounded(folder, name)
        entry, size = manifest[name], len(contents[name])
        if size != entry.bytes:
            problems.append(Problem(what=f"damaged: found {size} bytes, expected {entry.bytes}", where=name))
        elif (digest := _sha256(contents[name])) != entry.sha256:
            what = f"damaged: found SHA-256 {digest[:12]}, expected {entry.sha256[:12]}"
            problems.append(Problem(what=what, where=name))
    if problems:
        raise BundleError.of(
            Problem(what=each.what, where=str(folder / each.where), fix=_FIX) for each in problems
        )
    return contents


def _read_bounded(folder: Path, name: str) -> bytes:
    path = folder / name
    # Reading a pipe or a device would not end.
    if not paths.is_file(path):
        raise BundleError(f"damaged: {name} is missing", where=str(folder), fix=_FIX)
    if (size := path.stat().st_size) > (limit := MAX_BYTES.get(name, MAX_FILE)):
        raise damaged(path, f"found {size:,} bytes, expected at most {limit:,}")
    return reading.read_bytes(path)


def _metadata(folder: Path, content: bytes) -> BundleMetadata:
    path = folder / METADATA
    _check_json(path, content)
    try:
        return BundleMetadata.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        tags = {NotationConfig.TAG, ModuleConfig.TAG}
        where = ".".join(str(part) for part in first["loc"] if part not in tags)
        if first["loc"] == ("format",):
            raise BundleError(
                f"written by another version of convsmith: format {first['input']!r}, expected 1, 2 or 3",
                where=str(path),
                fix="update convsmith, or export the bundle again",
            ) from error
        raise damaged(path, f"{where + ': ' if where else ''}{first['msg'][:200]}") from error


def _check_json(path: Path, content: bytes) -> None:
    """Refuse what pydantic accepts, such as duplicate keys."""
    try:
        reading.parse_json(content.decode())
    except ValueError as error:
        raise damaged(path, f"not valid JSON: {error}") from error


def damaged(path: Path, what: str) -> BundleError:
    """Return the error for a damaged file of a bundle."""
    return BundleError(f"damaged: {what}", where=str(path), fix=_FIX)


def _holds(path: Path, content: bytes) -> bool:
    return paths.is_file(path) and path.stat().st_size == len(content) and reading.read_bytes(path) == content


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
