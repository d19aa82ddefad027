"""A bundle: the folder of a trained net that predicts without the code that trained it.

`bundle.json` says all (`ship.facts`), `model.safetensors` holds the weights, `README.md` is the card, and
`manifest.json` has the size and SHA-256 of the three. Nothing in it can run: names lead to closed tables, and
sizes are bounded before anything is built.
"""

import hashlib
import json
import secrets
import shutil
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import safetensors
import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from torch import Tensor, nn

from convsmith.errors import BundleError, ConvsmithError, FileError, Problem
from convsmith.models.bundle_schema import BundleMetadata
from convsmith.models.classifier import Classifier
from convsmith.net.module import build
from convsmith.net.notation import parse
from convsmith.net.plan import Plan, plan
from convsmith.system import files, folders, reading
from convsmith.system.device import choose_device

FACTS, WEIGHTS, CARD, MANIFEST = "bundle.json", "model.safetensors", "README.md", "manifest.json"
CONTENTS = (FACTS, WEIGHTS, CARD)
# The largest net that is read: a small one has a hundredth of it.
MOST_BYTES = {FACTS: 16 * 1024**2, WEIGHTS: 256 * 1024**2, CARD: 4 * 1024**2, MANIFEST: 10_000}
_FIX = "copy the bundle again, or make it anew: convsmith export RUN --bundle DIR"


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    bytes: Annotated[int, Field(ge=0)]


_MANIFEST = TypeAdapter(dict[str, _Entry])


def contents(facts: BundleMetadata, tensors: Mapping[str, Tensor], card: str) -> dict[str, bytes]:
    """The files of a bundle by name; equal arguments give equal bytes."""
    made = {
        FACTS: (facts.model_dump_json(indent=2) + "\n").encode(),
        WEIGHTS: safetensors.torch.save(dict(sorted(tensors.items()))),
        CARD: card.encode(),
    }
    manifest = {name: {"sha256": _sha256(made[name]), "bytes": len(made[name])} for name in sorted(made)}
    return {**made, MANIFEST: (json.dumps(manifest, indent=2) + "\n").encode()}


def write(folder: Path, written: Mapping[str, bytes], *, replace: bool = False) -> None:
    """Write a bundle as a whole folder, or nothing.

    Args:
        folder: Is made; an empty one, and one that holds this very bundle, are fine.
        written: From `contents`.
        replace: Whether another bundle that is there may be replaced.

    Raises:
        FileError: Something else is there, or the place cannot be written to.
    """
    if folder.is_dir() and all(_holds(folder / name, content) for name, content in written.items()):
        return
    is_bundle = (folder / FACTS).is_file()
    empty = folder.is_dir() and not any(folder.iterdir())
    if folder.exists() and not empty and not (replace and is_bundle):
        raise FileError(
            "another bundle is there already" if is_bundle else "this is no bundle, and not empty",
            where=str(folder),
            fix="name another folder" + (", or replace it with --force" if is_bundle else ""),
        )
    old = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.tmp")
    try:
        if folder.exists():
            folder.rename(old)
        with folders.atomic_folder(folder) as made:
            for name, content in written.items():
                files.write_bytes(made / name, content)
    except OSError as error:
        raise files.write_error(folder, error) from error
    finally:
        # What was there comes back where the new one did not.
        if old.exists() and not folder.exists():
            old.rename(folder)
        shutil.rmtree(old, ignore_errors=True)


def read_facts(folder: Path) -> BundleMetadata:
    """What a bundle says of itself, once all its files are as they were written.

    Raises:
        BundleError: No bundle, a damaged one, or one of another version.
    """
    if not (folder / FACTS).is_file():
        raise BundleError(
            f"this folder is no bundle: {FACTS} is missing" if folder.is_dir() else "no such bundle",
            where=str(folder),
            fix="`convsmith export RUN --bundle DIR` makes one",
        )
    return _facts(folder, _verified(folder))


def load(folder: Path, device: str = "cpu") -> Classifier:
    """A bundle's classifier.

    Args:
        folder: The bundle.
        device: "cpu", "cuda", "mps", or "auto" for the fastest that is there.

    Raises:
        BundleError: No bundle, a damaged one, or one of another version.
        RecipeError: No such device.
    """
    wanted = choose_device(device)
    if not (folder / FACTS).is_file():
        read_facts(folder)
    content = _verified(folder)
    facts = _facts(folder, content)
    planned = _plan(folder, facts)
    return Classifier(
        name=facts.name,
        net=_net(folder / WEIGHTS, planned, content[WEIGHTS], facts.weights.format),
        plan=planned,
        labels=facts.labels,
        preprocessing=facts.preprocessing,
        confidence=facts.confidence,
        device=wanted,
    )


def _verified(folder: Path) -> dict[str, bytes]:
    """All files of a bundle, as the manifest has them."""
    try:
        manifest = _MANIFEST.validate_json(_bounded(folder, MANIFEST))
    except ValidationError as error:
        raise _damaged(folder / MANIFEST, "expected sha256 and bytes of each file") from error
    if set(manifest) != set(CONTENTS):
        raise _damaged(folder / MANIFEST, f"expected the entries {', '.join(CONTENTS)}")
    found, problems = {}, []
    for name in CONTENTS:
        found[name] = _bounded(folder, name)
        entry, size = manifest[name], len(found[name])
        if size != entry.bytes:
            problems.append(Problem(what=f"damaged: found {size} bytes, expected {entry.bytes}", where=name))
        elif (digest := _sha256(found[name])) != entry.sha256:
            what = f"damaged: found SHA-256 {digest[:12]}, expected {entry.sha256[:12]}"
            problems.append(Problem(what=what, where=name))
    if problems:
        raise BundleError.of(
            Problem(what=each.what, where=str(folder / each.where), fix=_FIX) for each in problems
        )
    return found


def _bounded(folder: Path, name: str) -> bytes:
    path = folder / name
    # A pipe or a device would be read without end.
    if not path.is_file():
        raise BundleError(f"damaged: {name} is missing", where=str(folder), fix=_FIX)
    if (size := path.stat().st_size) > MOST_BYTES[name]:
        raise _damaged(path, f"found {size:,} bytes, expected at most {MOST_BYTES[name]:,}")
    return reading.read_bytes(path)


def _facts(folder: Path, content: Mapping[str, bytes]) -> BundleMetadata:
    path = folder / FACTS
    try:
        facts = BundleMetadata.model_validate_json(content[FACTS])
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        if first["loc"] == ("format",):
            raise BundleError(
                f"made by another version of convsmith: format {first['input']!r}, expected 1",
                where=str(path),
                fix="bring convsmith up to date, or make the bundle anew",
            ) from error
        raise _damaged(path, f"{where}: {first['msg'][:200]}") from error
    except RecursionError as error:
        raise _damaged(path, "nested too deeply") from error
    return facts


def _plan(folder: Path, facts: BundleMetadata) -> Plan:
    try:
        planned = plan(parse(facts.spec.net), facts.preprocessing.shape, facts.spec)
    except ConvsmithError as error:
        raise _damaged(folder / FACTS, f"spec.net: {error.problems[0].what}") from error
    if planned.num_classes != len(facts.labels):
        what = f"found {planned.num_classes} outputs for {len(facts.labels)} labels"
        raise _damaged(folder / FACTS, what)
    if len(facts.measured.classes) != len(facts.labels):
        raise _damaged(folder / FACTS, "expected the counts of each class")
    return planned


def _net(path: Path, planned: Plan, content: bytes, kept_as: str) -> nn.Module:
    """The net with its weights in fp32; built without memory, it takes the file's own tensors."""
    with torch.device("meta"):
        net = build(planned)
    expected = net.state_dict()
    floats = {"fp16": torch.float16, "fp32": torch.float32}[kept_as]
    try:
        reading.check_safetensors(content)
        tensors = safetensors.torch.load(content)
    except (safetensors.SafetensorError, ValueError, KeyError, struct.error, OverflowError) as error:
        raise _damaged(path, str(error).splitlines()[0]) from error
    for name in sorted(expected.keys() ^ tensors.keys()):
        raise _damaged(path, f"tensor {name[:100]} is {'missing' if name in expected else 'of no layer'}")
    for name, tensor in tensors.items():
        like = expected[name]
        wanted = floats if like.is_floating_point() else like.dtype
        if tensor.shape != like.shape or tensor.dtype != wanted:
            found = f"{tensor.dtype} {tuple(tensor.shape)}"
            raise _damaged(path, f"tensor {name} is {found}, expected {wanted} {tuple(like.shape)}")
        if not torch.isfinite(tensor).all():
            raise _damaged(path, f"tensor {name} has numbers that are not finite")
    plain = {name: tensor.to(expected[name].dtype) for name, tensor in tensors.items()}
    net.load_state_dict(plain, assign=True)
    return net.requires_grad_(requires_grad=False)


def in_format(tensors: Mapping[str, Tensor], kept_as: str) -> dict[str, Tensor]:
    """Weights as a bundle keeps them: floating-point tensors in fp16 or fp32, counters as they are."""
    dtype = {"fp16": torch.float16, "fp32": torch.float32}[kept_as]
    return {
        name: (tensor.to(dtype) if tensor.is_floating_point() else tensor).detach().cpu().contiguous()
        for name, tensor in tensors.items()
    }


def _holds(path: Path, content: bytes) -> bool:
    return path.is_file() and path.stat().st_size == len(content) and reading.read_bytes(path) == content


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _damaged(path: Path, what: str) -> BundleError:
    return BundleError(f"damaged: {what}", where=str(path), fix=_FIX)
