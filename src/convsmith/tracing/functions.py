"""Functions of PyTorch that consist of operators of another meaning: circular padding, dropout."""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from convsmith.tracing.calls import Call
from convsmith.tracing.dropouts import DropoutCall
from convsmith.tracing.lineage import Lineage


class Observer(Protocol):
    """What traces the operators.

    Attributes:
        paused: Whether operators are not observed.
    """

    paused: bool

    def lineage_of(self, tensor: Tensor) -> Lineage | None: ...

    def observe(self, call: Call, *, pointwise: bool) -> None: ...

    def observe_constant(self, call: Call) -> None: ...

    def observe_dropout(self, call: DropoutCall, output: Tensor) -> None: ...


class Functions(TorchFunctionMode):
    """Traces functions that consist of operators of another meaning: circular padding copies slices."""

    def __init__(self, tracer: Observer) -> None:
        super().__init__()
        self.tracer = tracer

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if dropout := DropoutCall.of(func, args, kwargs):
            return self.dropout(dropout, func, args, kwargs)
        values = {**dict(zip(("input", "pad", "mode"), args, strict=False)), **kwargs}
        if getattr(func, "__name__", "") != "pad" or values.get("mode") != "circular":
            return func(*args, **kwargs)
        result = self.unobserved(func, args, kwargs)
        call = Call(name="circular_pad", values=values, outputs=[result], lineage_of=self.tracer.lineage_of)
        if call.lineages:
            self.tracer.observe(call, pointwise=False)
        else:
            self.tracer.observe_constant(call)
        return result

    def dropout(self, call: DropoutCall, func: Any, args: Any, kwargs: Any) -> Any:
        if self.tracer.lineage_of(call.input) is None:
            return func(*args, **kwargs)
        result = self.unobserved(func, args, kwargs)
        if result is call.input and not call.in_place:
            # A tensor of its own, so that `x + F.dropout(x)` has two sources.
            result = self.unobserved(torch.ops.aten.alias.default, (result,), {})
        self.tracer.observe_dropout(call, result)
        return result

    def unobserved(self, func: Any, args: Any, kwargs: Any) -> Any:
        self.tracer.paused = True
        try:
            return func(*args, **kwargs)
        finally:
            self.tracer.paused = False


def dropout_call(call: DropoutCall, output: Tensor, lineage_of: Callable[[Tensor], Lineage | None]) -> Call:
    return Call(name="dropout", values={"input": call.input}, outputs=[output], lineage_of=lineage_of)
