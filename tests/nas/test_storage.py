"""Studies in Optuna's storages: databases, the gRPC proxy, and the journal of an earlier version."""

import json
import shutil
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest

from convsmith.errors import (
    ConvsmithError,
    FileError,
    MissingExtraError,
    ProcessError,
    RunError,
    UsageError,
)
from convsmith.nas.address import StorageAddress
from convsmith.nas.place import StudyPlace
from convsmith.nas.search import SearchResult, search
from convsmith.nas.storage import open_storage
from convsmith.nas.study import TrialStore
from helpers.paths import ROOT
from helpers.searches import Objective, settings


def address(path: Path) -> StorageAddress:
    return StorageAddress.parse(f"sqlite:///{path}")


def nets(result: SearchResult) -> list[str]:
    return [row.net for row in result.data.trials]


def entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


@pytest.mark.parametrize(
    ("text", "name", "host", "port"),
    [
        ("sqlite:////tmp/a.db", "sqlite:////tmp/a.db", "", 0),
        ("postgresql://me:secret@db/searches", "postgresql://me:***@db/searches", "db", 5432),
        ("mysql+pymysql://db:3307/s?passwd=secret", "mysql+pymysql://db:3307/s?passwd=hidden", "db", 3307),
        ("postgresql:///searches", "postgresql:///searches", "", 5432),
        ("grpc://head:13000", "grpc://head:13000", "head", 13000),
    ],
)
def test_addresses(text: str, name: str, host: str, port: int) -> None:
    parsed = StorageAddress.parse(text)
    assert (str(parsed), parsed.host, parsed.port) == (name, host, port)
    assert "secret" not in repr(parsed)


def test_an_sqlite_file_has_an_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers may have other working directories."""
    monkeypatch.chdir(tmp_path)
    assert StorageAddress.parse("sqlite:///a.db") == address(tmp_path / "a.db")


@pytest.mark.parametrize(
    "text",
    [
        "", "trials.db", "sqlite://", "sqlite:///:memory:", "sqlite:///file:a?mode=memory", "oracle://h/x",
        "redis://h:1", "postgresql://me:secret@h", "postgresql://me:secret@h:port/x", "grpc://h", "grpc://h:0",
        "grpc://h:70000", "journal.log",
    ],
)  # fmt: skip
def test_what_names_no_storage(text: str) -> None:
    with pytest.raises(UsageError, match="expected sqlite:///FILE, postgresql://") as caught:
        StorageAddress.parse(text)
    assert "secret" not in str(caught.value)


def test_a_database_has_the_trials_of_a_journal(objective: Objective, tmp_path: Path) -> None:
    storage = address(tmp_path / "trials.db")
    journal = search(settings(epochs=4), tmp_path / "journal", trials=9)
    calls, objective.calls = objective.calls, []
    search(settings(epochs=4), tmp_path / "study", trials=4, storage=storage)
    database = search(settings(epochs=4), tmp_path / "study", trials=9, storage=storage)
    assert nets(database) == nets(journal)
    assert sorted(objective.calls) == sorted(calls)
    assert not (tmp_path / "study" / "journal.log").exists()
    assert (tmp_path / "study" / "search.html").is_file()
    # Optuna's own tools read it.
    study = optuna.load_study(study_name="study", storage=storage.url)
    assert len(study.trials) == 9
    best = max(database.data.trials, key=lambda row: (row.state == "complete", row.accuracy or 0))
    # The objective has counts of 100 images, the search those of its held-out images.
    assert study.best_value == pytest.approx(best.accuracy, abs=0.01)
    assert study.best_params == best.fields


def test_a_study_stays_in_its_storage(objective: Objective, tmp_path: Path) -> None:
    storage = address(tmp_path / "a.db")
    search(settings(), tmp_path / "study", trials=1, storage=storage)
    search(settings(), tmp_path / "journal", trials=1)
    for folder, other, message in (
        ("study", None, f"are in {storage}"),
        ("study", address(tmp_path / "b.db"), f"are in {storage}"),
        ("journal", storage, r"are in its journal\.log, not in sqlite"),
    ):
        with pytest.raises(RunError, match=message):
            search(settings(), tmp_path / folder, trials=2, storage=other)
    # The folder may have another name since.
    (tmp_path / "study").rename(tmp_path / "renamed")
    assert len(search(settings(), tmp_path / "renamed", trials=2, storage=storage).data.trials) == 2


def test_a_study_of_the_same_name_is_refused(objective: Objective, tmp_path: Path) -> None:
    storage = address(tmp_path / "trials.db")
    search(settings(), tmp_path / "study", trials=1, storage=storage)
    (tmp_path / "other").mkdir()
    same, others = tmp_path / "other" / "study", settings("train.label_smoothing=0.1", seed=3)
    with pytest.raises(RunError, match=f"has a study 'study' of the folder {tmp_path / 'study'} on [^,]*\n"):
        search(settings(), same, trials=1, storage=storage)
    with pytest.raises(RunError, match="with other settings: recipe, seed"):
        search(others, same, trials=1, storage=storage)
    # A refusal leaves no folder that is bound to this storage.
    assert entries(same.parent) == []
    optuna.create_study(study_name="foreign", storage=storage.url).add_trial(
        optuna.trial.create_trial(value=1.0)
    )
    with pytest.raises(RunError, match="'foreign' not of a search"):
        search(settings(), tmp_path / "foreign", trials=1, storage=storage)


def test_a_lost_study_is_not_begun_again(objective: Objective, tmp_path: Path) -> None:
    storage = address(tmp_path / "trials.db")
    search(settings(), tmp_path / "study", trials=2, storage=storage)
    (tmp_path / "trials.db").unlink()
    with pytest.raises(RunError, match="'study' is missing, the folder has its trials"):
        search(settings(), tmp_path / "study", trials=2, storage=storage)


def test_a_search_that_was_killed_while_it_began_begins_again(objective: Objective, tmp_path: Path) -> None:
    storage = address(tmp_path / "trials.db")
    search(settings(), tmp_path / "study", minutes=0.0, storage=storage)
    (tmp_path / "study" / "study.json").unlink()
    assert len(search(settings(), tmp_path / "study", trials=1, storage=storage).data.trials) == 1


def test_trials_of_a_killed_process_are_finished(
    objective: Objective, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The result is written first, and then told to Optuna."""
    storage = address(tmp_path / "trials.db")
    with monkeypatch.context() as patch:
        patch.setattr(TrialStore, "_tell", lambda *_: None)
        result = search(settings(), tmp_path / "study", trials=2, storage=storage)
    assert [row.state for row in result.data.trials] == ["complete", "complete"]

    def states() -> set[str]:
        return {each.state.name for each in optuna.load_study(study_name="study", storage=storage.url).trials}

    assert states() == {"RUNNING"}
    search(settings(), tmp_path / "study", trials=2, storage=storage)
    assert states() == {"COMPLETE"}


def test_a_password_is_written_nowhere(tmp_path: Path) -> None:
    place = StudyPlace.create(tmp_path / "mine", StorageAddress.parse("postgresql://me:secret@db/searches"))
    record = place.record()
    assert record is not None
    assert "secret" not in json.dumps(record) + place.where
    again = StorageAddress.parse("postgresql://me:changed@db/searches")
    assert StudyPlace.load(tmp_path, again, record, tmp_path).name == "mine"
    with pytest.raises(RunError, match="damaged: Input should be a valid string"):
        StudyPlace.load(tmp_path, again, {"url": 3}, tmp_path)


@pytest.mark.parametrize("url", ["postgresql://me:secret@{}/x", "mysql://me:secret@{}/x", "grpc://{}"])
def test_a_server_that_does_not_answer(url: str, objective: Objective, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    storage = StorageAddress.parse(url.format(f"127.0.0.1:{port}"))
    with pytest.raises(ProcessError, match="the storage does not answer") as caught:
        search(settings(), tmp_path / "study", trials=1, storage=storage)
    assert "secret" not in str(caught.value)
    assert entries(tmp_path) == []


@pytest.mark.parametrize(
    ("url", "module", "package"),
    [
        ("postgresql+psycopg2://{}/x", "psycopg2", "psycopg2-binary"),
        ("postgresql+psycopg://{}/x", "psycopg", r"psycopg\[binary\]"),
        ("mysql+pymysql://{}/x", "pymysql", "pymysql"),
        ("grpc://{}", "grpc", "grpcio protobuf"),
    ],
)
def test_a_driver_that_is_not_installed(
    url: str, module: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generated = [name for name in sys.modules if name.startswith("optuna.storages._grpc.auto_generated")]
    for name in (module, *generated):
        monkeypatch.setitem(sys.modules, name, None)
    with socket.create_server(("127.0.0.1", 0)) as server:
        storage = StorageAddress.parse(url.format(f"127.0.0.1:{server.getsockname()[1]}"))
        with pytest.raises(MissingExtraError, match=f"pip install '?{package}"):
            open_storage(tmp_path, storage)


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_text("this is a text, not a database\n" * 40)
    with pytest.raises(RunError, match="cannot be read: DatabaseError: file is not a database"):
        open_storage(tmp_path, address(tmp_path / "a.db"))
    with pytest.raises(FileError, match="the folder of the storage does not exist"):
        open_storage(tmp_path, address(tmp_path / "no" / "a.db"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("update study_user_attributes set value_json = '3' where key = 'trial 0'", "cannot be read"),
        ("update trial_user_attributes set value_json = '{}'", "cannot be read"),
        ("delete from trials where number = 1", "trial 1: missing, it has a folder"),
        ("drop table trials", "trial 0: missing, it has a folder"),
    ],
)
def test_a_damaged_database(damage: str, message: str, objective: Objective, tmp_path: Path) -> None:
    storage = address(tmp_path / "trials.db")
    search(settings(), tmp_path / "study", trials=2, storage=storage)
    with sqlite3.connect(tmp_path / "trials.db") as database:
        database.execute(damage)
    calls = list(objective.calls)
    with pytest.raises(ConvsmithError, match=message) as caught:
        search(settings(), tmp_path / "study", trials=4, storage=storage)
    assert str(storage) in str(caught.value)
    assert objective.calls == calls


def test_a_study_of_version_0_1_0_goes_on(tmp_path: Path) -> None:
    """Its journal has results as attributes of Optuna's trials; its settings lack later fields."""
    folder = tmp_path / "study"
    shutil.copytree(ROOT / "tests" / "fixtures" / "study-0.1.0", folder)
    stored = json.loads((folder / "study.json").read_text())
    del stored["recipe"]["data"]["merge_spellings"]
    (folder / "study.json").write_text(json.dumps(stored))
    before = search(settings(epochs=4), folder, trials=4).data.trials
    assert [row.accuracy for row in before] == pytest.approx([0.258333, 0.3, 0.275, 0.1], abs=1e-6)
    assert [row.state for row in before] == ["complete", "complete", "complete", "waits"]
    assert all(row.seconds > 0 for row in before)
    after = search(settings(epochs=4), folder, trials=6).data.trials
    assert len(after) == 6
    assert after[:3] == before[:3]
    assert after[5].epochs


@pytest.mark.slow
def test_the_grpc_proxy(objective: Objective, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("grpc")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    code = (
        "from optuna.storages import get_storage, run_grpc_proxy_server\n"
        f"storage = get_storage('sqlite:///{tmp_path / 'a.db'}')\n"
        f"run_grpc_proxy_server(storage, host='127.0.0.1', port={port})"
    )
    server = subprocess.Popen([sys.executable, "-W", "ignore", "-c", code])
    try:
        while server.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                continue
        storage = StorageAddress.parse(f"grpc://127.0.0.1:{port}")
        journal = search(settings(epochs=4), tmp_path / "journal", trials=6)
        assert nets(search(settings(epochs=4), tmp_path / "study", trials=6, storage=storage)) == nets(
            journal
        )

        train = Objective.__call__

        def kill(*arguments: Any, **more: Any) -> Any:
            server.kill()
            server.wait()
            return train(*arguments, **more)

        monkeypatch.setattr(Objective, "__call__", kill)
        with pytest.raises(ProcessError, match="the storage failed"):
            search(settings(epochs=4), tmp_path / "study", trials=9, storage=storage)
    finally:
        server.kill()
        server.wait()
