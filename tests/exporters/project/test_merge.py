"""Merged modules behave as the separate ones and are free of lint."""

from pathlib import Path
from typing import Any

from convsmith.exporters.project.merge import merged
from helpers.projects import lint

FIRST = '''"""First, with a long
docstring."""

import json
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from parts.second import total

SIZE = (1, 2)


def area(x: Tensor) -> str:
    layer = nn.Flatten()
    return json.dumps([total(np.array(SIZE)), Path("a").name, list(layer(x).shape)])
'''
SECOND = '''"""Second."""

import abc
from os import path as where

import numpy as np
from torch import Tensor
from torch.utils.data import BatchSampler, ConcatDataset, DataLoader, Dataset

EVERY = [abc, where, BatchSampler, ConcatDataset, DataLoader, Dataset, Tensor]


def total(x: np.ndarray) -> int:
    """Return the sum."""
    return int(x.sum())
'''


def test_one_file_for_two(tmp_path: Path) -> None:
    text = merged([FIRST, SECOND], own={"parts.second"}, first="import os\n\nos.environ.setdefault('A', '1')")
    assert "parts" not in text
    assert text.startswith('"""First, with a long\ndocstring."""\n\nimport os\n')
    (tmp_path / "one.py").write_text(text.replace("'", '"'), encoding="utf-8")
    lint(tmp_path)
    scope: dict[str, Any] = {}
    exec(text, scope)  # noqa: S102 - the text above
    import torch

    assert scope["area"](torch.zeros(2, 3, 4)) == '[3, "a", [2, 12]]'
    assert len(scope["EVERY"]) == 7
