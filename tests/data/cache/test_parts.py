"""Images that are shared out over processes: the result of one process, to the character and to the byte."""

import errno
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import Image

import convsmith as cs
from convsmith.cluster.engine import Engine
from convsmith.data.cache import parts, spool
from convsmith.data.cache.cache import load_cached
from convsmith.data.checks.verify import verify
from convsmith.data.images.decode import decode_image
from convsmith.data.raw import RawSplit
from convsmith.data.sources import find_source, read_source
from convsmith.errors import BusyError, DataError, FileError, ProcessError, UsageError
from convsmith.system import files
from convsmith.system.folders import cache_folder
from convsmith.system.locks import lock_folder
from helpers import array_sets
from helpers.one_process import Workers
from helpers.oracle import in_process
from helpers.sources import Folder, config, png, shard

LOKY = Engine.parse("loky")


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "_LEAST", 4)


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Workers:
    """Shared out over workers, all of which are in this process."""
    used = Workers()
    monkeypatch.setattr(parts, "connect", used.connect)
    return used


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Changes to another cache."""

    def change(name: str) -> Path:
        monkeypatch.setenv("CONVSMITH_CACHE", str(tmp_path / "caches" / name))
        return tmp_path / "caches" / name

    return change


def hashes(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def write_folder(root: Path, form: str = "mixed", count: int = 40) -> Path:
    """Write a folder with damaged, equal, odd and transparent images."""
    generator = np.random.default_rng(0)
    for number in range(count):
        path = root / ("test" if number % 4 == 3 else "train") / "ab"[number // 4 % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        mode = ("L", "RGB", "RGBA", "LA", "I;16")[number % 5] if form == "mixed" else form
        bands = len(Image.new("RGB" if mode == "I;16" else mode, (1, 1)).getbands())
        pixels = generator.integers(0, 256, (9, 6, bands), dtype=np.uint8)
        image = Image.fromarray(pixels[..., 0] if bands == 1 else pixels)
        if mode == "I;16":
            image = Image.fromarray(generator.integers(0, 65_536, (9, 6), dtype=np.uint16))
        image.save(path)
    return root


def damage(root: Path) -> None:
    images = sorted((root / "train").rglob("*.png"))
    for number in (2, 7, 11):
        images[number].write_bytes(images[number].read_bytes()[: 40 + number])
    for number, place in ((1, "train/a/copy.png"), (20, "train/b/copy.png"), (3, "test/a/copy.png")):
        shutil.copy(images[number], root / place)
    Image.new("L", (9, 6), 7).save(root / "train" / "a" / "turned.png")
    Image.new("L", (6, 9), 7).save(root / "train" / "a" / "gif.png", "GIF")


def test_the_verification_is_that_of_one_process(tmp_path: Path, workers: Workers) -> None:
    root = write_folder(tmp_path / "set")
    damage(root)
    for values in ({}, {"background": "#ff8000", "resize": 5}):
        alone = verify(config(root, **values), near_duplicates=True)
        shared = verify(config(root, **values), near_duplicates=True, engine=LOKY)
        assert json.dumps(shared.record()) == json.dumps(alone.record())
        assert {"unreadable", "duplicate", "wrong type"} <= set(alone.counts)
    assert len(workers.items) == 2 * (9 + 3)
    assert list((cache_folder() / "parts").iterdir()) == []


@pytest.mark.parametrize("kind", array_sets.WRITERS)
def test_every_kind_of_source(kind: str, tmp_path: Path, workers: Workers) -> None:
    data = config(array_sets.write(kind, tmp_path / "set"))
    assert verify(data, engine=LOKY) == verify(data)
    assert len(workers.items) > 2


@pytest.mark.parametrize("suffix", ["zip", "gztar", "tar"])
def test_archives(suffix: str, tmp_path: Path, workers: Workers) -> None:
    damage(write_folder(tmp_path / "set"))
    data = config(shutil.make_archive(str(tmp_path / "packed"), suffix, tmp_path / "set"))
    assert verify(data, engine=LOKY) == verify(data)
    assert len(workers.items) > 2


def test_built_in_data(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "_LEAST", 300)
    assert cs.verify_data("digits", on="loky", workers=2) == cs.verify_data("digits")
    assert sorted(item.stop - item.start for item in workers.items) == [297, 300, 300, 300, 300, 300]


@pytest.mark.parametrize("kind", [*array_sets.WRITERS, "folder", "zip", "table"])
def test_parts_of_images_are_all_images(kind: str, tmp_path: Path) -> None:
    if kind in array_sets.WRITERS:
        root = array_sets.write(kind, tmp_path / "set")
    else:
        root = write_folder(tmp_path / "set", "L", 12)
    if kind == "zip":
        root = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", root))
    if kind == "table":
        names = [f"train/{name}/{number}.png" for number, name in ((0, "a"), (1, "a"), (4, "b"), (99, "b"))]
        rows = [f"{name},{name[6]}\n" for name in names]
        (root / "labels.csv").write_text("".join(["file,label\n", *rows]))
    data = config(root, **({"table": "labels.csv"} if kind == "table" else {}))
    split = read_source(find_source(data), data).splits["train"]
    every = list(map(repr, split.images))
    for start in range(len(every)):
        for stop in range(start + 1, len(every) + 1):
            assert list(map(repr, split.part(start, stop))) == every[start:stop]


def test_parts_of_parquet_files_with_row_groups(tmp_path: Path) -> None:
    for number, count in enumerate((7, 5)):
        shard(tmp_path / f"train-{number}.parquet", count, 10 * number, row_group_size=3)
    split = read_source(find_source(config(tmp_path)), config(tmp_path)).splits["train"]
    every: list[Any] = list(split.images)
    assert [decode_image(each).pixels[0, 0, 0] for each in every] == [*range(7), *range(10, 15)]
    for start in range(12):
        for stop in range(start + 1, 13):
            assert list(split.part(start, stop)) == every[start:stop]
    assert split.locations[6] == "train-0.parquet, row 6"
    assert split.locations[7] == "train-1.parquet, row 0"


def test_the_size_of_parts() -> None:
    def sizes(count: int, most: int | None = None) -> tuple[int, int]:
        labels = np.zeros(count, np.int32)
        split = RawSplit(images=[], labels=labels, locations=[], most_parts=most)  # type: ignore[arg-type]
        starts = parts.starts_of(split)
        return len(starts), max(np.diff([*starts, count]))

    assert sizes(3) == (1, 3)
    assert sizes(1_000_000) == (256, 3907)
    assert sizes(10_000_000) == (2442, 4096)
    assert sizes(1_000_000, 4) == (4, 250_000)


@pytest.mark.parametrize("form", ["mixed", "L", "LA", "RGB", "I;16"])
@pytest.mark.parametrize("values", [{}, {"resize": "5x7", "resize_policy": "pad", "background": "#ff8000"}])
def test_the_cache_is_that_of_one_process(
    form: str, values: dict[str, Any], tmp_path: Path, workers: Workers, cache: Callable[[str], Path]
) -> None:
    root = write_folder(tmp_path / "set", form)
    damage(root)
    for path in (root / "train" / "a" / "turned.png", root / "train" / "a" / "gif.png"):
        path.unlink()
    data = config(root, skip_damaged=True, group="([0-9]|copy)", **values)
    # The stamps of these files do not identify their content yet, so that the signature has their hashes.
    source = find_source(data)
    one, many = cache("one"), cache("many")
    cache("one")
    alone = load_cached(source, data)
    cache("many")
    shared = load_cached(source, data, engine=LOKY, workers=2)
    assert hashes(many) == hashes(one)
    assert shared.fingerprint == alone.fingerprint
    assert len(shared.dropped) == 3
    assert len(workers.items) == 8 + 3
    # The cache has the images now.
    load_cached(source, data, engine=LOKY)
    assert len(workers.items) == 8 + 3


def test_only_changed_files_are_decoded_again(
    tmp_path: Path, workers: Workers, monkeypatch: pytest.MonkeyPatch, cache: Callable[[str], Path]
) -> None:
    """What an earlier decoding left is used by workers too, but for transparent images in other channels."""
    monkeypatch.setattr("convsmith.data.images.decode.is_fresh", lambda *_: False)
    root = write_folder(tmp_path / "set", "LA")
    data = config(root)
    cache("many")
    load_cached(find_source(data), data, engine=LOKY)
    Image.new("RGB", (6, 9), (1, 2, 3)).save(root / "train" / "a" / "red.png")
    decoded = Mock(side_effect=decode_image)
    monkeypatch.setattr("convsmith.data.cache.scan.decode_image", decoded)
    again = Mock(side_effect=decode_image)
    monkeypatch.setattr(spool, "decode_image", again)
    shared = load_cached(find_source(data), data, engine=LOKY)
    assert decoded.call_count == 1
    cache("one")
    alone = load_cached(find_source(data), data)
    assert shared.fingerprint == alone.fingerprint
    assert np.array_equal(shared.splits["train"].images, alone.splits["train"].images)


@pytest.mark.parametrize("purpose", ["verify", "decode"])
def test_an_interrupted_command_goes_on(
    purpose: str, tmp_path: Path, workers: Workers, cache: Callable[[str], Path]
) -> None:
    data = config(write_folder(tmp_path / "set"))
    cache("one")
    source = find_source(data)

    def run(engine: Engine | None) -> object:
        if purpose == "verify":
            return verify(data, engine=engine)
        return load_cached(source, data, engine=engine).fingerprint

    expected = run(None)
    cache("many")
    for most in (1, 4, 8):
        workers.most = most
        with pytest.raises(KeyboardInterrupt):
            run(LOKY)
        (folder,) = (cache_folder() / "parts").iterdir()
        assert len(list(folder.glob("*.npz"))) == most
        assert {path.suffix for path in folder.iterdir()} <= {".npz", ".pixels"}
    workers.most = None
    assert run(LOKY) == expected
    examined = [(item.split, item.start) for item in workers.items]
    assert len(examined) == len(set(examined)) == 11
    assert list((cache_folder() / "parts").iterdir()) == []


def test_parts_of_another_state_are_removed(
    tmp_path: Path, workers: Workers, cache: Callable[[str], Path]
) -> None:
    data = config(write_folder(tmp_path / "set"))
    cache("many")
    workers.most = 2
    with pytest.raises(KeyboardInterrupt):
        verify(data, engine=LOKY)
    (tmp_path / "set" / "train" / "a" / "0.png").unlink()
    workers.most = None
    workers.items.clear()
    assert verify(data, engine=LOKY) == verify(data)
    assert len(workers.items) == 11
    assert list((cache_folder() / "parts").iterdir()) == []


def test_a_damaged_part_is_named(tmp_path: Path, workers: Workers, cache: Callable[[str], Path]) -> None:
    data = config(write_folder(tmp_path / "set"))
    cache("many")
    workers.seed, workers.most = None, 2
    with pytest.raises(KeyboardInterrupt):
        verify(data, engine=LOKY)
    (path,) = cache_folder().rglob("train-0000000004.npz")
    path.write_bytes(path.read_bytes()[:-100])
    workers.most = None
    with pytest.raises(
        DataError, match=r"the outcomes of train/a/17\.png and after it are damaged"
    ) as caught:
        verify(data, engine=LOKY)
    assert f"{path}: the outcomes" in str(caught.value)
    assert "are damaged: not a NumPy archive: " in str(caught.value)
    assert list((cache_folder() / "parts").iterdir()) == []
    assert verify(data, engine=LOKY) == verify(data)


def test_data_that_cannot_be_used_leave_nothing(tmp_path: Path, workers: Workers) -> None:
    root = write_folder(tmp_path / "set")
    damage(root)
    with pytest.raises(DataError, match="unreadable"):
        load_cached(find_source(config(root)), config(root), engine=LOKY)
    assert workers.items
    assert list((cache_folder() / "parts").iterdir()) == []


def test_a_worker_without_the_data(tmp_path: Path, workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_folder(tmp_path / "set")

    def hidden(*arguments: Any) -> Any:
        root.rename(tmp_path / "elsewhere")
        return workers.connect(*arguments)

    monkeypatch.setattr(parts, "connect", hidden)
    with pytest.raises(ProcessError) as caught:
        verify(config(root), engine=LOKY)
    message = str(caught.value)
    assert f"the worker on {socket.gethostname()} does not have the data: no such folder" in message
    assert "error[E063]" in message
    assert "mount the folder with the data on all machines under one path" in message


def test_a_worker_with_other_files(tmp_path: Path, workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_folder(tmp_path / "set")
    examine = parts.examine_part

    def changed(part: parts.Part) -> int:
        (root / "train" / "a" / "0.png").write_bytes(b"other")
        return examine(part)

    monkeypatch.setattr(parts, "examine_part", changed)
    with pytest.raises(ProcessError, match="has other files than the main process, or they have changed"):
        verify(config(root), engine=LOKY)
    assert workers.items


def test_files_that_were_just_written_are_the_same_in_every_worker(tmp_path: Path, workers: Workers) -> None:
    """Whether the content of a file counts depends on when it is looked at."""
    data = config(write_folder(tmp_path / "set"))
    first = find_source(data)
    later = first.now + 10**10
    assert find_source(data, now=later).signature != first.signature
    assert find_source(data, now=first.now).signature == first.signature


def test_data_in_memory_are_not_shared() -> None:
    x, y = np.zeros((8, 4, 4), np.uint8), np.arange(8) % 2
    with pytest.raises(UsageError, match="the data are in the memory of this process"):
        cs.verify_data((x, y), on="loky")


def test_workers_belong_to_an_engine() -> None:
    with pytest.raises(UsageError, match="workers belong to an engine"):
        cs.decode_data("digits", workers=2)
    assert "error[E001]" in in_process("data", "verify", "digits", "--on", "spark").err


@pytest.mark.parametrize("failing", ["pixels", "outcomes"])
def test_a_full_disk_is_named(
    failing: str,
    tmp_path: Path,
    workers: Workers,
    monkeypatch: pytest.MonkeyPatch,
    cache: Callable[[str], Path],
) -> None:
    data = config(write_folder(tmp_path / "set"))
    cache("many")
    with monkeypatch.context() as patch:
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if failing == "pixels":
            patch.setattr(spool, "write_at", Mock(side_effect=full))
        else:
            patch.setattr(files, "write_arrays", Mock(side_effect=files.write_error(tmp_path, full)))
        with pytest.raises(FileError, match="cannot write: No space left on device"):
            load_cached(find_source(data), data, engine=LOKY)
    workers.items.clear()
    assert load_cached(find_source(data), data, engine=LOKY).splits["train"].images.shape == (30, 9, 6, 3)


def test_the_same_command_twice_at_once(
    tmp_path: Path, workers: Workers, cache: Callable[[str], Path]
) -> None:
    data = config(write_folder(tmp_path / "set"))
    cache("many")
    workers.most = 2
    with pytest.raises(KeyboardInterrupt):
        verify(data, engine=LOKY)
    (folder,) = (cache_folder() / "parts").iterdir()
    with lock_folder(folder), pytest.raises(BusyError, match="in use by process"):
        verify(data, engine=LOKY)


@pytest.mark.slow
@pytest.mark.usefixtures("usual_signals")
def test_processes_of_this_machine(image_folder: Folder, cache: Callable[[str], Path]) -> None:
    root = image_folder({"train": 150, "test": 20})
    (root / "train" / "one" / "bad.png").write_bytes(b"no image")
    arguments = ("data", "verify", str(root), "--json")
    alone, shared = in_process(*arguments), in_process(*arguments, "--on", "loky", "--workers", "2")
    assert shared.code == alone.code == 1
    assert shared.out == alone.out
    (root / "train" / "one" / "bad.png").unlink()
    one = cache("one")
    alone = in_process("data", "decode", str(root))
    many = cache("many")
    shared = in_process("data", "decode", str(root), "--on", "loky", "--workers", "2")
    assert shared.out == alone.out.replace(str(one), str(many))
    assert {name: each for name, each in hashes(many).items() if not name.startswith("latest")} == {
        name: each for name, each in hashes(one).items() if not name.startswith("latest")
    }


def _command(cache: Path, *arguments: str) -> "subprocess.Popen[str]":
    environment = {**os.environ, "CONVSMITH_CACHE": str(cache)}
    command = [sys.executable, "-m", "convsmith", "data", *arguments, "--on", "loky", "--workers", "2"]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def _workers(parent: int) -> list[int]:
    """Return the numbers of the worker processes, on Linux."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    commands = {int(child): Path(f"/proc/{child}/cmdline").read_bytes() for child in children}
    return [child for child, command in commands.items() if b"popen_loky_posix" in command]


def _wait_for_parts(cache: Path, count: int, process: "subprocess.Popen[str]") -> None:
    while process.poll() is None and len(list(cache.rglob("*.npz"))) < count:
        time.sleep(0.02)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """20,000 images in parquet files, older than a tick of the clock of files."""
    root = tmp_path_factory.mktemp("many")
    generator = np.random.default_rng(0)
    import pyarrow as pa
    import pyarrow.parquet as pq

    for number in range(4):
        cells = [png(int(each), (16, 16)) for each in generator.integers(0, 256, 5000)]
        columns = {"image": cells, "label": generator.integers(0, 2, 5000)}
        pq.write_table(pa.table(columns), root / f"train-{number}.parquet", row_group_size=1000)
    time.sleep(2.5)
    yield root
    shutil.rmtree(root)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds processes in /proc")
@pytest.mark.parametrize("command", ["verify", "decode"])
@pytest.mark.parametrize("victim", ["main process", "worker"])
def test_a_kill(command: str, victim: str, many: Path, tmp_path: Path) -> None:
    """The main process: the same command goes on. A worker: it is replaced."""
    alone = cs.verify_data(str(many)) if command == "verify" else cs.decode_data(str(many), refresh=True)
    cache = tmp_path / "cache"
    process = _command(cache, command, str(many), "--json")
    _wait_for_parts(cache, 10, process)
    found = _workers(process.pid)
    assert len(found) == 2
    if victim == "worker":
        os.kill(found[0], signal.SIGKILL)
    else:
        process.kill()
        assert 10 <= len(list(cache.rglob("*.npz"))) < 79
        # Workers that lose the main process wait for minutes.
        for child in found:
            os.kill(child, signal.SIGKILL)
        process.communicate()
        process = _command(cache, command, str(many), "--json")
    out, _ = process.communicate(timeout=300)
    record = json.loads(out)
    if command == "verify":
        assert isinstance(alone, cs.Verification)
        assert record == json.loads(json.dumps(alone.record()))
    else:
        assert isinstance(alone, cs.DecodedData)
        assert record["fingerprint"] == alone.fingerprint
        assert hashes(Path(record["folder"])) == hashes(alone.folder)
    assert list((cache / "parts").iterdir()) == []
