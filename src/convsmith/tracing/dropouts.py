"""Dropouts: layers and functions, and whether they are active in training.

A module is traced in evaluation mode, where a dropout returns its input. Whether one is active in training
shows in a second, plain pass in training mode.
"""

import contextlib
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import CodeType, FunctionType
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode

from convsmith.net.rows import Location
from convsmith.tracing.arguments import Arguments
from convsmith.tracing.members import named_modules

LAYERS = nn.modules.dropout._DropoutNd  # noqa: SLF001 - the base class of all of them
INACTIVE = "it is off in training too"
_NAMES: dict[Callable[..., Any], str] = {
    functional.dropout: "Dropout",
    functional.dropout1d: "Dropout1d",
    functional.dropout2d: "Dropout2d",
    functional.dropout3d: "Dropout3d",
    functional.alpha_dropout: "AlphaDropout",
    functional.feature_alpha_dropout: "FeatureAlphaDropout",
    torch.dropout: "Dropout",
    torch.dropout_: "Dropout",
    torch.feature_dropout: "Dropout2d",
    torch.feature_dropout_: "Dropout2d",
    torch.alpha_dropout: "AlphaDropout",
    torch.alpha_dropout_: "AlphaDropout",
    torch.feature_alpha_dropout: "FeatureAlphaDropout",
    torch.feature_alpha_dropout_: "FeatureAlphaDropout",
}
# The default of the functions.
_PROBABILITY = 0.5
_DEEPEST = 3


@dataclass(frozen=True, kw_only=True)
class DropoutCall:
    """A call of a dropout as a function.

    Attributes:
        operation: The class in `torch.nn` that does the same.
        input: What values are dropped from.
        probability: That of a value to be dropped.
        training: Whether values are dropped in this call.
        in_place: Whether the input is overwritten.
    """

    operation: str
    input: Tensor
    probability: float
    training: bool
    in_place: bool = False

    @classmethod
    def of(cls, func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Self | None:
        """Return a call of a function of PyTorch as one of a dropout; None for other functions."""
        name = _NAMES.get(func)
        if name is None:
            return None
        values = {**dict(zip(("input", "p", "training", "inplace"), args, strict=False)), **kwargs}
        training = values.get("training", values.get("train", True))
        return cls(
            operation=name,
            input=values["input"],
            probability=float(values.get("p", _PROBABILITY)),
            training=bool(training),
            in_place=bool(values.get("inplace")) or func.__name__.endswith("_"),
        )


# The path of the running module, the line of the call, and how many such calls were before.
Key = tuple[str, Location | None, int]


@dataclass(frozen=True, kw_only=True)
class TrainingCall:
    """A dropout in a pass in training mode.

    Attributes:
        key: That of the call.
        operation: The class in `torch.nn`.
        probability: That of a value to be dropped.
        training: Whether values are dropped.
        layer: The path of the layer; empty for a function.
        after: The path of the layer of PyTorch that was called before, and how often it had been called.
    """

    key: Key
    operation: str
    probability: float
    training: bool = True
    layer: str = ""
    after: tuple[str, int] = ("", 0)


@dataclass(kw_only=True)
class TrainingPass:
    """What a pass in training mode shows.

    Attributes:
        dropouts: The dropouts, functions and layers.
        called: The paths of the modules that were called.
    """

    dropouts: list[TrainingCall] = field(default_factory=list)
    called: set[str] = field(default_factory=set)

    def is_active(self, key: Key) -> bool:
        """Whether a dropout is active in training; one that the pass did not reach counts as active."""
        return next((each.training for each in self.dropouts if each.key == key), True)


class Keys:
    """Numbers the calls of one line in one module."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, Location | None]] = Counter()

    def next(self, path: str, location: Location | None) -> Key:
        self._counts[path, location] += 1
        return path, location, self._counts[path, location]


def asks_for_mode(module: nn.Module) -> bool:
    """Whether the user's classes in a module read `training`: they may compute otherwise in training."""
    modules = named_modules(module).values()
    kinds = {type(each) for each in modules}
    values = (value for each in modules for value in vars(each).values())
    functions = (value for value in values if isinstance(value, FunctionType))
    return any(map(_reads_mode, (kind for kind in kinds if not is_builtin(kind)))) or any(
        map(_names_mode, functions)
    )


def is_builtin(kind: type) -> bool:
    return kind.__module__.startswith("torch.nn.")


def _reads_mode(kind: type) -> bool:
    own = (each for each in kind.__mro__ if each.__module__.partition(".")[0] != "torch")
    return any(_names_mode(value) for each in own for value in vars(each).values())


def _names_mode(function: object) -> bool:
    code = getattr(function, "__code__", None)
    return code is not None and any("training" in each.co_names for each in _codes(code, _DEEPEST))


def _codes(code: CodeType, depth: int) -> Iterator[CodeType]:
    yield code
    if depth:
        for each in code.co_consts:
            if isinstance(each, CodeType):
                yield from _codes(each, depth - 1)


def off_in_training(module: nn.Module) -> set[str]:
    """Return the paths of the dropout layers that `train()` leaves in evaluation mode; it is changed."""
    with contextlib.suppress(Exception):
        module.train()
    return {
        path for path, each in named_modules(module).items()
        if isinstance(each, LAYERS) and not each.training
    }  # fmt: skip


class _Recorder(TorchFunctionMode):
    def __init__(self, note: Callable[[DropoutCall], None]) -> None:
        super().__init__()
        self.note = note

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if call := DropoutCall.of(func, args, kwargs):
            self.note(call)
        return func(*args, **kwargs)


def run_in_training(
    module: nn.Module,
    arguments: Arguments,
    mode: FakeTensorMode,
    device: torch.device,
    caller: Callable[[], Location | None],
) -> TrainingPass:
    """Run a module in training mode; layers of PyTorch but dropouts stay in evaluation mode.

    Whatever it raises ends the pass.

    Args:
        module: It is put into training mode.
        arguments: Those of its forward pass.
        mode: That of fake tensors.
        device: Of its weights.
        caller: Returns the user's line that runs.
    """
    watch = _Watch(module, caller)
    hooks = [register_module_forward_pre_hook(watch.enter), register_module_forward_hook(watch.leave)]
    try:
        with contextlib.suppress(Exception), warnings.catch_warnings(), torch.no_grad(), mode:
            warnings.simplefilter("ignore")
            module.train()
            for each in named_modules(module).values():
                if is_builtin(type(each)) and not isinstance(each, LAYERS):
                    each.training = False
            fake = arguments.zeros(device)
            with _Recorder(watch.note):
                module(*fake.args, **fake.kwargs)
    finally:
        for hook in hooks:
            hook.remove()
    return watch.result


class _Watch:
    """Notes the dropouts of a pass, and what is called."""

    def __init__(self, module: nn.Module, caller: Callable[[], Location | None]) -> None:
        self.paths = {id(each): path for path, each in named_modules(module).items()}
        self.caller = caller
        self.running: list[nn.Module] = []
        self.counts: Counter[str] = Counter()
        self.last = ""
        self.result, self.keys = TrainingPass(), Keys()

    def note(self, call: DropoutCall) -> None:
        module = self.running[-1] if self.running else None
        path = self.paths.get(id(module), "")
        self.result.dropouts.append(
            TrainingCall(
                key=self.keys.next(path, self.caller()),
                operation=call.operation,
                probability=call.probability,
                training=call.training,
                layer=path if isinstance(module, LAYERS) else "",
                after=(self.last, self.counts[self.last]),
            )
        )

    def enter(self, module: nn.Module, _: Any) -> None:
        self.running.append(module)
        self.result.called.add(self.paths.get(id(module), ""))

    def leave(self, module: nn.Module, *_: Any) -> None:
        self.running.pop()
        if is_builtin(type(module)) and not isinstance(module, LAYERS) and not module._modules:  # noqa: SLF001
            self.last = self.paths.get(id(module), "")
            self.counts[self.last] += 1
