"""Tensors for files."""

from collections.abc import Mapping

from torch import Tensor


def independent(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors on the CPU, contiguous, each with memory of its own, which safetensors requires.

    Tied weights share their memory, and the tensors of a view have more than their own.

    Example:
        >>> import torch
        >>> weight = torch.ones(2, 3)
        >>> first, second, row = independent({"a": weight, "b": weight, "c": weight[0]}).values()
        >>> first.data_ptr() == second.data_ptr(), row.untyped_storage().nbytes()
        (False, 12)
    """
    found: dict[str, Tensor] = {}
    seen = set[int]()
    for name, tensor in tensors.items():
        value = tensor.detach().cpu().contiguous()
        storage = value.untyped_storage()
        if storage.data_ptr() in seen or storage.nbytes() != value.nbytes:
            value = value.clone()
        seen.add(value.untyped_storage().data_ptr())
        found[name] = value
    return found
