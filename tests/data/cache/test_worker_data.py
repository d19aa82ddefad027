"""Workers without the data of the main process, or with other ones."""

import shutil
import socket
from pathlib import Path

import pytest

from convsmith.data.cache.cache import load_cached
from convsmith.data.cache.worker_data import check_worker_data
from convsmith.data.config import DataConfig
from convsmith.data.sources import find_source
from convsmith.errors import ProcessError
from helpers.sources import Folder


@pytest.fixture
def root(image_folder: Folder) -> Path:
    check_worker_data.cache_clear()
    return image_folder({"train": 6, "test": 3})


def config_of(root: Path) -> DataConfig:
    return DataConfig(source=str(root))


def fingerprint(root: Path) -> str:
    return load_cached(find_source(config_of(root)), config_of(root)).fingerprint


def test_a_copy_of_the_files_will_do(root: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(root, tmp_path / "copy", copy_function=shutil.copyfile)
    check_worker_data(config_of(copy), fingerprint(root))


def test_no_data(root: Path, tmp_path: Path) -> None:
    host = socket.gethostname()
    with pytest.raises(ProcessError, match=f"the worker on {host} does not have the data: no such"):
        check_worker_data(config_of(tmp_path / "none"), fingerprint(root))


def test_other_data(root: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(root, tmp_path / "copy")
    next((copy / "train").rglob("*.png")).unlink()
    with pytest.raises(ProcessError, match="has other data than the main process"):
        check_worker_data(config_of(copy), fingerprint(root))
