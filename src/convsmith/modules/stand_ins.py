"""Stand-ins for what a user's file imports and what is not there: an error, but only where it is used.

Most files import packages that their net does not need (torchvision, torchsummary, tqdm). A stand-in can be
imported, be looked up in, be a default value or an annotation. Whatever else is done with it raises
`StandInError`.
"""

from types import ModuleType
from typing import Any, NoReturn

# What fails: calls (decorators among them), base classes, arithmetic, comparison, loops, and so on.
_USES = """
    __call__ __mro_entries__ __iter__ __next__ __len__ __bool__ __contains__ __setitem__ __delitem__ __enter__
    __exit__ __await__ __index__ __int__ __float__ __complex__ __round__ __fspath__ __neg__ __pos__ __abs__
    __invert__ __lt__ __le__ __gt__ __ge__
"""
_OPERATORS = """
    add sub mul matmul truediv floordiv mod divmod pow lshift rshift and xor
"""


class StandInError(ModuleNotFoundError):
    """Something is used that could not be imported; the text names it and the reason."""


class StandIn:
    """Stands for a class, function or value of something that could not be imported."""

    def __init__(self, name: str, reason: str) -> None:
        """Create a stand-in.

        Args:
            name: What it stands for, such as "torchvision.models.resnet18".
            reason: Why it is not there, such as "torchvision is not installed".
        """
        vars(self).update(stand_in_name=name, stand_in_reason=reason)

    def __getattr__(self, name: str) -> "StandIn":
        if name.startswith("__"):
            raise AttributeError(name)
        return StandIn(f"{vars(self)['stand_in_name']}.{name}", vars(self)["stand_in_reason"])

    def __getitem__(self, key: object) -> "StandIn":
        return StandIn(f"{vars(self)['stand_in_name']}[...]", vars(self)["stand_in_reason"])

    def __setattr__(self, name: str, value: object) -> None:
        raise stand_in_error(self)

    def __or__(self, other: object) -> "StandIn":
        return self

    __ror__ = __or__

    def __instancecheck__(self, instance: object) -> bool:
        return False

    def __subclasscheck__(self, subclass: type) -> bool:
        return False

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> NoReturn:
        for each in (*args, *(kwargs or {}).values()):
            if isinstance(each, StandIn):
                raise stand_in_error(each)
        raise StandInError(f"{func.__name__} is called with something that is not installed")

    def __repr__(self) -> str:
        return f"<{vars(self)['stand_in_name']}: {vars(self)['stand_in_reason']}>"


def _use(self: StandIn, *args: object, **kwargs: object) -> NoReturn:
    del args, kwargs
    raise stand_in_error(self)


for _name in (
    *_USES.split(),
    *(f"__{side}{each}__" for each in _OPERATORS.split() for side in ("", "r")),
):
    setattr(StandIn, _name, _use)


class StandInModule(ModuleType):
    """Stands for a module that could not be imported."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name)
        self.stand_in_reason = reason
        # A star import takes nothing.
        self.__all__: list[str] = []
        self.__path__: list[str] = []

    def __getattr__(self, name: str) -> StandIn:
        if name.startswith("__"):
            raise AttributeError(name)
        return StandIn(f"{self.__name__}.{name}", self.stand_in_reason)


class PartialModule(ModuleType):
    """A module that exists, with stand-ins for the names that it does not have."""

    def __init__(self, module: ModuleType, reasons: dict[str, str]) -> None:
        super().__init__(module.__name__)
        self._module, self._reasons = module, reasons

    def __getattr__(self, name: str) -> Any:
        if name in self._reasons:
            return StandIn(f"{self._module.__name__}.{name}", self._reasons[name])
        return getattr(self._module, name)


def stand_in_error(value: StandIn) -> StandInError:
    name, reason = vars(value)["stand_in_name"], vars(value)["stand_in_reason"]
    return StandInError(f"{name} is needed, and {reason}", name=name.partition(".")[0])
