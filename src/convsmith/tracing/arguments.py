"""The arguments of a forward pass: from shapes or tensors, the image among them, and tensors in any value."""

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor, nn

from convsmith.errors import ModuleError, ShapeError
from convsmith.net.inputs import Input, Inputs, channels_first, inputs_of, is_channels_last

_DEEPEST = 6


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """What `forward` is called with.

    Attributes:
        args: Positional arguments with a batch.
        kwargs: Keyword arguments with a batch.
        dtype: The data type of the weights.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    dtype: torch.dtype

    @classmethod
    def of(
        cls, inputs: Inputs | None, args: Any, kwargs: Mapping[str, Any] | None, dtype: torch.dtype
    ) -> Self:
        """Return the arguments for shapes, or the given ones.

        Args:
            inputs: Shapes for one sample, or None.
            args: Positional arguments; a tensor or dictionary alone is one.
            kwargs: Keyword arguments.
            dtype: Of inputs without one.

        Raises:
            ShapeError: There is no input, or there are shapes and tensors.
        """
        positional = tuple(args) if isinstance(args, tuple | list) else (args,)
        if (inputs is None) == (not positional and not kwargs):
            raise ShapeError(
                "found no input" if inputs is None else "found shapes and arguments, expected one of them",
                where="input_shape",
                fix="for example summary(net, (3, 32, 32)), or summary(net, args=(x, y), kwargs={'mask': z})",
            )
        if inputs is None:
            result = cls(args=positional, kwargs=dict(kwargs or {}), dtype=dtype)
        else:
            result = cls._of_shapes(inputs_of(inputs), dtype)
        if not result.tensors:
            raise ShapeError(
                "found no tensor among the arguments", where="args", fix="pass args=(x, y) with tensors"
            )
        return result

    @classmethod
    def _of_shapes(cls, inputs: tuple[Input, ...], dtype: torch.dtype) -> Self:
        """Return tensors for one sample; they have no memory."""
        tensors = [
            torch.empty(1, *each.shape, dtype=getattr(torch, each.dtype, dtype), device="meta")
            for each in inputs
        ]
        pairs = list(zip(inputs, tensors, strict=True))
        return cls(
            args=tuple(tensor for each, tensor in pairs if not each.keyword),
            kwargs={each.keyword: tensor for each, tensor in pairs if each.keyword},
            dtype=dtype,
        )

    def zeros(self, device: torch.device) -> Self:
        """Return zeros of the same shapes and data types."""

        def change(tensor: Tensor) -> Tensor:
            return torch.zeros(tensor.shape, dtype=tensor.dtype, device=device)

        return replace(self, args=_mapped(self.args, change), kwargs=_mapped(self.kwargs, change))

    @property
    def tensors(self) -> list[Tensor]:
        return list(tensors_of((self.args, self.kwargs)))

    @property
    def image(self) -> Tensor:
        """The input to which receptive fields refer: the first with axes and real values, else the first."""
        maps = [each for each in self.tensors if each.dim() > 2 and each.is_floating_point()]
        return (maps or self.tensors)[0]

    @property
    def inputs(self) -> tuple[Input, ...]:
        """The inputs for one sample; those of a batch keep it."""
        names = [""] * len(list(tensors_of(self.args)))
        names += [name for name, value in self.kwargs.items() for _ in tensors_of(value)]
        return tuple(
            Input(shape=without_batch(each.shape), dtype=self._name(each.dtype), keyword=name)
            for each, name in zip(self.tensors, names, strict=True)
        )

    def _name(self, dtype: torch.dtype) -> str:
        return "" if dtype == self.dtype else str(dtype).removeprefix("torch.")

    @property
    def unit(self) -> str:
        """What the numbers are for: one image, one sample of other inputs, or a call with a larger batch."""
        if self.image.shape[:1] != (1,):
            return "call"
        return "image" if self.image.dim() > 2 else "sample"

    def fix(self, message: str) -> str:
        """Return the fix for a forward pass that fails with a message of PyTorch."""
        shape = tuple(self.image.shape[1:])
        if "scalar types: Long, Int" in message:
            return f"indices are integers: write --input {Input(shape=shape, dtype='int64')}"
        if is_channels_last(shape):
            return f"the input looks like height x width x channels: write --input {channels_first(shape)}"
        return "check that --input is the input shape of the net, and that the layer fits its input"

    def check(self, module: nn.Module) -> None:
        """Raise a `ModuleError` if `forward` cannot be called with these arguments."""
        try:
            signature = inspect.signature(module.forward)
        except (TypeError, ValueError):  # A traced module has none.
            return
        try:
            signature.bind(*self.args, **self.kwargs)
        except TypeError as error:
            raise ModuleError(
                f"forward{_names(signature)} cannot be called with {self._text()}: {error}",
                where=type(module).__name__,
                fix="give each one: --input 3x32x32 --input mask=1x32x32, or args=(x,), kwargs={'mask': y}",
            ) from error

    def _text(self) -> str:
        count = len(self.args)
        positional = f"{count} input{'' if count == 1 else 's'}"
        return ", ".join([positional, *self.kwargs])


def without_batch(shape: Sequence[int]) -> tuple[int, ...]:
    """Return a shape without a batch of one; a larger first dimension is kept.

    >>> without_batch((1, 3, 32, 32)), without_batch((8, 3, 32, 32))
    ((3, 32, 32), (8, 3, 32, 32))
    """
    return tuple(shape[1:] if tuple(shape[:1]) == (1,) else shape)


def _names(signature: inspect.Signature) -> str:
    return f"({', '.join(signature.parameters)})"


def tensors_of(value: Any, depth: int = _DEEPEST) -> Iterator[Tensor]:
    """Yield the tensors in nested lists, dictionaries, dataclasses, distributions and other objects."""
    for each in _children(value) if not isinstance(value, Tensor) else ():
        if depth:
            yield from tensors_of(each, depth - 1)
    if isinstance(value, Tensor):
        yield value


def _children(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return list(value.values())
    if isinstance(value, list | tuple | set | frozenset):
        return list(value)
    if isinstance(value, nn.Module | type) or callable(value):
        return []
    return list(getattr(value, "__dict__", {}).values())


def _mapped(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_mapped(each, change) for each in value))
    if isinstance(value, list | tuple | set | frozenset):
        return type(value)(_mapped(each, change) for each in value)
    if isinstance(value, dict):
        copied = value.copy()
        copied.update({key: _mapped(each, change) for key, each in value.items()})
        return copied
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {
            each.name: _mapped(getattr(value, each.name), change)
            for each in dataclasses.fields(value)
            if each.init
        }
        return dataclasses.replace(value, **fields)
    return value
