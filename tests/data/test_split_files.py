"""The files of each split are those whose pixels the split has."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convsmith.data.config import DataConfig
from convsmith.data.dataset import load
from convsmith.data.split_files import split_files


@pytest.mark.parametrize(
    ("folders", "options"),
    [
        ({"train": 9, "test": 4}, {}),
        ({"train": 9, "test": 4}, {"validation": 0.3}),
        ({"": 12}, {"test_fraction": 0.25}),
        ({"": 12}, {"validation": 0.25, "split_seed": 5}),
        ({"": 12}, {"skip_damaged": True, "group": r"(\d)\.png"}),
    ],
)
def test_every_usable_file_is_in_its_split(
    folders: dict[str, int], options: dict[str, object], image_folder: Callable[..., Path]
) -> None:
    root = image_folder(folders)
    expected = {str(path.relative_to(root)) for path in root.rglob("*.png")}
    if "skip_damaged" in options:
        damaged = sorted(expected)[3]
        (root / damaged).write_bytes(b"This is no image")
        expected.remove(damaged)
    config = DataConfig.model_validate({"source": str(root), **options})
    data, files = load(config), split_files(config)
    assert set(files) == set(data.splits)
    listed = [file for each in files.values() for file, _ in each]
    assert sorted(listed) == sorted(expected)
    for name, split in data.splits.items():
        found = [(np.asarray(Image.open(root / file)).tobytes(), label) for file, label in files[name]]
        pixels = [
            (image.tobytes(), int(label)) for image, label in zip(split.images, split.labels, strict=True)
        ]
        assert sorted(found) == sorted(pixels)
        assert all(data.class_names[label] == Path(file).parent.name for file, label in files[name])
