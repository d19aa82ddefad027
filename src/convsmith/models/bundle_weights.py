"""The weights of a bundle: safetensors in fp16 or fp32, counters as integers."""

import contextlib
import struct
from collections.abc import Mapping
from typing import Literal

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from convsmith.models.bundle import WEIGHTS, Bundle, damaged
from convsmith.modules.architecture import Architecture, NotationArchitecture
from convsmith.system import reading
from convsmith.system.rng import new_generator
from convsmith.system.tensors import independent

Format = Literal["fp16", "fp32"]
_DTYPES: dict[str, torch.dtype] = {"fp16": torch.float16, "fp32": torch.float32}


def in_format(tensors: Mapping[str, Tensor], weights_format: Format) -> dict[str, Tensor]:
    """Convert floating-point tensors to fp16 or fp32; integers stay as they are."""
    dtype = _DTYPES[weights_format]
    return independent(
        {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    )


def serialize(tensors: Mapping[str, Tensor], weights_format: Format) -> bytes:
    """Return weights as safetensors; equal weights give equal bytes."""
    return safetensors.torch.save(dict(sorted(in_format(tensors, weights_format).items())))


def load_net(bundle: Bundle, architecture: Architecture) -> nn.Module:
    """Build a net on the CPU with the weights of a bundle in fp32.

    A net in the notation is built on the meta device, so that nothing is allocated twice. The constructor of
    a module may compute with its weights.

    Raises:
        BundleError: The weights are damaged or do not fit the net.
        ModuleError: The module cannot be created.
    """
    path, shape = bundle.folder / WEIGHTS, bundle.metadata.preprocessing.shape
    on_meta = isinstance(architecture, NotationArchitecture)
    with torch.device("meta") if on_meta else contextlib.nullcontext():
        # What a module draws and does not save is as it was in the training.
        generator = None if on_meta else new_generator(bundle.metadata.origin.seed)
        net = architecture.build(shape, generator)
    expected = net.state_dict()
    tensors = _verified_tensors(bundle, expected)
    try:
        net.load_state_dict(
            {name: tensor.to(expected[name].dtype) for name, tensor in tensors.items()}, assign=on_meta
        )
    # The methods of a module that load its weights may be the user's own.
    except Exception as error:
        raise damaged(path, f"the weights cannot be loaded: {str(error).splitlines()[0]}") from error
    return net


def _verified_tensors(bundle: Bundle, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Read the weights and compare their names, shapes and data types with those of the net."""
    path = bundle.folder / WEIGHTS
    floats = _DTYPES[bundle.metadata.weights.format]
    try:
        content = bundle.contents[WEIGHTS]
        reading.check_safetensors(content)
        tensors = safetensors.torch.load(content)
    except (safetensors.SafetensorError, ValueError, KeyError, struct.error, OverflowError) as error:
        raise damaged(path, str(error).splitlines()[0]) from error
    for name in sorted(expected.keys() ^ tensors.keys()):
        raise damaged(path, f"tensor {name[:100]} is {'missing' if name in expected else 'of no layer'}")
    for name, tensor in tensors.items():
        like = expected[name]
        dtype = floats if like.is_floating_point() else like.dtype
        if tensor.shape != like.shape or tensor.dtype != dtype:
            found = f"{tensor.dtype} {tuple(tensor.shape)}"
            raise damaged(path, f"tensor {name} is {found}, expected {dtype} {tuple(like.shape)}")
        # A mask of a module may hold infinities from the beginning.
        if (~torch.isfinite(tensor) & (like.is_meta or torch.isfinite(like))).any():
            raise damaged(path, f"tensor {name} has numbers that are not finite")
    return tensors
