"""Feed every reader of a file or a text with damaged and made-up input: only our own errors may come out.

    python tests/helpers/fuzz.py 20000
    python tests/helpers/fuzz.py 500 notation recipe --seed 7

Inputs are whole ones with bytes, characters or values changed, pieces of several put together, and noise.
Each depends on the seed, the reader's name and its number alone, so that it can be made again. An input that
takes more than 2 seconds of the processor's time counts as an escape too.
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
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import tomli_w

import convsmith as cs
from convsmith.briefs.loader import brief_names, brief_table, load_brief
from convsmith.data.cache import cache_folder
from convsmith.data.config import DataConfig
from convsmith.data.dataset import load as load_data
from convsmith.errors import ConvsmithError
from convsmith.evaluation import explanation, predictions
from convsmith.net.arithmetic import analyze_notation
from convsmith.net.module import build
from convsmith.recipes.loader import load, load_settings, recipe_names
from convsmith.recipes.schema import Recipe
from convsmith.reports import comparison
from convsmith.runs.checkpoint import load_checkpoint
from convsmith.runs.folder import ORIGINALS, STATE, WEIGHTS, RunFolder
from convsmith.runs.progress import table_row
from convsmith.system import reading

MOST_SECONDS = 2.0
NET = "C4 C6:s2 / G F10"
OVERRIDES = (f"model.net={NET}", "name=fuzzed", "train.epochs=1", "train.ema=0.9")

Make = Callable[[random.Random], bytes]


class TooSlow(BaseException):
    """The time is up; no handler takes it for an error of the input."""


@dataclass(frozen=True)
class Reader:
    """Something that reads what comes from outside: how its input is made, and what reads it."""

    name: str
    make: Make
    read: Callable[[bytes], object]


@dataclass(frozen=True)
class Tally:
    """How many inputs were tried, how many of them refused, and the most that one took, in seconds."""

    name: str
    tried: int
    refused: int
    slowest: float


def fuzz(reader: Reader, count: int, seed: int) -> Tally:
    """Try inputs. Raises AssertionError with the first that ends in anything but our own error."""
    refused, slowest = 0, 0.0
    for number in range(count):
        key, told = f"{seed} {reader.name} {number}", "error["
        content = reader.make(random.Random(key))  # noqa: S311 - no secret
        began = time.process_time()
        try:
            with at_most(MOST_SECONDS):
                reader.read(content)
        except ConvsmithError as error:
            refused += 1
            told = str(error)
        except (Exception, TooSlow) as error:
            raise AssertionError(
                f"input {key!r}: {type(error).__name__}: {error}\n{content[:300]!r}"
            ) from error
        assert told.startswith("error["), key
        slowest = max(slowest, time.process_time() - began)
    return Tally(name=reader.name, tried=count, refused=refused, slowest=slowest)


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """End the block by TooSlow after so many seconds of the processor's time, which a busy machine keeps."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TooSlow(f"more than {seconds} s")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


# --- Making inputs

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
    """A value that few expect."""
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


def changed(chance: random.Random, value: Any) -> Any:
    """A copy of nested tables and lists with a few values replaced, left out, doubled or added."""
    value = copy.deepcopy(value)
    for _ in range(chance.choice((1, 1, 1, 2, 5))):
        found = _place(chance, value)
        if found is None:
            return weird(chance)
        place, key = found
        action = chance.randrange(8)
        if action == 0:
            del place[key]
        elif action == 1 and isinstance(place, dict):
            place[chance.choice(TEXTS)] = weird(chance)
        elif action < 4 and isinstance(place[key], int | float):
            place[key] = chance.choice(NUMBERS)
        elif action < 4 and isinstance(place[key], str):
            place[key] = chance.choice(TEXTS)
        elif action == 4:
            other = _place(chance, value)
            place[key] = copy.deepcopy(other[0][other[1]]) if other else None
        else:
            place[key] = weird(chance)
    return value


def _place(chance: random.Random, value: Any) -> tuple[Any, Any] | None:
    """A table or list somewhere within, and one of its keys; those further out are likelier."""
    found = None
    while isinstance(value, dict | list) and value:
        key = chance.choice(list(value)) if isinstance(value, dict) else chance.randrange(len(value))
        found, value = (value, key), value[key]
        if chance.randrange(3) == 0:
            break
    return found


def damaged(chance: random.Random, content: bytes, others: Sequence[bytes] = ()) -> bytes:
    """Bytes with a few of them flipped, cut out, doubled, replaced, or with a piece of another input."""
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
    """Nothing that is meant: random bytes, or one piece of syntax many times over."""
    if chance.randrange(2):
        return chance.randbytes(chance.randrange(300))
    piece = chance.choice(
        (b"[", b'{"a":', b"(", b"+(C8 ", b"a=[", b"a=9", b"9", b",", b"\n", b"a.", b"[[a.", b'"""', b"\x00")
    )
    return struct.pack("<Q", 10_000) * chance.randrange(2) + piece * chance.choice((100, 1000, 20_000))


def texts(wholes: Sequence[str], pieces: Sequence[str]) -> Make:
    """Texts: whole ones that are damaged, pieces one after another, and noise."""
    encoded = [whole.encode() for whole in wholes]

    def make(chance: random.Random) -> bytes:
        kind = chance.randrange(10)
        if kind == 0:
            return noise(chance)
        if kind < 4:
            return "".join(chance.choice(pieces) for _ in range(chance.randrange(60))).encode()
        return damaged(chance, chance.choice(encoded), encoded)

    return make


def tables(wholes: Sequence[dict[str, Any]], dump: Callable[[Any], str]) -> Make:
    """Texts of nested tables: with values changed, and with the text itself damaged."""
    plain = [dump(whole).encode() for whole in wholes]

    def make(chance: random.Random) -> bytes:
        kind = chance.randrange(20)
        if kind == 0:
            return noise(chance)
        if kind < 14:
            try:
                return dump(changed(chance, chance.choice(wholes))).encode("utf-8", "replace")
            except (TypeError, ValueError, RecursionError, AttributeError):
                pass  # Not every value can be written in this format.
        return damaged(chance, chance.choice(plain), plain)

    return make


def archives(arrays: dict[str, np.ndarray[Any, Any]]) -> Make:
    """NumPy archives: with arrays of other shapes and types, left out, pickled; and with damaged bytes."""
    whole = _archive(arrays)

    def make(chance: random.Random) -> bytes:
        if not chance.randrange(2):
            return damaged(chance, whole)
        found = dict(arrays)
        for _ in range(chance.choice((1, 1, 2))):
            name = chance.choice(list(arrays))
            found[name] = _array(chance, arrays[name])
            if not chance.randrange(5):
                del found[name]
        return _archive(found)

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


def tensors(whole: bytes) -> Make:
    """Safetensors files: with a changed header, whose length fits or does not, and with damaged bytes."""
    (length,) = struct.unpack("<Q", whole[:8])
    header, rest = json.loads(whole[8 : 8 + length]), whole[8 + length :]

    def make(chance: random.Random) -> bytes:
        kind = chance.randrange(4)
        if kind == 0:
            return damaged(chance, whole) if chance.randrange(10) else noise(chance)
        if kind == 1:
            size = chance.choice((0, 1, length - 1, length + 1, 2**31, 2**40, 2**63, 2**64 - 1))
            return struct.pack("<Q", size) + whole[8:]
        found = changed(chance, header)
        if kind == 2 and isinstance(found, dict) and isinstance(found.get("__metadata__"), dict):
            found["__metadata__"] = changed(chance, header["__metadata__"])
        try:
            text = json.dumps(found).encode()
        except (TypeError, ValueError, RecursionError):
            text = damaged(chance, whole[8 : 8 + length])
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


def nets(wholes: Sequence[str]) -> Make:
    """Notation: whole nets that are damaged, layers in any order, with something wrong among them or not."""
    other = texts(wholes, JUNK)

    def make(chance: random.Random) -> bytes:
        if chance.randrange(2):
            return other(chance)
        layers = ["C8", *(chance.choice(LAYERS) for _ in range(chance.randrange(12))), "/ G F10"]
        if chance.randrange(2):
            layers[chance.randrange(len(layers))] += chance.choice(("", " ")) + chance.choice(JUNK)
        return " ".join(layers).encode()

    return make


def text_readers(folder: Path) -> list[Reader]:
    """What reads a text or one file of text."""
    recipes = [load(name).table() for name in recipe_names()]
    briefs = [brief_table(name) for name in brief_names()]
    whole_nets = [
        *(load(name).model.net for name in recipe_names()),
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
        found = load(name)
        analyze_notation(found.model.net, (3, 32, 32), found.model)
        assert Recipe.model_validate(found.table()) == found

    return [
        Reader("notation", nets(whole_nets), net),
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
    """What reads the files of a run's folder, which has no manifest, so that what is in them counts."""
    folder = RunFolder(path=run)
    recipe = load(str(run / "recipe.toml"))
    net = build(analyze_notation(recipe.model.net, (1, 8, 8), recipe.model).plan)
    state, weights = (run / STATE).read_bytes(), (run / WEIGHTS).read_bytes()
    manifest = {
        name: {"sha256": reading.sha256(run / name), "bytes": (run / name).stat().st_size}
        for name in ORIGINALS
    }
    layer = next(iter(net.state_dict()))

    def json_of(value: Any) -> Make:
        return tables([value], json.dumps)

    def of(name: str, *uses: Callable[[], object]) -> Callable[[bytes], object]:
        """Use the run while a file of it is what was made; every use is tried, whatever came before."""

        def read(content: bytes) -> None:
            path = run / name
            before = path.read_bytes() if path.is_file() else None
            path.write_bytes(content)
            refused = []
            try:
                for use in uses:
                    try:
                        use()
                    except ConvsmithError as error:
                        refused.append(error)
            finally:
                path.unlink() if before is None else path.write_bytes(before)
            if refused:
                raise refused[0]

        return read

    def watched() -> None:
        found = cs.progress(run)
        assert [found.line(), *map(table_row, found.rows)]

    def judged() -> None:
        cs.resolve(str(run)).judge()

    arrays = {name: dict(np.load(run / f"{name}.npz")) for name in ("predictions", "explanation")}
    num_images = len(arrays["predictions"]["labels"])
    rows, log = (run / "metrics.csv").read_text(), (run / "log.txt").read_text()
    junk = ["1", ",", "\n", "epoch", "nan", '"', "1e999", "lr"]
    compared = partial(comparison._open, run)
    records = {name: json_of(reading.read_json(run / f"{name}.json")) for name in ("data", "results")}
    made = {name: archives(each) for name, each in arrays.items()}
    saved = (partial(predictions.read, folder.predictions), compared)
    weighed = (partial(folder.load_weights, net), partial(folder.weight, layer))
    explained = partial(explanation.read, folder.explanation, num_images)
    return [
        Reader("state", tensors(state), of(STATE, partial(load_checkpoint, run / STATE))),
        Reader("weights", tensors(weights), of(WEIGHTS, *weighed)),
        Reader("manifest", json_of(manifest), of("manifest.json", partial(RunFolder.open, run))),
        Reader("data record", records["data"], of("data.json", judged, compared)),
        Reader("results", records["results"], of("results.json", judged, partial(cs.results, run))),
        Reader("metrics", texts([rows], junk), of("metrics.csv", watched)),
        Reader("log", texts([log], ["error[E060]: ", "\n", "x"]), of("log.txt", watched)),
        Reader("predictions", made["predictions"], of("predictions.npz", *saved)),
        Reader("explanation", made["explanation"], of("explanation.npz", explained)),
    ]


def cache_readers() -> list[Reader]:
    """What reads the cache of decoded images."""
    config = DataConfig(source="digits")
    load_data(config)

    def reader(pattern: str, name: str) -> Reader:
        (path,) = cache_folder().glob(pattern)
        whole = path.read_bytes()

        def read(content: bytes) -> None:
            path.write_bytes(content)
            try:
                load_data(config)
            finally:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(whole)

        make = (
            tables([json.loads(whole)], json.dumps)
            if path.suffix == ".json"
            else lambda chance: damaged(chance, whole)
        )
        return Reader(name, make, read)

    return [
        reader("sources/*.json", "cache: pointer"),
        reader("content-*/*/meta.json", "cache: facts"),
        reader("content-*/*/train-labels.npy", "cache: labels"),
        reader("content-*/*/train-images.npy", "cache: images"),
    ]


def readers(folder: Path) -> list[Reader]:
    """All of them; a run to read is trained in the folder."""
    cs.train(load("digits", OVERRIDES), runs=folder)
    run = folder / "fuzzed-1"
    (run / "manifest.json").unlink()
    return [*text_readers(folder), *run_readers(run), *cache_readers()]


def main(count: int, names: Sequence[str], seed: int, folder: Path) -> None:
    found = readers(folder)
    unknown = set(names) - {each.name for each in found}
    if unknown:
        sys.exit(f"no reader {', '.join(unknown)}; there are {', '.join(each.name for each in found)}")
    for reader in found:
        if not names or reader.name in names:
            began = time.process_time()
            tally = fuzz(reader, count, seed)
            seconds = time.process_time() - began
            cells = (
                tally.name,
                f"{tally.tried:,}",
                f"{tally.refused:,}",
                f"{seconds:.0f} s",
                f"{tally.slowest:.2f} s",
            )
            sys.stdout.write(f"| {' | '.join(cells)} |\n")
            sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("count", type=int, help="inputs for each reader")
    parser.add_argument("readers", nargs="*", help="all of them if left out")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        # Its cache is damaged on purpose.
        os.environ["CONVSMITH_CACHE"] = str(Path(scratch, "cache"))
        main(asked.count, asked.readers, asked.seed, Path(scratch))
