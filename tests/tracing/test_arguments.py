"""Several inputs, keywords, nested inputs and outputs, and integer inputs."""

import collections
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import convsmith as cs
from convsmith.errors import ModuleError, ShapeError
from convsmith.net.tables import totals
from convsmith.tracing.arguments import tensors_of
from convsmith.tracing.trace import trace

IMAGE = torch.rand(1, 3, 8, 8)
VECTOR = torch.rand(1, 5)


class Both(nn.Module):
    """A map and a vector."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.line = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(5, 4)

    def forward(self, x: Tensor, y: Tensor, *, scale: float = 1.0, mask: Tensor | None = None) -> Tensor:
        maps: Tensor = self.conv(x) + self.line(y)[:, :, None, None] * scale
        return maps if mask is None else maps * mask


class Nested(nn.Module):
    """The same inputs inside another value."""

    def __init__(self, pick: Any) -> None:
        super().__init__()
        self.both, self.pick = Both(), pick

    def forward(self, inputs: Any) -> Any:
        return self.both(*self.pick(inputs))


class Pair(NamedTuple):
    x: Tensor
    y: Tensor


@dataclass(frozen=True)
class Fields:
    x: Tensor
    y: Tensor
    name: str = "a"


def counted(net: nn.Module, *args: Any, **kwargs: Any) -> tuple[int, int]:
    """Return parameters and MACs by PyTorch's counter, of a real run."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net.eval()(*args, **kwargs)
    return sum(each.numel() for each in net.parameters()), counter.get_total_flops() // 2


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((IMAGE, VECTOR), {}),
        ([IMAGE, VECTOR], {"scale": 2.0}),
        ((IMAGE,), {"y": VECTOR, "mask": torch.ones(1, 4, 8, 8)}),
        ((), {"x": IMAGE, "y": VECTOR}),
    ],
)
def test_arguments_and_keywords(args: Any, kwargs: dict[str, Any]) -> None:
    net = Both()
    analysis = cs.summary(net, args=args, kwargs=kwargs)
    assert (analysis.parameters, analysis.macs) == counted(net, *args, **kwargs)
    assert analysis.input_shape == (3, 8, 8)
    assert analysis.receptive_field == 3
    assert analysis.unit == "image"


@pytest.mark.parametrize(
    ("value", "pick"),
    [
        ({"x": IMAGE, "y": VECTOR}, lambda each: (each["x"], each["y"])),
        (collections.OrderedDict(x=IMAGE, y=VECTOR), lambda each: (each["x"], each["y"])),
        ([IMAGE, VECTOR], tuple),
        ((IMAGE, (VECTOR,)), lambda each: (each[0], each[1][0])),
        (Pair(IMAGE, VECTOR), lambda each: (each.x, each.y)),
        (Fields(IMAGE, VECTOR), lambda each: (each.x, each.y)),
        ({"a": [Fields(IMAGE, VECTOR)]}, lambda each: (each["a"][0].x, each["a"][0].y)),
    ],
)
def test_nested_inputs(value: Any, pick: Any) -> None:
    net = Nested(pick)
    analysis = cs.summary(net, args=(value,))
    assert (analysis.parameters, analysis.macs) == counted(net, value)
    assert [each.shape for each in analysis.inputs] == [(3, 8, 8), (5,)]
    assert analysis.receptive_field == 3


def test_shapes_equal_tensors() -> None:
    expected = cs.summary(Both(), args=(IMAGE, VECTOR)).rows
    assert cs.summary(Both(), [(3, 8, 8), (5,)]).rows == expected
    assert cs.summary(Both(), ["3x8x8", "y=5"]).rows == expected


class Siamese(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 4, 5)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return torch.cat([self.body(left), self.body(right)], 1)


def test_two_images_share_their_axes() -> None:
    analysis = trace(Siamese(), [(3, 16, 16), (3, 16, 16)])
    assert analysis.receptive_field == 5
    assert analysis.macs == 2 * 4 * 3 * 25 * 12 * 12


@pytest.mark.parametrize("dtype", ["int64", "int32"])
def test_integer_inputs(dtype: str) -> None:
    net = nn.Sequential(nn.Embedding(100, 8), nn.Flatten(), nn.Linear(16 * 8, 10))
    analysis = trace(net, [f"16:{dtype}"])
    assert (analysis.parameters, analysis.macs) == counted(
        net, torch.zeros(1, 16, dtype=getattr(torch, dtype))
    )
    assert analysis.receptive_field is None
    assert not analysis.final_receptive_field.unknown
    assert analysis.unit == "sample"
    with pytest.raises(ModuleError) as caught:
        trace(net, (16,))
    assert caught.value.problems[0].fix == "indices are integers: write --input 16:int64"


class Scalars(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor(2.0))
        self.line = nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Any:
        return self.line(x * self.a) if x.dim() else x * self.a + self.line.bias


@pytest.mark.parametrize("shape", [(), (5,), (1, 5), (3, 5), (2, 3, 5), (1, 2, 3, 4, 5, 5)])
def test_tensors_of_any_number_of_dimensions(shape: tuple[int, ...]) -> None:
    net, x = Scalars(), torch.rand(shape)
    analysis = cs.summary(net, args=(x,))
    parameters, macs = counted(net, x)
    assert (analysis.macs, analysis.parameters) == (macs, parameters)
    assert repr(analysis)
    assert totals(analysis)
    assert cs.summary(net, args=x).rows == analysis.rows


@pytest.mark.parametrize("text", ["scalar", "scalar:float32"])
def test_one_value_for_each_sample(text: str) -> None:
    analysis = trace(nn.Identity(), [text])
    assert (analysis.inputs, analysis.rows[0].out_shape) == ((cs.Input(shape=()),), ())


def test_a_batch_is_counted_whole() -> None:
    net = Both()
    batch = (IMAGE.expand(4, -1, -1, -1), VECTOR.expand(4, -1))
    analysis = cs.summary(net, args=batch)
    assert (analysis.parameters, analysis.macs) == counted(net, *batch)
    assert (analysis.unit, analysis.receptive_field) == ("call", 3)
    assert analysis.activations == 4 * cs.summary(net, args=(IMAGE, VECTOR)).activations


@pytest.mark.parametrize(
    ("args", "kwargs", "what"),
    [
        ((IMAGE,), {}, "forward(x, y, scale, mask) cannot be called with 1 input: missing a required"),
        ((IMAGE, VECTOR, IMAGE), {}, "too many positional arguments"),
        ((IMAGE, VECTOR), {"mass": IMAGE}, "unexpected keyword argument 'mass'"),
    ],
)  # fmt: skip
def test_arguments_that_do_not_fit(args: Any, kwargs: dict[str, Any], what: str) -> None:
    with pytest.raises(ModuleError) as caught:
        cs.summary(Both(), args=args, kwargs=kwargs)
    assert what in str(caught.value)
    assert caught.value.problems[0].fix


@pytest.mark.parametrize(
    "arguments",
    [{}, {"input_shape": ()}, {"args": ()}, {"args": (1, "a")}, {"input_shape": (3, 8, 8), "args": (IMAGE,)},
     {"args": [{}]}],
)  # fmt: skip
def test_calls_without_an_input(arguments: dict[str, Any]) -> None:
    with pytest.raises(ShapeError) as caught:
        cs.summary(Both(), **arguments)
    assert caught.value.problems[0].fix


def test_channels_last_by_mistake_is_named() -> None:
    with pytest.raises(ModuleError) as caught:
        trace(nn.Conv2d(3, 8, 3), (32, 32, 3))
    assert caught.value.problems[0].fix.endswith("write --input 3x32x32")


class Out(nn.Module):
    """Returns its map in another value."""

    def __init__(self, wrap: Any) -> None:
        super().__init__()
        self.conv, self.wrap = nn.Conv2d(3, 4, 3), wrap

    def forward(self, x: Tensor) -> Any:
        return self.wrap(self.conv(x))


@dataclass
class Prediction:
    logits: Tensor


@pytest.mark.parametrize(
    "wrap",
    [
        lambda y: {"logits": y},
        lambda y: (y, None, 3),
        lambda y: Pair(y, y),
        Prediction,
        lambda y: torch.distributions.Normal(y, torch.ones(())),
        lambda y: torch.distributions.Categorical(logits=y.flatten(1)),
        lambda y: torch.distributions.Independent(torch.distributions.Normal(y, y.exp()), 1),
        lambda _: None,
    ],
)
def test_outputs_of_any_type(wrap: Any) -> None:
    before = torch.distributions.Distribution._validate_args
    analysis = trace(Out(wrap), (3, 8, 8))
    assert (analysis.parameters, analysis.macs) == (112, 4 * 3 * 9 * 36)
    assert torch.distributions.Distribution._validate_args is before


def test_tensors_in_any_value() -> None:
    found = list(
        tensors_of([Fields(IMAGE, VECTOR), {"a": (VECTOR,)}, torch.distributions.Normal(VECTOR, VECTOR), 3])
    )
    assert len(found) == 5


class Called(nn.Module):
    """Calls its layer by keyword."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(input=self.conv(input=x))  # type: ignore[no-any-return]


def test_layers_called_by_keyword_have_their_rows() -> None:
    analysis = trace(Called(), (3, 8, 8))
    assert [row.name for row in analysis.rows] == ["conv", "norm"]
    assert (analysis.macs, analysis.receptive_field, analysis.unused) == (4 * 3 * 9 * 36, 3, ())
