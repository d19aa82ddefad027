"""The bundle: a folder with a trained net that predicts without the training code.

`bundle.json` holds the metadata (`bundle_schema`), `model.safetensors` the weights, `README.md` the card, and
`manifest.json` size and SHA-256 of these three. Nothing in a bundle is executed: names are keys of closed
tables, and sizes are checked before anything is built.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from convsmith.errors import BundleError, ConvsmithError, FileError, Problem
from convsmith.models.bundle_schema import BundleMetadata
from convsmith.net.arithmetic import SpecAnalysis, analyze_notation
from convsmith.system import files, folders, paths, reading
from convsmith.text import escape_json

METADATA, WEIGHTS, CARD, MANIFEST = "bundle.json", "model.safetensors", "README.md", "manifest.json"
CONTENTS = (METADATA, WEIGHTS, CARD)
# The largest files that are read; those of a small net are 100 times smaller.
MAX_BYTES = {METADATA: 16 * 1024**2, WEIGHTS: 256 * 1024**2, CARD: 4 * 1024**2, MANIFEST: 10_000}
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

    def analyze(self) -> SpecAnalysis:
        """Analyze the net on images of the bundle's size.

        Raises:
            BundleError: The net, its labels and its metrics do not fit together.
        """
        spec, labels = self.metadata.spec, self.metadata.labels
        path = self.folder / METADATA
        try:
            analysis = analyze_notation(spec.net, self.metadata.preprocessing.shape, spec)
        except ConvsmithError as error:
            raise damaged(path, f"spec.net: {error.problems[0].what}") from error
        if analysis.plan.num_classes != len(labels):
            raise damaged(path, f"found {analysis.plan.num_classes} outputs for {len(labels)} labels")
        return analysis


def contents_of(metadata: BundleMetadata, weights: bytes, card: str) -> dict[str, bytes]:
    """Return the files of a bundle by name; equal arguments give equal bytes."""
    written = {
        METADATA: (escape_json(metadata.model_dump_json(indent=2)) + "\n").encode(),
        WEIGHTS: weights,
        CARD: card.encode(),
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
    present = {path.name for path in paths.children(folder)} if paths.is_folder(folder) else set()
    if is_bundle and (others := sorted(present - {*CONTENTS, MANIFEST})):
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
                files.write_bytes(new / name, content)
    except OSError as error:
        raise files.write_error(folder, error) from error


def read(folder: Path) -> Bundle:
    """Read a bundle and verify it against its manifest.

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
    return Bundle(folder=folder, metadata=_metadata(folder, contents[METADATA]), contents=contents)


def _verified_contents(folder: Path) -> dict[str, bytes]:
    """Read all files of a bundle and compare them with the manifest."""
    content = _read_bounded(folder, MANIFEST)
    _check_json(folder / MANIFEST, content)
    try:
        manifest = _MANIFEST.validate_json(content)
    except ValidationError as error:
        raise damaged(folder / MANIFEST, "expected sha256 and bytes of each file") from error
    if set(manifest) != set(CONTENTS):
        raise damaged(folder / MANIFEST, f"expected the entries {', '.join(CONTENTS)}")
    contents, problems = {}, []
    for name in CONTENTS:
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
    if (size := path.stat().st_size) > MAX_BYTES[name]:
        raise damaged(path, f"found {size:,} bytes, expected at most {MAX_BYTES[name]:,}")
    return reading.read_bytes(path)


def _metadata(folder: Path, content: bytes) -> BundleMetadata:
    path = folder / METADATA
    _check_json(path, content)
    try:
        return BundleMetadata.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        if first["loc"] == ("format",):
            raise BundleError(
                f"written by another version of convsmith: format {first['input']!r}, expected 1 or 2",
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
