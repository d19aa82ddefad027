"""Dropouts: layers and functions, and whether they are active in training.

A module is traced in evaluation mode, where a dropout returns its input. Whether one is active in training
shows in a second, plain pass in training mode.
"""

import contextlib
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import CodeType
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


@dataclass(kw_only=True)
class TrainingPass:
    """What a pass in training mode shows.

    Attributes:
        dropouts: The functional dropouts, and whether each is active.
        called: The paths of the modules that were called.
        complete: Whether the pass reached its end.
    """

    dropouts: dict[Key, bool] = field(default_factory=dict)
    called: set[str] = field(default_factory=set)
    complete: bool = False

    def is_active(self, key: Key) -> bool:
        """Whether a dropout is active in training; one that the pass did not reach counts as active."""
        return self.dropouts.get(key, True)


class Keys:
    """Numbers the calls of one line in one module."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, Location | None]] = Counter()

    def next(self, path: str, location: Location | None) -> Key:
        self._counts[path, location] += 1
        return path, location, self._counts[path, location]


def asks_for_mode(module: nn.Module) -> bool:
    """Whether the user's classes in a module read `training`: they may compute otherwise in training."""
    kinds = {type(each) for each in named_modules(module).values()}
    return any(_reads_mode(kind) for kind in kinds if not is_builtin(kind))


def is_builtin(kind: type) -> bool:
    return kind.__module__.startswith("torch.nn.")


def _reads_mode(kind: type) -> bool:
    functions = (
        value for each in kind.__mro__ if each.__module__.partition(".")[0] != "torch"
        for value in vars(each).values()
    )  # fmt: skip
    codes = (getattr(each, "__code__", None) for each in functions)
    return any("training" in each.co_names for code in codes if code for each in _codes(code, _DEEPEST))


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
    paths = {id(each): path for path, each in named_modules(module).items()}
    running: list[str] = []
    found, keys = TrainingPass(), Keys()

    def note(call: DropoutCall) -> None:
        found.dropouts[keys.next(running[-1] if running else "", caller())] = call.training

    def enter(each: nn.Module, _: Any) -> None:
        running.append(paths.get(id(each), ""))
        found.called.add(running[-1])

    def leave(*_: Any) -> None:
        running.pop()

    hooks = [register_module_forward_pre_hook(enter), register_module_forward_hook(leave)]
    try:
        with contextlib.suppress(Exception), warnings.catch_warnings(), torch.no_grad(), mode:
            warnings.simplefilter("ignore")
            module.train()
            for each in named_modules(module).values():
                if is_builtin(type(each)) and not isinstance(each, LAYERS):
                    each.training = False
            fake = arguments.zeros(device)
            with _Recorder(note):
                module(*fake.args, **fake.kwargs)
            found.complete = True
    finally:
        for hook in hooks:
            hook.remove()
    return found
