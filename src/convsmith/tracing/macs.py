"""The multiply-accumulates of one call of an operator."""

import re
from collections.abc import Callable
from math import prod

from torch import Tensor

from convsmith.tracing.calls import Call

# Operators with one of these words in their names are, or may contain, matrix products or convolutions.
_PRODUCTS = re.compile(
    r"(^|_)([a-z]*mm|matmul|conv[a-z0-9]*|linear|lstm|gru|rnn|attention|[a-z]*dot|[a-z]*mv|linalg|cholesky|lu"
    r"|qr|[a-z]*solve|svd|inverse|matrix)(_|$)"
)
_NO_PRODUCTS = re.compile(r"linalg_(vector_norm|cross|diagonal|check_errors)")


def macs_of(call: Call) -> int | None:
    """Return the multiply-accumulates of a call; None if they are unknown.

    Only convolutions and matrix products have any: most operators without a rule have none.
    """
    rule = _RULES.get(call.name)
    if rule is not None:
        return rule(call)
    may_multiply = _PRODUCTS.search(call.name) and not _NO_PRODUCTS.search(call.name)
    return None if may_multiply or not call.builtin else 0


def macs_of_constant(call: Call) -> int:
    """Return the multiply-accumulates of a call that the image does not feed, such as an MLP on a buffer.

    How weights are normalised, by decompositions or products with vectors, does not count.
    """
    counts = call.name in _RULES and call.name not in {"mv", "addmv", "dot", "vdot"}
    return (macs_of(call) or 0) if counts else 0


def _convolution(call: Call) -> int:
    maps, weight = call.values["input"], call.values["weight"]
    size = maps.shape[2:] if call.values["transposed"] else call.shape[2:]
    # Maps in a batch, such as windows of attention, count each.
    return int(maps.shape[0] * weight.numel() * prod(size))


def _matrix_product(call: Call) -> int:
    left, right = factors(call)
    return int(left.numel() * (right.shape[-1] if right.dim() > 1 else 1))


def factors(call: Call) -> tuple[Tensor, Tensor]:
    """Return the two factors of a matrix product, whose names differ by operator."""
    left, right = _FACTORS[call.name]
    return call.values[left], call.values[right]


def _attention(call: Call) -> int:
    query, key, value = (call.values[name] for name in ("query", "key", "value"))
    keys = key.shape[-2]
    return int(query.numel() * keys + prod(query.shape[:-1]) * keys * value.shape[-1])


def _recurrent_layer(call: Call) -> int:
    """The products with the weights of the input and of the state, in every step."""
    weights = call.values["weight0"].numel() + call.values["weight1"].numel()
    return int(prod(call.values["input"].shape[:-1]) * weights)


def _trilinear(call: Call) -> int:
    """`nn.Bilinear`: the weights times the first input, and the result times the second."""
    first, weight, second = (call.values[name] for name in ("i1", "i2", "i3"))
    return int(first.shape[0] * (weight.numel() + weight.shape[0] * second.shape[-1]))


_FACTORS = {
    "mm": ("self", "mat2"),
    "bmm": ("self", "mat2"),
    "addmm": ("mat1", "mat2"),
    "baddbmm": ("batch1", "batch2"),
    "addbmm": ("batch1", "batch2"),
    "mv": ("self", "vec"),
    "addmv": ("mat", "vec"),
    "dot": ("self", "tensor"),
    "vdot": ("self", "other"),
}

ATTENTION = (
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_fused_attention_overrideable",
    "_scaled_dot_product_attention_math",
)
MATRIX_PRODUCTS = tuple(_FACTORS)

_RULES: dict[str, Callable[[Call], int]] = {
    **dict.fromkeys(("convolution", "_convolution"), _convolution),
    "mkldnn_rnn_layer": _recurrent_layer,
    "_trilinear": _trilinear,
    **dict.fromkeys(MATRIX_PRODUCTS, _matrix_product),
    **dict.fromkeys(ATTENTION, _attention),
}
