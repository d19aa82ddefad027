"""What is not read, which split is the test set, and the class names: in log, records and report of a run."""

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

import convsmith as cs
from convsmith.errors import ConvsmithError, RunError
from convsmith.models.image_inputs import image_sources
from helpers.faults import TINY, encoded
from helpers.sources import classes, read_image_folder, tree


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A folder with a validation split as its test set, and much that is not read."""
    others = [
        "extra/cat/0.png",
        "notes.txt",
        "train/cat/photo.heic",
        ".hidden/0.png",
        "__MACOSX/train/cat/0.png",
    ]
    return tree(tmp_path / "set", *classes("train", images=6), *classes("val", images=3), *others)


def test_the_records_of_a_run_count_what_is_not_read(mixed: Path, tmp_path: Path) -> None:
    recipe = cs.load_recipe("digits", f"data.source={mixed}", *TINY, "model.net=C4 / G F2")
    run = cs.train(recipe, runs=tmp_path / "runs").folder
    record = json.loads((run / "data.json").read_text())
    assert record["test_split"] == "the source's validation split"
    assert record["left_out"] == {
        "hidden": 1,
        "in extra/: no training, test or validation split by its name": 1,
        "metadata of the system": 1,
        "not an image: suffix .heic": 1,
        "not an image: suffix .txt": 1,
    }
    for name in ("log.txt", "README.md", "report.html"):
        text = (run / name).read_text().replace("\\", "")
        assert "not read: 5 files or pages" in text, name
        assert "its validation split, val/, serves as test set" in text, name
    for name in ("README.md", "report.html"):
        assert "validation split" in (run / name).read_text().replace("&#39;", "'")
    ignored = cs.verify_data(str(mixed)).ignored
    assert len(ignored) == 5
    assert ignored["train/cat/photo.heic"] == "not an image: suffix .heic"


def write_parquet(root: Path, names: tuple[str, str]) -> Path:
    root.mkdir(exist_ok=True)
    feature = {"img": {"_type": "Image"}, "label": {"names": list(names), "_type": "ClassLabel"}}
    for split, start in (("train", 0), ("test", 20)):
        cells = [{"bytes": encoded(start + number), "path": None} for number in range(12)]
        table = pa.table({"img": cells, "label": pa.array([0, 1] * 6, pa.int64())})
        metadata = {"huggingface": json.dumps({"info": {"features": feature}})}
        pyarrow.parquet.write_table(table.replace_schema_metadata(metadata), root / f"{split}-0.parquet")
    return root


@pytest.mark.usefixtures("without_report")
def test_class_names_belong_to_a_run(tmp_path: Path) -> None:
    root = write_parquet(tmp_path / "set", ("cat", "dog"))
    recipe = cs.load_recipe("digits", f"data.source={root}", *TINY, "model.net=C4 / G F2")
    cs.train(recipe, runs=tmp_path / "runs")
    run = tmp_path / "runs" / "tiny-1"
    write_parquet(root, ("dog", "cat"))
    commands: list[tuple[Callable[..., Any], dict[str, Any], str]] = [
        (cs.evaluate, {}, "class 0 was 'cat', is 'dog'"),
        (cs.report, {}, "class 0 was 'cat', is 'dog'"),
        (cs.resume, {"epochs": 2}, 'data.class_names: was ["cat", "dog"], is ["dog", "cat"]'),
    ]
    for command, options, what in commands:
        with pytest.raises(RunError) as caught:
            command(run, **options)
        assert what in str(caught.value)
    # A prediction reads no data set: its names are those of the training.
    assert json.loads((run / "data.json").read_text())["class_names"] == ["cat", "dog"]
    cs.resume(run, epochs=2, accept_changes=True)
    assert json.loads((run / "data.json").read_text())["class_names"] == ["dog", "cat"]


@pytest.fixture
def without_rights() -> Iterator[Path]:
    """A folder with a sub-folder that the user of this process, for the test not root, may not list."""
    with tempfile.TemporaryDirectory() as name:
        root = tree(Path(name) / "set", *classes(""))
        Path(name).chmod(0o755)
        (root / "dog").chmod(0)
        is_root = os.geteuid() == 0
        if is_root:
            os.seteuid(65534)
        try:
            yield root
        finally:
            if is_root:
                os.seteuid(0)
            (root / "dog").chmod(0o755)


def test_an_unreadable_sub_folder_is_an_error(without_rights: Path) -> None:
    reads: list[Callable[[], object]] = [
        lambda: read_image_folder(without_rights),
        lambda: list(image_sources(str(without_rights))),
        lambda: list(image_sources(str(without_rights.parent / "s*"))),
    ]
    for read in reads:
        with pytest.raises(ConvsmithError) as caught:
            read()
        assert f"{without_rights / 'dog'}: cannot be listed: Permission denied" in str(caught.value)
        assert "fix: " in str(caught.value)
