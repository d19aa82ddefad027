"""The weights of a bundle: safetensors in fp16 or fp32, counters as integers."""

import struct
from collections.abc import Mapping
from typing import Literal

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from convsmith.models.bundle import WEIGHTS, Bundle, damaged
from convsmith.net.module import build
from convsmith.net.plan import Plan
from convsmith.system import reading

Format = Literal["fp16", "fp32"]
_DTYPES: dict[str, torch.dtype] = {"fp16": torch.float16, "fp32": torch.float32}


def in_format(tensors: Mapping[str, Tensor], weights_format: Format) -> dict[str, Tensor]:
    """Convert floating-point tensors to fp16 or fp32; integers stay as they are."""
    dtype = _DTYPES[weights_format]
    return {
        name: (tensor.to(dtype) if tensor.is_floating_point() else tensor).detach().cpu().contiguous()
        for name, tensor in tensors.items()
    }


def serialize(tensors: Mapping[str, Tensor], weights_format: Format) -> bytes:
    """Return weights as safetensors; equal weights give equal bytes."""
    return safetensors.torch.save(dict(sorted(in_format(tensors, weights_format).items())))


def load_net(bundle: Bundle, plan: Plan) -> nn.Module:
    """Build a net on the CPU with the weights of a bundle in fp32.

    The module is built on the meta device, so that nothing is allocated twice.

    Raises:
        BundleError: The weights are damaged or do not fit the plan.
    """
    path = bundle.folder / WEIGHTS
    with torch.device("meta"):
        net = build(plan)
    expected = net.state_dict()
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
        if not torch.isfinite(tensor).all():
            raise damaged(path, f"tensor {name} has numbers that are not finite")
    net.load_state_dict(
        {name: tensor.to(expected[name].dtype) for name, tensor in tensors.items()}, assign=True
    )
    return net
