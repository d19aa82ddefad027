"""The names of the classes beside the weights of a checkpoint."""

from pathlib import Path
from typing import Any

import pytest
import torch

from convsmith.modules.class_names import find_class_names
from convsmith.modules.weights import read_state_dict


@pytest.mark.parametrize(
    "checkpoint",
    [
        {"classes": ["cat", "dog"]},
        {"class_names": ("cat", "dog")},
        {"class_to_idx": {"dog": 1, "cat": 0}},
        {"idx_to_class": {1: "dog", 0: "cat"}},
        {"idx_to_class": {"1": "dog", "0": "cat"}},
        {"state_dict": {}, "meta": {"classes": ["cat", "dog"]}},
        {"classes": 2, "hyper_parameters": {"class_names": ["cat", "dog"]}},
    ],
)
def test_usual_places(checkpoint: dict[str, Any]) -> None:
    assert find_class_names(checkpoint) == ("cat", "dog")


@pytest.mark.parametrize(
    "checkpoint",
    [
        None,
        [1, 2],
        {"classes": 10},
        {"classes": ["cat", "cat"]},
        {"classes": ["cat", 3]},
        {"classes": ["cat"]},
        {"class_to_idx": {"cat": 0, "dog": 2}},
        {"class_to_idx": {"cat": 0, "dog": 0}},
        {"class_to_idx": {"cat": None, "dog": 1}},
        {"idx_to_class": {0: 1, 1: 2}},
        {"labels": torch.arange(10)},
        {"names": ["x" * 1001, "y"]},
    ],
)
def test_what_is_no_list_of_names(checkpoint: Any) -> None:
    assert find_class_names(checkpoint) == ()


def test_they_are_read_with_the_weights(tmp_path: Path) -> None:
    state = {"fc.weight": torch.ones(2, 3)}
    torch.save({"net": state, "classes": ["cat", "dog"]}, tmp_path / "net.pth")
    assert read_state_dict(tmp_path / "net.pth").class_names == ("cat", "dog")
    torch.save(state, tmp_path / "net.pth")
    assert read_state_dict(tmp_path / "net.pth").class_names == ()
