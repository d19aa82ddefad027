"""Feed damaged and generated input to every reader of files and text: only ConvsmithError is allowed.

    python tests/helpers/fuzz.py 20000
    python tests/helpers/fuzz.py 500 notation recipe --seed 7

Inputs are valid ones with changed bytes, characters or values, combined pieces of several, and noise. Each
depends only on the seed, the reader's name and its number, so it can be reproduced. An input that takes more
than 2 seconds of CPU time is a failure too.
"""

import argparse
import copy
import io
import json
import os
import random
import signal
import string
import struct
import sys
import tarfile
import tempfile
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import safetensors.torch
import tomli_w
import torch

import convsmith as cs
from convsmith.briefs.loader import brief_names, brief_table, load_brief
from convsmith.data.config import DataConfig
from convsmith.data.dataset import load as load_data
from convsmith.data.sources import find_source, read_source
from convsmith.errors import ConvsmithError
from convsmith.evaluation import explanation, predictions
from convsmith.modules.access import NO_CODE
from convsmith.modules.fitting import fit_weights
from convsmith.modules.weights import read_state_dict
from convsmith.net.arithmetic import analyze_notation
from convsmith.net.module import build
from convsmith.recipes.loader import load, load_settings, recipe_names
from convsmith.recipes.schema import Recipe
from convsmith.reports import comparison
from convsmith.runs.checkpoint import load_checkpoint
from convsmith.runs.folder import ORIGINALS, STATE, WEIGHTS, RunFolder
from convsmith.runs.progress import table_row
from convsmith.system import reading
from convsmith.system.folders import cache_folder
from helpers import array_sets
from helpers.packed import packed
from helpers.sources import tree

MAX_SECONDS = 2.0
NET = "C4 C6:s2 / G F10"
OVERRIDES = (f"model.net={NET}", "name=fuzzed", "train.epochs=1", "train.ema=0.9")

Make = Callable[[random.Random], bytes]


class TooSlow(BaseException):
    """The time limit is reached; a BaseException, so that no reader handles it as an error of the input."""


@dataclass(frozen=True)
class Reader:
    """A reader of untrusted input: the function that generates input, and the function that reads it."""

    name: str
    make: Make
    read: Callable[[bytes], object]


@dataclass(frozen=True)
class Tally:
    """The number of inputs, the number of rejected ones, and the CPU time of the slowest, in seconds."""

    name: str
    inputs: int
    rejected: int
    slowest: float


def fuzz(reader: Reader, count: int, seed: int) -> Tally:
    """Read `count` inputs. Raises AssertionError for the first that raises another exception."""
    rejected, slowest = 0, 0.0
    for number in range(count):
        key, message = f"{seed} {reader.name} {number}", "error["
        content = reader.make(random.Random(key))  # noqa: S311 - not cryptographic
        began = time.process_time()
        try:
            with time_limit(MAX_SECONDS):
                reader.read(content)
        except ConvsmithError as error:
            rejected += 1
            message = str(error)
        except (Exception, TooSlow) as error:
            raise AssertionError(
                f"input {key!r}: {type(error).__name__}: {error}\n{content[:300]!r}"
            ) from error
        assert message.startswith("error["), key
        slowest = max(slowest, time.process_time() - began)
    return Tally(name=reader.name, inputs=count, rejected=rejected, slowest=slowest)


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TooSlow after `seconds` of CPU time, which does not depend on the load of the machine."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TooSlow(f"more than {seconds} s")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


# --- Generating inputs

NUMBERS = (
    0,
    1,
    -1,
    2,
    255,
    2**31,
    2**63,
    2**64,
    -(2**63),
    10**30,
    10**400,
    0.5,
    -0.0,
    1e308,
    float("inf"),
    float("nan"),
)
TEXTS = (
    "",
    " ",
    "x" * 3000,
    "../../x",
    "os.system",
    "__class__",
    "\x00",
    "\x1b[31m",
    "ä€\U0001f600",
    "1e99",
    "nan",
    "'",
)


def weird(chance: random.Random) -> Any:
    """Return an unusual value."""
    kind = chance.randrange(7)
    if kind < 2:
        return chance.choice(NUMBERS)
    if kind == 2:
        return chance.choice(TEXTS)
    if kind == 3:
        return [weird(chance) for _ in range(chance.randrange(4))]
    if kind == 4:
        return {chance.choice(TEXTS): weird(chance) for _ in range(chance.randrange(3))}
    if kind == 5:
        return nested(chance.choice((2, 40, 150)))
    return chance.choice((None, True, False))


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def mutated(chance: random.Random, value: Any) -> Any:
    """Return a copy of nested tables and lists with a few values replaced, removed, duplicated or added."""
    value = copy.deepcopy(value)
    for _ in range(chance.choice((1, 1, 1, 2, 5))):
        position = _position(chance, value)
        if position is None:
            return weird(chance)
        container, key = position
        action = chance.randrange(8)
        if action == 0:
            del container[key]
        elif action == 1 and isinstance(container, dict):
            container[chance.choice(TEXTS)] = weird(chance)
        elif action < 4 and isinstance(container[key], int | float):
            container[key] = chance.choice(NUMBERS)
        elif action < 4 and isinstance(container[key], str):
            container[key] = chance.choice(TEXTS)
        elif action == 4:
            other = _position(chance, value)
            container[key] = copy.deepcopy(other[0][other[1]]) if other else None
        else:
            container[key] = weird(chance)
    return value


def _position(chance: random.Random, value: Any) -> tuple[Any, Any] | None:
    """Return a nested table or list and one of its keys; outer ones are more probable."""
    position = None
    while isinstance(value, dict | list) and value:
        key = chance.choice(list(value)) if isinstance(value, dict) else chance.randrange(len(value))
        position, value = (value, key), value[key]
        if chance.randrange(3) == 0:
            break
    return position


def damaged(chance: random.Random, content: bytes, others: Sequence[bytes] = ()) -> bytes:
    """Return bytes with some flipped, removed, duplicated or replaced, or with a piece of another input."""
    data = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        at = chance.randrange(len(data) + 1)
        size = chance.choice((1, 1, 2, 8, 64, 500))
        action = chance.randrange(8)
        if action == 0 and data:
            data[at % len(data)] ^= 1 << chance.randrange(8)
        elif action == 1:
            del data[at : at + size]
        elif action == 2:
            data[at:at] = data[at : at + size] * chance.choice((1, 2, 30))
        elif action == 3:
            data[at : at + size] = chance.randbytes(size)
        elif action == 4:
            del data[at:]
        elif action == 5:
            data[at:at] = str(chance.choice((*NUMBERS, *TEXTS))).encode()
        elif action == 6 and others:
            other = chance.choice(others)
            start = chance.randrange(len(other) + 1)
            data[at:at] = other[start : start + size]
        else:
            data[at : at + 1] = chance.choice(string.printable).encode()
    return bytes(data[:200_000])


def noise(chance: random.Random) -> bytes:
    """Return random bytes, or one piece of syntax many times."""
    if chance.randrange(2):
        return chance.randbytes(chance.randrange(300))
    piece = chance.choice(
        (b"[", b'{"a":', b"(", b"+(C8 ", b"a=[", b"a=9", b"9", b",", b"\n", b"a.", b"[[a.", b'"""', b"\x00")
    )
    return struct.pack("<Q", 10_000) * chance.randrange(2) + piece * chance.choice((100, 1000, 20_000))


def texts(valid: Sequence[str], pieces: Sequence[str]) -> Make:
    """Return a generator of text: damaged valid texts, sequences of pieces, and noise."""
    encoded = [text.encode() for text in valid]

    def make(chance: random.Random) -> bytes:
        kind = chance.randrange(10)
        if kind == 0:
            return noise(chance)
        if kind < 4:
            return "".join(chance.choice(pieces) for _ in range(chance.randrange(60))).encode()
        return damaged(chance, chance.choice(encoded), encoded)

    return make


def tables(valid: Sequence[dict[str, Any]], dump: Callable[[Any], str]) -> Make:
    """Return a generator of serialized tables: with changed values, or with damaged text."""
    encoded = [dump(table).encode() for table in valid]

    def make(chance: random.Random) -> bytes:
        kind = chance.randrange(20)
        if kind == 0:
            return noise(chance)
        if kind < 14:
            try:
                return dump(mutated(chance, chance.choice(valid))).encode("utf-8", "replace")
            except (TypeError, ValueError, RecursionError, AttributeError):
                pass  # Not every value can be written in this format.
        return damaged(chance, chance.choice(encoded), encoded)

    return make


def archives(arrays: dict[str, np.ndarray[Any, Any]]) -> Make:
    """Return a generator of NumPy archives: with changed, missing or pickled arrays, or damaged bytes."""
    valid = _archive(arrays)

    def make(chance: random.Random) -> bytes:
        if not chance.randrange(2):
            return damaged(chance, valid)
        content = dict(arrays)
        for _ in range(chance.choice((1, 1, 2))):
            name = chance.choice(list(arrays))
            content[name] = _array(chance, arrays[name])
            if not chance.randrange(5):
                del content[name]
        return _archive(content)

    return make


def _array(chance: random.Random, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    kind = chance.randrange(7)
    if kind == 0:
        return array[: chance.randrange(len(array) + 1)] if array.ndim else array
    if kind == 1:
        return array[..., None] if chance.randrange(2) else array.ravel()
    if kind == 2:
        return np.array([object()] * 3, dtype=object)
    if kind == 3:
        return np.full(array.shape, chance.choice(("x", b"y", True, 1j, np.datetime64("2000-01-01"))))
    if kind == 4:
        return np.full(array.shape, chance.choice((np.nan, np.inf, -1, 2**40, 1e308)))
    if kind == 5:
        kinds = ("S3",) if array.dtype.kind == "S" else ("i1", "u8", "f2", "f8", "U3", "?")
        return array.astype(chance.choice(kinds), casting="unsafe")
    return np.zeros((0, *array.shape[1:]), array.dtype)


def _archive(arrays: dict[str, np.ndarray[Any, Any]]) -> bytes:
    content = io.BytesIO()
    np.savez(content, allow_pickle=True, **arrays)
    return content.getvalue()


def tensors(valid: bytes) -> Make:
    """Return a generator of safetensors files: with a changed header or header length, or damaged bytes."""
    (length,) = struct.unpack("<Q", valid[:8])
    header, rest = json.loads(valid[8 : 8 + length]), valid[8 + length :]

    def make(chance: random.Random) -> bytes:
        kind = chance.randrange(4)
        if kind == 0:
            return damaged(chance, valid) if chance.randrange(10) else noise(chance)
        if kind == 1:
            size = chance.choice((0, 1, length - 1, length + 1, 2**31, 2**40, 2**63, 2**64 - 1))
            return struct.pack("<Q", size) + valid[8:]
        table = mutated(chance, header)
        if kind == 2 and isinstance(table, dict) and isinstance(table.get("__metadata__"), dict):
            table["__metadata__"] = mutated(chance, header["__metadata__"])
        try:
            text = json.dumps(table).encode()
        except (TypeError, ValueError, RecursionError):
            text = damaged(chance, valid[8 : 8 + length])
        return struct.pack("<Q", len(text)) + text + rest

    return make


# --- The readers

LAYERS = (
    "C8",
    "S16:k5:s2",
    "P10",
    "+(C8 C8)",
    "+(P10)*3",
    "/ C16",
    "M2",
    "A2:s1",
    "D:k7",
    "U2",
    "C6:g2:ahardswish",
    "C4:d3:p0",
)
JUNK = (
    "C",
    "c",
    "99999999999",
    ":k",
    ":s2",
    ":p0",
    ":g4",
    ":o0.1",
    ":n0",
    ":agelu-",
    "*3",
    "*300",
    "(",
    ")",
    "+(",
    "/",
    "é",
    ":",
    "0",
)


def nets(valid: Sequence[str]) -> Make:
    """Return a generator of notation: damaged nets, and random layers with or without an error."""
    other = texts(valid, JUNK)

    def make(chance: random.Random) -> bytes:
        if chance.randrange(2):
            return other(chance)
        layers = ["C8", *(chance.choice(LAYERS) for _ in range(chance.randrange(12))), "/ G F10"]
        if chance.randrange(2):
            layers[chance.randrange(len(layers))] += chance.choice(("", " ")) + chance.choice(JUNK)
        return " ".join(layers).encode()

    return make


def text_readers(folder: Path) -> list[Reader]:
    """Return the readers of text and of single text files."""
    recipes = [load(name).table() for name in recipe_names()]
    briefs = [brief_table(name) for name in brief_names()]
    valid_nets = [
        *(load(name).notation.net for name in recipe_names()),
        "C16 +(C16 C16)*2 / S32:k5:s2 P10:agelu / U2 C8:o0.1 / A2 G F10",
    ]
    overrides = [
        "train.epochs=5", "seed=3", "train.optimizer=adamw", "augment.transforms.0.p=0.1",  "bias=1",
        "model.net=C8 / G F10", "brief.min_accuracy=0.9", "train.optimizer.name=sgd", "brief=course-cifar10",
    ]  # fmt: skip
    words = [
        *(word for each in overrides for word in (*each.split("="), *each.split("."))),
        "=",
        ".",
        "[",
        "{",
        '"',
        "1",
    ]
    path = folder / "text.toml"

    def of_file(use: Callable[[str], object]) -> Callable[[bytes], object]:
        def read(content: bytes) -> object:
            path.write_bytes(content)
            return use(str(path))

        return read

    def net(content: bytes) -> None:
        text = content.decode("utf-8", "replace")
        analysis = analyze_notation(text, (3, 32, 32), None)
        assert analyze_notation(cs.format_net(text), (3, 32, 32), None).parameters == analysis.parameters

    def recipe(name: str) -> None:
        loaded = load(name)
        analyze_notation(loaded.notation.net, (3, 32, 32), loaded.notation)
        again = Recipe.model_validate(loaded.table())
        assert again.table() == loaded.table()
        # Without a training, the table has no settings of one.
        assert again == loaded or loaded.is_trained_elsewhere

    return [
        Reader("notation", nets(valid_nets), net),
        Reader("recipe", tables(recipes, tomli_w.dumps), of_file(recipe)),
        Reader("overrides", texts(overrides, words), lambda content: load("digits", _lines(content))),
        Reader(
            "settings",
            texts(["norm=none", "bias=true", "activation=relu", "dropout=0.1"], words),
            lambda content: load_settings(_lines(content)),
        ),
        Reader(
            "brief",
            tables([*briefs, *(each["brief"] for each in recipes if "brief" in each)], tomli_w.dumps),
            of_file(load_brief),
        ),
    ]


def _lines(content: bytes) -> list[str]:
    return content.decode("utf-8", "replace").splitlines()


def run_readers(run: Path) -> list[Reader]:
    """Return the readers of a run folder's files; without a manifest, no checksum rejects them first."""
    folder = RunFolder(path=run)
    recipe = load(str(run / "recipe.toml"))
    net = build(analyze_notation(recipe.notation.net, (1, 8, 8), recipe.notation).plan)
    state, weights = (run / STATE).read_bytes(), (run / WEIGHTS).read_bytes()
    manifest = {
        name: {"sha256": reading.sha256(run / name), "bytes": (run / name).stat().st_size}
        for name in ORIGINALS
        if (run / name).is_file()
    }
    layer = next(iter(net.state_dict()))

    def json_of(value: Any) -> Make:
        return tables([value], json.dumps)

    def of(name: str, *uses: Callable[[], object]) -> Callable[[bytes], object]:
        """Replace a file of the run by the input, and call every function, also after errors."""

        def read(content: bytes) -> None:
            path = run / name
            before = path.read_bytes() if path.is_file() else None
            path.write_bytes(content)
            errors = []
            try:
                for use in uses:
                    try:
                        use()
                    except ConvsmithError as error:
                        errors.append(error)
            finally:
                path.unlink() if before is None else path.write_bytes(before)
            if errors:
                raise errors[0]

        return read

    def watch() -> None:
        progress = cs.progress(run)
        assert [progress.line(), *map(table_row, progress.rows)]

    def judge() -> None:
        cs.resolve(str(run)).judge()

    arrays = {name: dict(np.load(run / f"{name}.npz")) for name in ("predictions", "explanation")}
    num_images = len(arrays["predictions"]["labels"])
    rows, log = (run / "metrics.csv").read_text(), (run / "log.txt").read_text()
    junk = ["1", ",", "\n", "epoch", "nan", '"', "1e999", "lr"]
    compare = partial(comparison._open, run, NO_CODE)
    records = {name: json_of(reading.read_json(run / f"{name}.json")) for name in ("data", "results")}
    generators = {name: archives(each) for name, each in arrays.items()}
    reads_predictions = (partial(predictions.read, folder.predictions), compare)
    reads_weights = (partial(folder.load_weights, net), partial(folder.find_weight, layer))
    read_explanation = partial(explanation.read, folder.explanation, num_images)
    return [
        Reader("state", tensors(state), of(STATE, partial(load_checkpoint, run / STATE))),
        Reader("weights", tensors(weights), of(WEIGHTS, *reads_weights)),
        Reader("manifest", json_of(manifest), of("manifest.json", partial(RunFolder.open, run))),
        Reader("data record", records["data"], of("data.json", judge, compare)),
        Reader("results", records["results"], of("results.json", judge, partial(cs.results, run))),
        Reader("metrics", texts([rows], junk), of("metrics.csv", watch)),
        Reader("log", texts([log], ["error[E060]: ", "\n", "x"]), of("log.txt", watch)),
        Reader("predictions", generators["predictions"], of("predictions.npz", *reads_predictions)),
        Reader("explanation", generators["explanation"], of("explanation.npz", read_explanation)),
    ]


def cache_readers() -> list[Reader]:
    """Return the readers of the cache of decoded images."""
    config = DataConfig(source="digits")
    load_data(config)

    def reader(pattern: str, name: str) -> Reader:
        (path,) = cache_folder().glob(pattern)
        valid = path.read_bytes()

        def read(content: bytes) -> None:
            path.write_bytes(content)
            try:
                load_data(config)
            finally:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(valid)

        make = (
            tables([json.loads(valid)], json.dumps)
            if path.suffix == ".json"
            else lambda chance: damaged(chance, valid)
        )
        return Reader(name, make, read)

    return [
        reader("sources/*.json", "cache: index"),
        reader("content-*/*/meta.json", "cache: metadata"),
        reader("content-*/*/train-labels.npy", "cache: labels"),
        reader("content-*/*/train-images.npy", "cache: images"),
    ]


def checkpoint_readers(folder: Path) -> list[Reader]:
    """Return the readers of weights that were trained elsewhere, by format."""
    path = folder / "net.pth"

    def new_net() -> torch.nn.Module:
        return torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))

    net = new_net()

    def read(content: bytes) -> None:
        path.write_bytes(content)
        fit_weights(new_net(), read_state_dict(path))

    def of(name: str, save: Callable[[], object]) -> Reader:
        save()
        valid = path.read_bytes()
        return Reader(name, lambda chance: damaged(chance, valid), read)

    def pickled(chance: random.Random) -> bytes:
        """Return an archive with a damaged pickle, which no checksum reveals."""
        torch.save(checkpoint, path)
        content = io.BytesIO()
        with zipfile.ZipFile(path) as source, zipfile.ZipFile(content, "w") as copy:
            for name in source.namelist():
                part = source.read(name)
                copy.writestr(name, damaged(chance, part) if name.endswith("data.pkl") else part)
        return content.getvalue()

    checkpoint = {"net": net.state_dict(), "acc": 91.5, "args": argparse.Namespace(lr=0.1)}
    return [
        of("checkpoint: zip", lambda: torch.save(checkpoint, path)),
        of(
            "checkpoint: old format",
            lambda: torch.save(checkpoint, path, _use_new_zipfile_serialization=False),
        ),
        of("checkpoint: safetensors", lambda: safetensors.torch.save_file(net.state_dict(), path)),
        Reader("checkpoint: pickle", pickled, read),
    ]


def _members(valid: bytes, make: Make) -> Make:
    """Return a generator of archives: with damaged bytes, or members with other names or damaged content."""
    with zipfile.ZipFile(io.BytesIO(valid)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}

    def changed(chance: random.Random) -> Iterator[tuple[str, bytes]]:
        for name, content in members.items():
            other = chance.choice((*TEXTS, *members, f"../{name}", f"/{name}", f"{name}/{name}"))
            # zipfile writes no name without text, and ends it at a null character.
            other = other.partition("\0")[0] or "x"
            yield (
                other if not chance.randrange(8) else name,
                (damaged(chance, content) if not chance.randrange(4) else content),
            )

    def build(chance: random.Random) -> bytes:
        if not chance.randrange(3):
            return make(chance)
        target = io.BytesIO()
        if chance.randrange(2):
            with zipfile.ZipFile(target, "w", chance.choice((0, 8))) as archive, warnings.catch_warnings():
                warnings.simplefilter("ignore")
                for name, content in changed(chance):
                    archive.writestr(name, content)
            return target.getvalue()
        with tarfile.open(fileobj=target, mode=chance.choice(("w", "w:gz"))) as packed:
            for name, content in changed(chance):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                member.type = (
                    tarfile.REGTYPE if chance.randrange(8) else chance.choice(b"123456789").to_bytes()
                )
                packed.addfile(member, io.BytesIO(content))
        return target.getvalue() if chance.randrange(2) else damaged(chance, target.getvalue())

    return build


def data_readers(folder: Path) -> list[Reader]:
    """Return the readers of data sets: tables and lists, arrays, IDX, binary and parquet files, archives."""

    def of(name: str, root: Path, file: str, make: Make | None = None) -> Reader:
        path = root / file
        if make is None:
            valid = path.read_bytes()
            make = partial(damaged, content=valid)

        def read(content: bytes) -> None:
            path.write_bytes(content)
            source = path if path.suffix in {".zip", ".npz"} else root
            config = DataConfig(source=str(source))
            for split in read_source(find_source(config), config).splits.values():
                assert len(list(split.images)) == len(split.labels) == len(split.locations)

        return Reader(f"data: {name}", make, read)

    def root(name: str, kind: str | None = None) -> Path:
        if kind:
            return array_sets.write(kind, folder / name)
        return tree(folder / name, *(f"images/{number}.png" for number in range(12)))

    rows = [(f"images/{number}.png", "ab"[number % 2], number % 3 and "train") for number in range(12)]
    lines = ["file,label,split", *(f"{file},{label},{split or 'test'}" for file, label, split in rows)]
    records = [{"file": file, "label": label} for file, label, _ in rows]
    lists = root("lists")
    (lists / "images.txt").write_text("".join(f"{at} {at}.png\n" for at in range(12)))
    (lists / "train_test_split.txt").write_text("".join(f"{at} {at % 2}\n" for at in range(12)))
    labels = "".join(f"{at} {at % 3}\n" for at in range(12))
    parquet = packed(root("parquet", "parquet"), ".zip").read_bytes()
    idx = packed(root("idx", "IDX"), ".zip").read_bytes()
    x, y = array_sets.pixels(6, 5, 3), array_sets.labels()
    words = ["images/1.png", "1.png", ",", ";", "\t", '"', "\n", "label", "train", "0", "1", "-1", "../", "é"]
    return [
        of("table", root("table"), "labels.csv", texts(["\n".join(lines)], words)),
        of("JSON", root("json"), "labels.json", tables(records_of(records), json.dumps)),
        of("list by number", lists, "image_class_labels.txt", texts([labels], [*words, " "])),
        of("arrays", folder, "set.npz", archives({"x_train": x, "y_train": y, "x_test": x, "y_test": y})),
        of("array file", root("npy", "npy"), "train/x.npy"),
        of("IDX", root("files", "IDX, packed"), "train-images-idx3-ubyte.gz"),
        of("IDX labels", root("idx-labels", "IDX"), "train-labels-idx1-ubyte"),
        of("binary", root("cifar", "CIFAR-10"), "data_batch_1.bin"),
        of("parquet", root("shards", "parquet"), "train-00000-of-00001.parquet"),
        of("archive of parquet", folder, "p.zip", _members(parquet, lambda chance: damaged(chance, parquet))),
        of("archive of IDX", folder, "i.zip", _members(idx, lambda chance: damaged(chance, idx))),
    ]


def records_of(records: list[dict[str, Any]]) -> list[Any]:
    """Return the forms of a table as JSON."""
    return [
        records,
        {each["file"]: each["label"] for each in records},
        {"images": [{"id": at, "file_name": each["file"]} for at, each in enumerate(records)],
         "annotations": [{"image_id": at, "category_id": at % 2} for at in range(len(records))],
         "categories": [{"id": 0, "name": "a"}, {"id": 1, "name": "b"}]},
    ]  # fmt: skip


def readers(folder: Path) -> list[Reader]:
    """Return all readers; train the run that they read in the folder."""
    cs.train(load("digits", OVERRIDES), runs=folder)
    run = folder / "fuzzed-1"
    (run / "manifest.json").unlink()
    return [
        *text_readers(folder),
        *run_readers(run),
        *cache_readers(),
        *checkpoint_readers(folder),
        *data_readers(folder / "data"),
    ]


def main(count: int, names: Sequence[str], seed: int, folder: Path) -> None:
    available = readers(folder)
    unknown = set(names) - {each.name for each in available}
    if unknown:
        sys.exit(f"no reader {', '.join(unknown)}; choose from {', '.join(each.name for each in available)}")
    for reader in available:
        if not names or reader.name in names:
            began = time.process_time()
            tally = fuzz(reader, count, seed)
            seconds = time.process_time() - began
            cells = (
                tally.name,
                f"{tally.inputs:,}",
                f"{tally.rejected:,}",
                f"{seconds:.0f} s",
                f"{tally.slowest:.2f} s",
            )
            sys.stdout.write(f"| {' | '.join(cells)} |\n")
            sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("count", type=int, help="inputs for each reader")
    parser.add_argument("readers", nargs="*", help="all of them by default")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        # The readers damage this cache.
        os.environ["CONVSMITH_CACHE"] = str(Path(scratch, "cache"))
        main(arguments.count, arguments.readers, arguments.seed, Path(scratch))
