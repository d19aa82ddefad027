"""Weights, buffers and positions have values while shapes are traced; what the image changes has none."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from convsmith.errors import ModuleError
from convsmith.tracing.trace import trace
from helpers import measured
from helpers.modules import Apply


class Memory(nn.Module):
    """Writes a map into a tensor of its own and reads it again."""

    def __init__(self, write: Callable[[Tensor, Tensor], Any], *, size: int = 32, registered: bool) -> None:
        super().__init__()
        self.write = write
        self.first, self.last = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3)
        if registered:
            self.register_buffer("memory", torch.zeros(1, 4, size, size))
        else:
            self.memory = torch.zeros(1, 4, size, size)

    def forward(self, x: Tensor) -> Tensor:
        self.write(self.memory, self.first(x))
        result: Tensor = self.last(self.memory)
        return result


WRITES: dict[str, tuple[Callable[[Tensor, Tensor], Any], int]] = {
    "copy": (lambda memory, y: memory.copy_(y), 32),
    "sum": (lambda memory, y: memory.add_(y), 32),
    "assignment": (lambda memory, y: memory.__setitem__(slice(None), y), 32),
    "a part": (lambda memory, y: memory[:, :, 1:-1, 1:-1].copy_(y), 34),
    "a part of a part": (lambda memory, y: memory[:, :, 1:-1][..., 1:-1].mul_(0.5).add_(y), 34),
}


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize("registered", [True, False])
def test_a_map_in_a_buffer_depends_on_the_image(name: str, registered: bool) -> None:
    write, size = WRITES[name]
    analysis = trace(Memory(write, size=size, registered=registered), (3, 32, 32))
    assert analysis.receptive_field == 5
    assert analysis.unused_rows == ()


def test_the_tensors_of_the_module_keep_their_values() -> None:
    net = Memory(lambda memory, y: memory.copy_(y), registered=False)
    trace(net, (3, 32, 32))
    assert not net.memory.any()


class Settings(nn.Module):
    """Branches on buffers and weights."""

    repeats: Tensor

    def __init__(self, repeats: int) -> None:
        super().__init__()
        self.conv, self.wide = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 9)
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.register_buffer("repeats", torch.tensor(repeats))

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(int(self.repeats)):
            x = functional.avg_pool2d(x, 3, 1)
        result: Tensor = self.wide(x) if self.repeats > 5 or (self.scale * 2).sum() < 0 else self.conv(x)
        return result


@pytest.mark.parametrize("repeats", [0, 1, 3])
def test_a_forward_pass_may_branch_on_buffers_and_weights(repeats: int) -> None:
    analysis = trace(Settings(repeats), (3, 32, 32))
    assert analysis.receptive_field == 3 + 2 * repeats
    assert dict(analysis.unused)["wide.weight"] == 4 * 3 * 81


class Counter(nn.Module):
    """Branches on a buffer that the image has changed."""

    level: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("level", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.level.copy_(x.mean())
        return x if self.level > 0 else -x


def test_a_branch_on_a_changed_buffer_is_refused() -> None:
    with pytest.raises(ModuleError, match="branches on the values of the image"):
        trace(Counter(), (3, 8, 8))


POSITIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "a range": lambda y: y[:, :, torch.arange(0, 64, 2)],
    "a range, backwards": lambda y: y[..., torch.arange(63, -1, -1)],
    "a list": lambda y: y[:, :, [20, 21, 24, 22, 23, 27, 30]],
    "from the end": lambda y: y[:, :, [-20, -21, -24, 40]],
    "index select": lambda y: y.index_select(3, torch.tensor([25, 23, 29, 29, 21, 22])),
    "a known mask": lambda y: y[:, :, torch.arange(64) % 3 == 0],
    "all rows but one": lambda y: y[:, :, torch.arange(64) != 30],
}


@pytest.mark.parametrize("name", POSITIONS)
def test_known_positions_by_gradients(name: str) -> None:
    net = Apply(lambda x, a, b: b(POSITIONS[name](a(x))), nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3))
    sizes = trace(net, (3, 64, 64)).final_receptive_field.sizes
    images = torch.rand(1, 3, 64, 64, dtype=torch.float64, requires_grad=True)
    maps = measured.positive(net)(images)
    for axis, size in zip((2, 3), sizes, strict=True):
        others = [each for each in range(4) if each != axis]
        extents = []
        for line in maps.sum(others):
            (gradient,) = torch.autograd.grad(line, images, retain_graph=True)
            pixels = gradient.abs().sum(others).nonzero().flatten()
            if pixels[0] > 0 and pixels[-1] < 63:
                extents.append(int(pixels[-1] - pixels[0]) + 1)
        assert size == max(extents)


class Ensemble(nn.Module):
    """Layers inside `torch.vmap`, whose tensors are wrapped."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.last = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = torch.vmap(lambda image: self.conv(image.unsqueeze(0)).squeeze(0))(x)
        result: Tensor = self.last(torch.vmap(functional.relu, 1, 1)(y))
        return result


def test_layers_inside_vmap() -> None:
    analysis = trace(Ensemble(), (3, 32, 32))
    assert analysis.receptive_field == 5
    assert analysis.macs == 30 * 30 * 4 * 27 + 28 * 28 * 4 * 36
    assert analysis.unused_rows == ()
