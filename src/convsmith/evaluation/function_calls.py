"""Watch the calls of PyTorch's functions and methods in a forward pass, and replace their results."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode


@dataclass(frozen=True, kw_only=True)
class FunctionCall:
    """A call of a function or method of PyTorch that returned a tensor.

    Calls within it are not seen. Layers call functions: `nn.ReLU` calls `relu`.

    Attributes:
        number: Counts the calls of the pass. Equal passes have equal numbers.
        function: What was called.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        result: The tensor that it returned.
    """

    number: int
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    result: Tensor

    @property
    def name(self) -> str:
        """The name of the function, as `relu` or `mean`."""
        return getattr(self.function, "__name__", "")

    @property
    def source(self) -> Tensor | None:
        """The first tensor among its arguments."""
        values = (*self.args, *self.kwargs.values())
        return next((value for value in values if isinstance(value, Tensor)), None)


class FunctionCalls(TorchFunctionMode):
    """A context in which every call is visited.

    Args:
        visit: Takes a call and returns its result, or another tensor in its place.

    Example:
        >>> import torch
        >>> names = []
        >>> with FunctionCalls(lambda call: names.append(call.name) or call.result):
        ...     _ = torch.nn.functional.relu(torch.zeros(2)).mean()
        >>> names
        ['zeros', 'relu', 'mean']
    """

    def __init__(self, visit: Callable[[FunctionCall], Tensor]) -> None:
        super().__init__()
        self.visit = visit
        self.count = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if not isinstance(result, Tensor):
            return result
        call = FunctionCall(number=self.count, function=func, args=args, kwargs=kwargs, result=result)
        self.count += 1
        return self.visit(call)
