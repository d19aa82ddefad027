"""Projects of runs on archives: the same images, labels and splits, in the same order."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import convsmith as cs
from convsmith.data.dataset import load
from helpers.array_sets import write
from helpers.packed import packed
from helpers.projects import imported, lint, without_convsmith
from helpers.sources import classes, config, tree

TINY = ("model.net=C4 / G F2", "train.epochs=1", "augment.transforms=[]", "train.batch_size=8")


def ejected(source: Path, project: Path, runs: Path, *overrides: str) -> cs.Result:
    recipe = cs.load_recipe("digits", *TINY, f"data.source={source}", *overrides)
    result = cs.train(recipe, runs=runs)
    cs.eject(result.folder, project, execute=False)
    return result


def test_images_of_an_archive(tmp_path: Path) -> None:
    root = tree(tmp_path / "set", *classes("", images=16))
    options = ("data.validation=0.25", "data.resize=6")
    ejected(root, tmp_path / "folder", tmp_path / "runs", *options)
    with imported(tmp_path / "folder", "utils.utils") as (utils,):
        expected = utils.load_images(str(root))
    archive = packed(root, ".tar.gz")
    project = tmp_path / "project"
    result = ejected(archive, project, tmp_path / "runs", *options)
    lint(project)
    assert (project / "utils" / "files.csv").read_text() == (
        tmp_path / "folder" / "utils" / "files.csv"
    ).read_text()
    with imported(project, "utils.utils") as (utils,):
        for source in (archive, packed(root, ".zip"), root):
            splits = utils.load_images(str(source))
            assert list(splits) == ["train", "validation", "test"]
            for name, (images, labels) in splits.items():
                assert np.array_equal(images, expected[name][0])
                assert np.array_equal(labels, expected[name][1])
        (root / "cat" / "0.png").unlink()
        with pytest.raises(SystemExit, match=r"no file cat/0\.png in"):
            utils.load_images(str(root))
        with pytest.raises(SystemExit, match=r"no archive nothing\.zip: set it"):
            utils.load_images("nothing.zip")
    readme = (project / "README.md").read_text()
    assert "The data set is an archive: `data.tar.gz`, or the one, or the folder" in readme
    shutil.copy(archive, project / "data.tar.gz")
    correct = f"{result.test.correct}/{result.test.total}"
    assert correct in without_convsmith(project, "test", "--workers", "0")


@pytest.mark.parametrize("kind", ["parquet", "IDX, packed"])
def test_other_files_of_an_archive_are_in_the_project(kind: str, tmp_path: Path) -> None:
    archive = packed(write(kind, tmp_path / "set"), ".zip")
    project = tmp_path / "project"
    ejected(archive, project, tmp_path / "runs")
    data = load(config(archive))
    with imported(project, "utils.utils") as (utils,):
        splits = utils.load_images(str(project / "data.npz"))
    for name, split in data.splits.items():
        assert np.array_equal(splits[name][0], np.asarray(split.images))
        assert np.array_equal(splits[name][1], split.labels)
