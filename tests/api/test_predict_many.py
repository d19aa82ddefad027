"""Predictions for many images: folders of tables, interruptions, workers, and what does not fit."""

import csv
import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import convsmith as cs
from convsmith.api import predict_many as command
from convsmith.cli import run as run_command
from convsmith.errors import (
    BusyError,
    ConvsmithError,
    FileError,
    MissingExtraError,
    ProcessError,
    StoppedError,
    UntrustedCodeError,
    UsageError,
)
from convsmith.models import prediction_parts
from convsmith.models.classifier import Classifier
from convsmith.models.prediction_folder import RECORD
from convsmith.models.prediction_parts import Part, predict_part
from convsmith.system import files, locks, signals
from helpers.images import saved
from helpers.killed import killed_before
from helpers.packed import packed
from helpers.sources import png, shard, tree

SIZES: dict[str, Any] = {"part_size": 8, "batch_size": 4}
LOKY = ("--on", "loky", "--workers", "2")


@pytest.fixture
def images(tmp_path: Path) -> list[str]:
    """Images of all kinds of places, 36 in all; two cannot be read."""
    shard(tmp_path / "shards" / "train-0.parquet", 11, row_group_size=3)
    columns = {"image": [png(7), {"bytes": b"no image", "path": None}, png(9)]}
    pq.write_table(pa.table(columns), tmp_path / "shards" / "train-1.parquet")
    tree(tmp_path / "folder", *(f"{number}.png" for number in range(10)))
    (tmp_path / "folder" / "5.png").write_bytes(b"")
    tree(tmp_path / "members", *(f"{number}.png" for number in range(11)))
    archive = packed(tmp_path / "members", ".zip")
    noise = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    return [
        str(tmp_path / "shards"),
        str(tmp_path / "folder"),
        str(archive),
        saved(tmp_path / "a.png", noise),
    ]


def predict(images: list[str], out: Path, **more: Any) -> cs.PredictionsRecord:
    return cs.predict_many("digits", images, out, **(SIZES | more))


def rows(out: Path) -> list[dict[str, Any]]:
    table: list[dict[str, Any]] = pq.read_table(out).to_pylist()
    return table


def expected(images: list[str], **more: Any) -> list[dict[str, Any]]:
    """The rows by the classifier itself."""
    empty = dict.fromkeys(("image", "label", "confidence", "unsure", "top", "error"))
    return [empty | each.record() for each in cs.load("digits").stream(images, batch_size=4, **more)]


def parts_of(out: Path) -> list[str]:
    return sorted(each.name for each in out.iterdir() if each.name != RECORD)


# --- What is written


def test_rows_are_those_of_predict(images: list[str], tmp_path: Path) -> None:
    record = predict(images, tmp_path / "out")
    table = rows(tmp_path / "out")
    assert table == expected(images)
    assert [each["error"] is not None for each in table].count(True) == 2
    assert parts_of(tmp_path / "out") == [f"part-{number:05}.parquet" for number in range(5)]
    assert [len(pq.read_table(tmp_path / "out" / name)) for name in parts_of(tmp_path / "out")] == [
        8,
        8,
        8,
        8,
        4,
    ]
    assert record.columns == ("image", "label", "confidence", "unsure", "top", "error")
    assert (record.count, record.unreadable, record.model) == (36, 2, "digits")
    assert record.unsure == sum(bool(each["unsure"]) for each in table)
    assert json.loads((tmp_path / "out" / RECORD).read_text()) == record.model_dump(mode="json")


def test_csv_files_are_those_of_the_command(
    images: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, one = tmp_path / "out", tmp_path / "one.csv"
    sizes = ["--batch-size", "4"]
    assert run_command(["predict", "digits", *images, *sizes, "--csv", str(one)]) == 1
    capsys.readouterr()
    assert run_command(["predict", "digits", *images, *sizes, "--out", str(out), "--format", "csv"]) == 1
    output = capsys.readouterr()
    record = predict(images, out, table_format="csv", part_size=None)
    assert output.out == f"{out}: 36 images in 1 file: {record.unsure} unsure, 2 unreadable\n"
    assert output.err == "2 images could not be read: see the column `error`\n"
    assert (out / "part-00000.csv").read_text() == one.read_text()
    small = predict(images, tmp_path / "small", table_format="csv")
    assert (small.unsure, small.unreadable) == (record.unsure, 2)
    lines = [line for name in parts_of(tmp_path / "small") for line in _csv_rows(tmp_path / "small" / name)]
    assert lines == _csv_rows(one)


def _csv_rows(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))[1:]


def test_options_reach_the_classifier(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"a": [png(1)] * 3, "b": [png(200)] * 3}), path)
    out = tmp_path / "out"
    arguments = ["predict", "digits", str(path), "--out", str(out), "--image-column", "b", "--top-k", "2"]
    assert run_command([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["count"] == 3
    assert rows(out) == expected([str(path)], image_column="b", top_k=2)


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    name = tmp_path / "in" / "\udce9.png"
    name.write_bytes(png(3)["bytes"])  # type: ignore[arg-type]
    predict([str(tmp_path / "in")], tmp_path / "out")
    assert rows(tmp_path / "out")[0]["image"] == f"{tmp_path}/in/\\udce9.png"


def test_names_are_as_given_wherever_the_work_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tree(Path("in"), "a.png", "b.png")
    predict(["in"], Path("out"))
    assert [each["image"] for each in rows(Path("out"))] == ["in/a.png", "in/b.png"]


def test_a_net_of_ones_own_with_weights_from_a_file(tmp_path: Path, images: list[str]) -> None:
    import torch

    net = cs.resolve("C4 / G F10", input_shape=(1, 8, 8)).net()
    torch.save(net.state_dict(), tmp_path / "net.pth")
    model: dict[str, Any] = {"weights": tmp_path / "net.pth", "data": "digits"}
    out = tmp_path / "out"
    cs.predict_many("C4 / G F10", images, out, **model, **SIZES)
    table = rows(out)
    assert len(table) == 36
    (out / "part-00001.parquet").unlink()
    cs.predict_many("C4 / G F10", images, out, **model, **SIZES)
    assert rows(out) == table
    assert sorted(each.name for each in out.iterdir()) == [RECORD, *parts_of(out)]


def test_code_runs_only_if_it_is_trusted(module_run: Path, images: list[str], tmp_path: Path) -> None:
    with pytest.raises(UntrustedCodeError):
        cs.predict_many(module_run, images, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    cs.predict_many(module_run, images, tmp_path / "out", trust_code=True)
    assert len(rows(tmp_path / "out")) == 36


# --- Interruptions


def test_only_parts_that_are_missing_or_damaged_are_made(images: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = predict(images, out)
    table = rows(out)
    (out / "part-00001.parquet").unlink()
    (out / "part-00003.parquet").write_bytes((out / "part-00003.parquet").read_bytes()[:-9])
    with mock.patch.object(command, "predict_part", wraps=predict_part) as calls:
        assert predict(images, out) == first
    assert [call.args[0].number for call in calls.call_args_list] == [1, 3]
    assert rows(out) == table
    with mock.patch.object(command, "predict_part") as calls:
        assert predict(images, out) == first
    calls.assert_not_called()


@pytest.mark.parametrize("table_format", ["parquet", "csv"])
def test_a_part_with_another_number_of_rows_is_made_again(
    images: list[str], tmp_path: Path, table_format: str
) -> None:
    out = tmp_path / "out"
    predict(images, out, table_format=table_format)
    before = (out / f"part-00000.{table_format}").read_bytes()
    shutil.copy(out / f"part-00004.{table_format}", out / f"part-00000.{table_format}")
    predict(images, out, table_format=table_format)
    assert (out / f"part-00000.{table_format}").read_bytes() == before


def test_a_stop_keeps_complete_parts(
    images: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    predict(images, whole)
    classify = Classifier.classify
    made = 0

    def classify_and_stop(self: Classifier, *args: Any, **more: Any) -> Any:
        nonlocal made
        made += 1
        for result in classify(self, *args, **more):
            yield result
            if made == 3:
                signals.request_stop(2)

    monkeypatch.setattr(Classifier, "classify", classify_and_stop)
    sizes = ["--part-size", "8", "--batch-size", "4"]
    assert run_command(["predict", "digits", *images, "--out", str(out), *sizes]) == 130
    error = capsys.readouterr().err
    assert "interrupted by SIGINT in part 2; the state is saved" in error
    assert "fix: the same command goes on from there: 16 of 36 images are done" in error
    assert parts_of(out)[-2:] == ["part-00000.parquet", "part-00001.parquet"]
    made = 9
    assert predict(images, out) == json_record(whole)
    assert rows(out) == rows(whole)


def json_record(out: Path) -> cs.PredictionsRecord:
    return cs.PredictionsRecord.model_validate_json((out / RECORD).read_text())


@pytest.mark.slow
def test_a_kill_at_any_moment_loses_and_doubles_nothing(images: list[str], tmp_path: Path) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    first = predict(images, whole)
    for call in range(1, 500, 3):
        killed = killed_before(call, lambda: predict(images, out))
        assert predict(images, out) == first, call
        assert rows(out) == rows(whole), call
        assert sorted(each.name for each in out.iterdir()) == [RECORD, *parts_of(whole)]
        shutil.rmtree(out)
        if not killed:
            break
    assert not killed
    assert call > 30


# --- Workers


@pytest.mark.slow
@pytest.mark.parametrize("table_format", ["parquet", "csv"])
def test_workers_write_the_same(images: list[str], tmp_path: Path, table_format: str) -> None:
    alone = predict(images, tmp_path / "alone", table_format=table_format)
    shared = predict(images, tmp_path / "shared", table_format=table_format, on="loky", workers=2)
    assert shared == alone
    for name in parts_of(tmp_path / "alone"):
        assert (tmp_path / "shared" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()
    assert parts_of(tmp_path / "shared") == parts_of(tmp_path / "alone")


@pytest.mark.slow
def test_a_worker_names_its_host_and_what_it_lacks(
    bundle_copy: Path, images: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "out"

    def remove_model(*_: object) -> Any:
        shutil.rmtree(bundle_copy)
        return mock.DEFAULT

    with (
        mock.patch.object(command, "_make", side_effect=remove_model, wraps=command._make),
        pytest.raises(ProcessError, match=f"the worker on {socket.gethostname()} cannot use the model"),
    ):
        cs.predict_many(bundle_copy, images, out, on="loky", workers=1)


@pytest.fixture
def part(images: list[str], tmp_path: Path) -> Part:
    """The second part of a folder, for a worker of another machine."""
    from dataclasses import replace

    parts: list[Part] = []
    with (
        mock.patch.object(command, "_make", side_effect=lambda every, _: parts.extend(every)),
        pytest.raises(FileError, match="not there or damaged"),
    ):
        predict(images, tmp_path / "out")
    return replace(parts[1], settings=replace(parts[1].settings, on_workers=True))


@pytest.fixture(autouse=True)
def no_open_models() -> None:
    prediction_parts._classifier.cache_clear()


def test_a_worker_without_the_images(part: Part, tmp_path: Path) -> None:
    assert predict_part(part) == 8
    shutil.rmtree(tmp_path / "shards")
    with pytest.raises(
        ProcessError, match=f"the worker on {socket.gethostname()} does not see the file"
    ) as caught:
        predict_part(part)
    assert str(tmp_path / "shards" / "train-0.parquet") in str(caught.value)


def test_a_file_that_changes_while_predictions_are_made(part: Part, tmp_path: Path) -> None:
    from dataclasses import replace

    shard(tmp_path / "shards" / "train-0.parquet", 11)
    with pytest.raises(FileError, match="has changed since it was listed"):
        predict_part(replace(part, settings=replace(part.settings, on_workers=False)))


def test_a_worker_with_another_model(part: Part) -> None:
    from dataclasses import replace

    for target, what in (("zoo:mnist-5k", "another model is there"), ("/no/bundle", "no such folder")):
        model = replace(part.settings.model, target=target)
        with pytest.raises(ProcessError, match=f"cannot use the model {target}: {what}"):
            predict_part(replace(part, settings=replace(part.settings, model=model)))


def test_a_full_disk_is_named(part: Part, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path, content: bytes) -> None:
        raise files.write_error(path, OSError(28, "No space left on device"), len(content))

    monkeypatch.setattr(files, "write_bytes", fail)
    with pytest.raises(FileError, match=r"part-00001\.parquet: cannot write: No space left on device"):
        predict_part(part)
    assert not part.path.exists()


@pytest.mark.parametrize("kind", ["dask", "ray"])
def test_an_engine_that_does_not_answer_or_is_not_installed(
    images: list[str], tmp_path: Path, kind: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"{kind}://127.0.0.1:{server.getsockname()[1]}"
        with (
            mock.patch.dict("sys.modules", {"distributed": None, "ray": None}),
            pytest.raises(MissingExtraError, match=f"pip install 'convsmith.{kind}.'"),
        ):
            predict(images, tmp_path / "out", on=address)
    with pytest.raises(ProcessError, match=f"nobody answers at {address}"):
        predict(images, tmp_path / "out", on=address)
    assert not (tmp_path / "out").exists()


# --- What does not fit


def test_another_model_or_other_images_or_settings(images: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    record = predict(images, out)
    before = {each.name: each.read_bytes() for each in out.iterdir()}
    wrong: list[tuple[Callable[[], object], str]] = [
        (
            lambda: cs.predict_many("mnist-5k", images, out, **SIZES),
            "the model, found digits, expected mnist-5k",
        ),
        (lambda: predict(images[:2], out), "the images, found 36, expected 24"),
        (lambda: predict([*images[1:], images[0]], out), "the images have other names, or have changed"),
        (lambda: predict(images, out, top_k=2), "--top-k, found 3, expected 2"),
        (lambda: predict(images, out, table_format="csv"), "--format, found parquet, expected csv"),
        (lambda: predict(images, out, part_size=4), "--part-size, found 8, expected 4"),
        (lambda: predict(images, out, batch_size=8), "--batch-size, found 4, expected 8"),
        (lambda: predict(images, out, device="cpu"), "--device, found None, expected cpu"),
    ]
    for call, what in wrong:
        with pytest.raises(FileError, match=what) as caught:
            call()
        assert "name another folder for --out" in str(caught.value)
    Path(images[3]).write_bytes(Path(images[3]).read_bytes() + b" ")
    with pytest.raises(FileError, match="have changed"):
        predict(images, out)
    changed = {"version": "0.0.1"}
    (out / RECORD).write_text(record.model_copy(update=changed).model_dump_json())
    with pytest.raises(FileError, match=r"the version of convsmith, found 0\.0\.1"):
        predict(images, out)
    del before[RECORD]
    assert all((out / name).read_bytes() == content for name, content in before.items())


def test_folders_with_other_files(images: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    tree(out, "mine.txt")
    with pytest.raises(FileError, match=r"other files than predictions, such as mine\.txt"):
        predict(images, out)
    with pytest.raises(FileError, match="this is a file, expected a folder"):
        predict(images, out / "mine.txt")
    (out / "mine.txt").rename(out / RECORD)
    with pytest.raises(FileError):
        predict(images, out)
    (out / RECORD).write_text('{"count": 1}')
    with pytest.raises(FileError, match="the record of the predictions is damaged: version"):
        predict(images, out)
    assert [each.name for each in out.iterdir() if not each.name.startswith(".")] == [RECORD]


def test_one_process_writes_a_folder(images: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with locks.lock_folder(out), pytest.raises(BusyError, match="in use by process"):
        predict(images, out)


@pytest.mark.parametrize(
    ("more", "what"),
    [
        ({"workers": 2}, "workers belong to an engine"),
        ({"on": "spark://x"}, "expected loky, dask"),
        ({"part_size": 9}, "write --part-size 12"),
        ({"part_size": 0}, "expected at least 1"),
        ({"batch_size": 0}, "expected at least 1"),
        ({"top_k": 0}, "expected at least 1"),
        ({"table_format": "parkett"}, "unknown format 'parkett'"),
        ({"device": "gpu"}, "did you mean 'cuda'"),
    ],
)
def test_arguments_that_do_not_fit(
    images: list[str], tmp_path: Path, more: dict[str, Any], what: str
) -> None:
    with pytest.raises(ConvsmithError) as caught:
        predict(images, tmp_path / "out", **more)
    assert what in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_images_that_cannot_be_read_again(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="standard input cannot be read again"):
        predict(["-"], tmp_path / "out")
    with pytest.raises(FileError, match="no such file or folder"):
        predict([str(tmp_path / "no.png")], tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--on", "loky", "--part-size", "4"], "--on, --part-size: these belong to a folder of tables"),
        (["--out", "x", "--csv", "x.csv"], "--csv: a folder of tables has no other files"),
    ],
)
def test_options_that_do_not_fit(options: list[str], what: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["predict", "digits", "no.png", *options]) == 2
    assert what in capsys.readouterr().err


def test_an_interrupt_before_the_first_part(
    images: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "write_listing", mock.Mock(side_effect=KeyboardInterrupt))
    assert run_command(["predict", "digits", *images, "--out", str(tmp_path / "out")]) == 130
    assert capsys.readouterr().err == "interrupted; the same command continues\n"


def test_a_stop_of_the_main_process_between_parts(images: list[str], tmp_path: Path) -> None:
    def stop(part: Part) -> int:
        signals.request_stop(15)
        return predict_part(part)

    with mock.patch.object(command, "predict_part", side_effect=stop), pytest.raises(StoppedError) as caught:
        predict(images, tmp_path / "out")
    assert "with 4 of 5 parts left" in str(caught.value)
