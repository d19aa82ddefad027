"""Stand-ins: nothing happens until one is used."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional

import pytest
import torch
from torch.nn import functional

from convsmith.modules.stand_ins import PartialModule, StandIn, StandInError, StandInModule

MODULE = StandInModule("torchvision", "torchvision is not installed")


def test_what_a_stand_in_allows() -> None:
    net: Any = MODULE.models.resnet18

    def function(weights: Optional[net] = net, other: net | None = None, *rest: net[3]) -> net:  # noqa: UP045
        return weights

    assert function() is net
    assert not isinstance(3, net)
    assert net is not None
    assert net == net  # noqa: PLR0124 - as a key
    assert {net: 1}[net] == 1
    assert repr(net) == "<torchvision.models.resnet18: torchvision is not installed>"
    namespace: dict[str, Any] = {"__builtins__": {"__import__": lambda *_: MODULE}}
    exec("from torchvision import *", namespace)  # noqa: S102 - a user's file
    assert set(namespace) == {"__builtins__"}


def decorate(value: Any) -> None:
    @value  # type: ignore[untyped-decorator]
    def function() -> None: ...


def derive(value: Any) -> None:
    class Net(value):  # type: ignore[misc]
        pass


@pytest.mark.parametrize(
    "use",
    [
        lambda value: value(),
        decorate,
        derive,
        lambda value: value + 1,
        lambda value: 1 - value,
        lambda value: -value,
        lambda value: value < 1,
        list,
        len,
        lambda value: 1 in value,
        bool,
        int,
        range,
        Path,
        lambda value: setattr(value, "x", 1),
        lambda value: value.__setitem__("x", 1),
        lambda value: value.__enter__(),
        functional.relu,
        lambda value: torch.zeros(2) + value,
    ],
)
def test_each_use_names_what_is_missing(use: Callable[[Any], None]) -> None:
    with pytest.raises(StandInError) as caught:
        use(MODULE.models.resnet18)
    assert str(caught.value) == "torchvision.models.resnet18 is needed, and torchvision is not installed"
    assert caught.value.name == "torchvision"


def test_special_names_are_absent() -> None:
    for value in (MODULE, MODULE.models):
        assert not hasattr(value, "__file__")
    assert copy.copy(StandIn("a", "b")) is not None


def test_a_partial_module_has_its_own_names() -> None:
    import collections

    partial = PartialModule(collections, {"Iterable": "Python does not have it"})
    assert partial.OrderedDict is collections.OrderedDict
    with pytest.raises(StandInError, match="Iterable is needed, and Python does not have it"):
        partial.Iterable()
    with pytest.raises(AttributeError):
        _ = partial.nothing
