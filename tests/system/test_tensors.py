"""Tensors for files of safetensors."""

import safetensors.torch
import torch
from torch import nn

from convsmith.system.tensors import independent


def test_shared_and_strided_tensors_are_saved() -> None:
    layer, base = nn.Linear(3, 3), torch.arange(24.0).reshape(2, 3, 4)
    tensors = {
        "a": layer.weight,
        "b": layer.weight,
        "transposed": layer.weight.T,
        "part": base[1, 1:],
        "expanded": torch.ones(1).expand(5),
        "scalar": torch.tensor(3),
        "last": torch.randn(2, 3, 2, 2).to(memory_format=torch.channels_last),
        "empty": torch.empty(0),
        "complex": torch.ones(2, dtype=torch.complex64),
        "flag": torch.tensor(True),
    }
    saved = safetensors.torch.load(safetensors.torch.save(independent(tensors)))
    assert saved.keys() == tensors.keys()
    assert all(torch.equal(saved[name], tensor) for name, tensor in tensors.items())


def test_independent_tensors_are_not_copied() -> None:
    tensor = torch.randn(3, 4)
    assert independent({"a": tensor})["a"].data_ptr() == tensor.data_ptr()
