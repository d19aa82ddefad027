"""One call of a PyTorch operator while a module is traced, and its effect."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from convsmith.net.rows import Axes, Window
from convsmith.tracing.lineage import Lineage

# Rounding to the values of a quantized type.
FAKE_QUANTIZATION = (
    "fake_quantize_per_tensor_affine_cachemask", "fake_quantize_per_channel_affine_cachemask",
    "_fake_quantize_per_tensor_affine_cachemask_tensor_qparams", "_fake_quantize_learnable_per_tensor_affine",
    "_fake_quantize_learnable_per_channel_affine",
)  # fmt: skip
# Operator -> name in a row: that of the equivalent module, if there is one.
_OPERATIONS = {
    "add": "Add",
    "native_batch_norm": "BatchNorm2d",
    "_native_batch_norm_legit": "BatchNorm2d",
    "_native_batch_norm_legit_no_training": "BatchNorm2d",
    "native_group_norm": "GroupNorm",
    "native_layer_norm": "LayerNorm",
    "relu": "ReLU",
    "leaky_relu": "LeakyReLU",
    "gelu": "GELU",
    "silu": "SiLU",
    "hardswish": "Hardswish",
    "sigmoid": "Sigmoid",
    "hardtanh": "ReLU6",
    **dict.fromkeys(("mm", "bmm", "addmm", "baddbmm", "addbmm", "mv", "addmv", "dot", "vdot"), "MatMul"),
    "im2col": "Unfold",
    "col2im": "Fold",
    "embedding": "Embedding",
    "_embedding_bag": "EmbeddingBag",
    "_trilinear": "Bilinear",
    "_cdist_forward": "pairwise distance",
    "_euclidean_dist": "pairwise distance",
    **dict.fromkeys(FAKE_QUANTIZATION, "fake quantization"),
    "_fft_r2c": "Fourier transform",
    "_fft_c2c": "Fourier transform",
    "_fft_c2r": "inverse Fourier transform",
    "mkldnn_rnn_layer": "LSTM",
    "copy": "assignment",
    "index": "indexing",
    "index_put": "indexed assignment",
    "affine_grid_generator": "affine grid",
    "grid_sampler_2d": "grid sample",
    "grid_sampler_3d": "grid sample",
    "circular_pad": "Pad",
}
# Parts of the names of operators that say how and not what they compute.
_IMPLEMENTATION = re.compile(
    r"^(native|unsafe|linalg|aten|cudnn|mkldnn) | (forward|default|ex|legit|backward)$"
)


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of an operator.

    Attributes:
        name: The operator without its namespace.
        builtin: Whether it is PyTorch's own.
        values: Its arguments by name.
        outputs: The tensors that it returns.
        lineage_of: Returns the lineage of a tensor, None if it does not depend on the image.
    """

    name: str
    builtin: bool = True
    values: dict[str, Any]
    outputs: list[Tensor]
    lineage_of: Callable[[Tensor], Lineage | None]

    @property
    def tensors(self) -> list[Tensor]:
        return list(tensors_in(list(self.values.values())))

    @property
    def lineages(self) -> list[Lineage]:
        """The lineages of the inputs that depend on the image."""
        lineages = map(self.lineage_of, self.tensors)
        return [lineage for lineage in lineages if lineage is not None]

    @property
    def operation(self) -> str:
        """The name of its row."""
        return _OPERATIONS.get(self.name) or plain_name(self.name)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.outputs[0].shape)

    def lineage(self, name: str) -> Lineage | None:
        value = self.values.get(name)
        return self.lineage_of(value) if isinstance(value, Tensor) else None


@dataclass(frozen=True, kw_only=True)
class Effect(Window):
    """The effect of a call: a lineage for each output, and the numbers of its row.

    With `is_view` the outputs are views of the input, so the call has no row.
    """

    lineages: tuple[Lineage, ...]
    operation: str
    macs: int | None = 0
    elementwise: bool = False
    is_view: bool = False
    notes: tuple[str, ...] = ()
    probability: float | None = None
    inactive: str = ""


def plain_name(name: str) -> str:
    """Return the name of an operator in words.

    >>> plain_name("_linalg_svd"), plain_name("repeat_interleave"), plain_name("__and__")
    ('svd', 'repeat interleave', 'and')
    """
    words = name.replace("_", " ").strip()
    while words != (shorter := _IMPLEMENTATION.sub("", words)):
        words = shorter
    return words or "operator"


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Yield all tensors in nested lists, tuples and dicts."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from tensors_in(each)
    elif isinstance(value, dict):
        yield from tensors_in(list(value.values()))


def each_output(call: Call, lineage: Lineage) -> tuple[Lineage, ...]:
    """Return one lineage for all outputs of one shape; outputs of other shapes are unknown."""
    return tuple(
        lineage if tuple(output.shape) == call.shape else lineage.as_unknown(output.shape, "a second output")
        for output in call.outputs
    )


def unknown(call: Call, reason: str) -> Effect:
    """Return the effect of a call with an unknown receptive field, unless that of all inputs is global."""
    lineage, *others = call.lineages
    if not all(each.is_global for each in call.lineages):
        lineage = next(each for each in (lineage, *others) if not each.is_global)
    lineages = tuple(lineage.as_unknown(output.shape, reason) for output in call.outputs)
    notes = (reason,) if any(each.unknown for each in lineages) else ()
    return Effect(lineages=lineages, operation=call.operation, notes=notes)


def per_axis(value: int | Sequence[int], count: int) -> Axes:
    """Return one value for each of `count` axes."""
    values = [value] if isinstance(value, int) else list(value)
    return tuple(values * count if len(values) == 1 else values)


def positive(place: int, count: int) -> int:
    """Return a dimension, possibly negative, of `count` ones as a non-negative number."""
    return place % count if count else 0
