"""One decoding: to the bit the rule applied image by image, for any number of threads, also in parts."""

import hashlib
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from convsmith.data.cache import scan, spool
from convsmith.data.config import DataConfig
from convsmith.data.dataset import load
from convsmith.data.files.folders import read_class_folders
from convsmith.data.files.storage import FolderFiles
from convsmith.data.images.background import BackgroundChoice, contribution, named_colour
from convsmith.data.images.decode import BYTES_PER_PIXEL, decode_image
from convsmith.data.images.input_rule import Frame, InputRule, as_array, flatten, resize, shrink
from convsmith.system.folders import cache_folder
from helpers.sources import config, problems

FORMS = ("L", "LA", "RGB", "RGBA", "P", "I;16")


def picture(form: str, seed: int, size: tuple[int, int]) -> Image.Image:
    generator = np.random.default_rng(seed)
    width, height = size
    if form == "I;16":
        return Image.fromarray(generator.integers(0, 65_536, (height, width), dtype=np.uint16))
    bands = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4, "P": 3}[form]
    pixels = generator.integers(0, 256, (height, width, bands), dtype=np.uint8)
    if form == "P":
        return Image.fromarray(pixels).quantize(8)
    return Image.fromarray(pixels[..., 0] if bands == 1 else pixels)


def write(path: Path, form: str, seed: int, size: tuple[int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(form, seed, size).save(path, "PNG")


def by_the_rule(root: Path, data_config: DataConfig) -> dict[str, tuple[np.ndarray, list[int], list[bytes]]]:
    """Read the folder `split/class/file` in one loop."""
    classes = sorted(path.name for path in (root / "train").iterdir())
    files = {
        split: [(path, classes.index(path.parent.name)) for path in sorted((root / split).rglob("*.png"))]
        for split in ("train", "test")
    }
    decoded = {path: decode_image(path.read_bytes()) for each in files.values() for path, _ in each}
    channels = 1 if all(each.is_grey for each in decoded.values()) else 3
    choice = BackgroundChoice()
    for path, _ in files["train"]:
        choice.add(contribution(decoded[path]))
    named = data_config.background
    background = named_colour(named, channels) if named else choice.colour(channels)
    width, height = next(iter(decoded.values())).image.size
    if data_config.size:
        height, width = data_config.size
    rule = InputRule(
        channels=channels,
        height=height,
        width=width,
        resize_policy=data_config.policy,
        background=background,
    )
    result = {}
    for split, each in files.items():
        rows = []
        for path, label in each:
            image = flatten(decoded[path], background)
            pixels = as_array(image)
            digest = hashlib.sha256(f"{label} {pixels.shape} ".encode() + pixels.tobytes()).digest()
            rows.append((digest, label, as_array(resize(image, rule))))
        rows.sort(key=lambda row: row[0])
        result[split] = (
            np.stack([row[2] for row in rows]),
            [row[1] for row in rows],
            [row[0] for row in rows],
        )
    return result


def check(root: Path, **values: Any) -> None:
    """Compare a data set with the rule."""
    data_config = config(root, **values)
    data, expected = load(data_config), by_the_rule(root, data_config)
    prints = ""
    for name in sorted(expected):
        images, labels, digests = expected[name]
        assert np.array_equal(np.asarray(data.splits[name].images), images)
        assert data.splits[name].labels.tolist() == labels
        prints += f"{name} {hashlib.sha256(b''.join(digests)).hexdigest()} "
    assert data.fingerprint == hashlib.sha256(prints.encode()).hexdigest()


def write_set(root: Path, forms: Sequence[str], seed: int, size: tuple[int, int] | None) -> None:
    generator = np.random.default_rng(seed)
    for number, form in enumerate(forms):
        sides = generator.integers(3, 24, 2).tolist()
        split = "test" if number % 3 == 2 else "train"
        path = root / split / "ab"[number // 3 % 2] / f"{number}.png"
        write(path, form, seed + number, size or (sides[0], sides[1]))


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mock]:
    count = Mock(return_value=3)
    monkeypatch.setattr(scan, "num_workers", count)
    return count


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Mock:
    """Counts the decodings."""
    counter = Mock(side_effect=decode_image)
    monkeypatch.setattr(scan, "decode_image", counter)
    monkeypatch.setattr(spool, "decode_image", counter)
    return counter


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let files that were just written count as old ones: the change time cannot be set."""
    monkeypatch.setattr("convsmith.data.images.decode.is_fresh", lambda *_: False)


any_config = st.fixed_dictionaries(
    {
        "resize": st.sampled_from([None, 5, "7x4", "4x11"]),
        "resize_policy": st.sampled_from([None, "stretch", "crop", "pad"]),
        "background": st.sampled_from([None, None, "black", "#ff8000"]),
    }
)


@pytest.mark.usefixtures("settled")
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None
)
@given(
    values=any_config,
    kinds=st.sampled_from([FORMS, ("L", "LA", "I;16"), ("RGB", "L"), ("L",)]),
    seed=st.integers(0, 1000),
    threads=st.sampled_from([1, 2, 5]),
)
def test_any_data_set_is_read_by_the_rule(
    values: dict[str, Any],
    kinds: tuple[str, ...],
    seed: int,
    threads: int,
    workers: Mock,
    decoded: Mock,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Then files are changed, added and removed; the rest is taken from the first time."""
    root = tmp_path_factory.mktemp("set")
    workers.return_value = threads
    generator = np.random.default_rng(seed)
    size = None if values["resize"] else (6, 9)
    write_set(root, [str(each) for each in generator.choice(kinds, 12)], seed, size)
    decoded.reset_mock()
    check(root, **values)
    assert decoded.call_count == 12
    check(root, **values)
    assert decoded.call_count == 12
    changes = [str(each) for each in generator.choice(kinds, 2)]
    write(root / "train" / "a" / "0.png", changes[0], seed + 100, size or (8, 5))
    write(root / "test" / "b" / "new.png", changes[1], seed + 200, size or (5, 8))
    (root / "train" / "b" / "3.png").unlink()
    decoded.reset_mock()
    check(root, **values)
    # Others only where another background, or another number of channels, was chosen.
    again = {Path(call.args[0]).name for call in decoded.call_args_list} - {"0.png", "new.png"}
    assert decoded.call_count == len(again) + 2
    assert not again or kinds != ("L",)


@pytest.mark.usefixtures("workers", "settled")
def test_only_changed_files_are_decoded_again(tmp_path: Path, decoded: Mock) -> None:
    write_set(tmp_path, ["RGB"] * 12, 0, None)
    check(tmp_path, resize=8)
    assert decoded.call_count == 12
    write(tmp_path / "train" / "a" / "0.png", "RGB", 50, (9, 9))
    write(tmp_path / "train" / "b" / "new.png", "RGB", 51, (9, 9))
    (tmp_path / "test" / "a" / "2.png").rename(tmp_path / "test" / "a" / "renamed.png")
    decoded.reset_mock()
    check(tmp_path, resize=8)
    names = sorted(Path(call.args[0]).name for call in decoded.call_args_list)
    assert names == ["0.png", "new.png", "renamed.png"]
    # Options that do not change the pixels.
    decoded.reset_mock()
    check(tmp_path, resize=8, skip_damaged=True)
    assert decoded.call_count == 0
    check(tmp_path, resize=9)
    assert decoded.call_count == 13


def test_files_that_were_just_written_are_not_believed(tmp_path: Path, decoded: Mock) -> None:
    """A second change within the tick of a clock may leave the stamp as it is."""
    write_set(tmp_path, ["RGB"] * 12, 0, None)
    load(config(tmp_path, resize=8))
    write(tmp_path / "train" / "a" / "0.png", "RGB", 50, (9, 9))
    decoded.reset_mock()
    load(config(tmp_path, resize=8))
    assert decoded.call_count == 12


@pytest.mark.usefixtures("settled")
def test_a_file_with_another_label_is_decoded_again(tmp_path: Path, decoded: Mock) -> None:
    """A new class moves the numbers of those behind it, and digests cover labels."""
    write_set(tmp_path, ["RGB"] * 12, 0, None)
    check(tmp_path, resize=8)
    write(tmp_path / "train" / "aa" / "0.png", "RGB", 50, (9, 9))
    decoded.reset_mock()
    check(tmp_path, resize=8)
    assert {Path(call.args[0]).parent.name for call in decoded.call_args_list} == {"aa", "b"}


def latest_of(root: Path) -> list[Path]:
    return [path for path in (cache_folder() / "latest").glob("*.json") if str(root) in path.read_text()]


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("part", ["content", "arrays", "entry", "key"])
def test_a_damaged_record_is_not_believed(tmp_path: Path, decoded: Mock, part: str) -> None:
    write_set(tmp_path / "set", ["RGB"] * 12, 0, None)
    data = load(config(tmp_path / "set", resize=8))
    (entry,) = (
        path for path in (cache_folder() / "latest").glob("*.json") if str(tmp_path) in path.read_text()
    )
    (content,) = cache_folder().glob(f"*/{data.fingerprint}-*")
    path = {"content": content / "train-images.npy", "arrays": entry.with_suffix(".npz")}.get(part, entry)
    if part == "key":
        # A whole record, of another folder.
        write_set(tmp_path / "other", ["RGB"] * 12, 70, None)
        load(config(tmp_path / "other", resize=8))
        (other,) = latest_of(tmp_path / "other")
        entry.write_bytes(other.read_bytes())
        entry.with_suffix(".npz").write_bytes(other.with_suffix(".npz").read_bytes())
    else:
        damaged = bytearray(path.read_bytes())
        damaged[len(damaged) // 2] ^= 1
        path.write_bytes(damaged)
    write(tmp_path / "set" / "train" / "a" / "0.png", "RGB", 50, (9, 9))
    decoded.reset_mock()
    check(tmp_path / "set", resize=8)
    assert decoded.call_count == 12


@pytest.mark.usefixtures("settled")
def test_refresh_forgets_decoded_files(tmp_path: Path, decoded: Mock) -> None:
    write_set(tmp_path, ["RGB"] * 12, 0, None)
    load(config(tmp_path, resize=8))
    decoded.reset_mock()
    load(config(tmp_path, resize=8), refresh=True)
    assert decoded.call_count == 12


@pytest.mark.parametrize("threads", [1, 4])
def test_damaged_images_are_named_in_their_order(tmp_path: Path, workers: Mock, threads: int) -> None:
    """Training images first, whatever is decoded first."""
    workers.return_value = threads
    write_set(tmp_path, ["RGB"] * 90, 0, (40, 40))
    damaged = (
        sorted((tmp_path / "train").rglob("*.png"))[1::4] + sorted((tmp_path / "test").rglob("*.png"))[::3]
    )
    for number, path in enumerate(damaged):
        path.write_bytes(path.read_bytes()[: 30 + 97 * number % 2000])
    data = load(config(tmp_path, skip_damaged=True))
    assert [tmp_path / issue.file for issue in data.dropped] == damaged
    message = problems(tmp_path)
    assert str(damaged[0]) in next(line for line in message.splitlines() if "unreadable" in line)
    assert f"{len(damaged) - 5} more" in message


def test_decoding_memory_is_bounded(tmp_path: Path, workers: Mock) -> None:
    """By counting: the pixels of at most three images at once, of eight threads; a large one is alone."""
    workers.return_value = 8
    write_set(tmp_path, ["RGB"] * 40, 0, (30, 20))
    write(tmp_path / "train" / "a" / "large.png", "RGB", 99, (200, 100))
    size = 30 * 20 * BYTES_PER_PIXEL
    memory = scan.DecodingMemory(pixels=3 * size, files=10_000)
    result = scan.scan(read_class_folders(FolderFiles(tmp_path)), memory=memory)
    assert result.sizes == {(30, 20): 40, (200, 100): 1}
    large = (tmp_path / "train" / "a" / "large.png").stat().st_size
    assert memory.budgets["pixels"].highest == 200 * 100 * BYTES_PER_PIXEL
    assert memory.budgets["file"].highest == large > 10_000
    (tmp_path / "train" / "a" / "large.png").unlink()
    memory = scan.DecodingMemory(pixels=3 * size, files=10_000)
    scan.scan(read_class_folders(FolderFiles(tmp_path)), memory=memory)
    assert memory.budgets["pixels"].highest <= 3 * size
    assert memory.budgets["file"].highest <= 10_000


@pytest.mark.parametrize("threads", [1, 4])
def test_an_interruption_leaves_nothing(
    tmp_path: Path, workers: Mock, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    """No temporary files, no thread that still decodes, and the next time all is well."""
    workers.return_value = threads
    monkeypatch.setenv("CONVSMITH_CACHE", str(tmp_path / "cache"))
    write_set(tmp_path / "set", ["RGB"] * 90, 0, (9, 9))
    with monkeypatch.context() as patch:
        patch.setattr(spool.Spool, "collect", Mock(side_effect=[None, None, KeyboardInterrupt]))
        with pytest.raises(KeyboardInterrupt):
            load(config(tmp_path / "set"))
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []
    assert not any(thread.name.startswith("ThreadPool") for thread in threading.enumerate())
    check(tmp_path / "set")


@pytest.mark.parametrize("threads", [1, 4])
def test_a_file_that_changes_while_it_is_read_is_damaged(
    tmp_path: Path, workers: Mock, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    workers.return_value = threads
    write_set(tmp_path, ["RGB"] * 12, 0, (9, 9))
    path = tmp_path / "train" / "a" / "1.png"
    fstat, calls = os.fstat, []

    def changing(handle: int) -> os.stat_result:
        status = fstat(handle)
        if status.st_ino == path.stat().st_ino:
            calls.append(handle)
            if len(calls) == 2:
                path.write_bytes(path.read_bytes() + b"more")
        return fstat(handle)

    monkeypatch.setattr("convsmith.data.images.decode.os.fstat", changing)
    assert f"{path}: unreadable: the file changed while it was read" in problems(tmp_path)


def test_a_file_that_disappears_after_the_listing_is_damaged(tmp_path: Path) -> None:
    write_set(tmp_path, ["RGB"] * 12, 0, (9, 9))
    raw = read_class_folders(FolderFiles(tmp_path))
    (tmp_path / "train" / "a" / "1.png").unlink()
    (issue,) = scan.scan(raw).damaged
    assert (issue.file, issue.reason) == (str(Path("train", "a", "1.png")), "No such file or directory")


def test_grey_images_are_resized_alike_in_one_and_three_channels() -> None:
    """So that a grey image is stored once, whatever the data set turns out to be."""
    generator = np.random.default_rng(0)
    for _ in range(50):
        sides = generator.integers(1, 60, 4).tolist()
        grey = picture("L", int(generator.integers(1000)), (sides[0], sides[1]))
        frame = Frame(height=sides[2], width=sides[3], resize_policy="stretch")
        in_colour = as_array(shrink(grey.convert("RGB"), frame))
        assert np.array_equal(in_colour, np.repeat(as_array(shrink(grey, frame)), 3, axis=2))
