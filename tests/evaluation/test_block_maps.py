"""Which maps stand for the blocks of a net, and that they are the outputs of these."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from convsmith.evaluation.block_maps import MOST_BLOCKS, block_maps
from convsmith.net.arithmetic import analyze
from convsmith.tracing.trace import trace
from helpers import hand_written, modules
from helpers.evaluation import small_net

Forward = Callable[[Tensor], Tensor]


def image(size: int = 16) -> Tensor:
    return torch.randn(3, size, size, generator=torch.Generator().manual_seed(0))


def names_and_sizes(net: nn.Module, size: int = 16) -> list[tuple[str, int]]:
    maps = block_maps(net.eval(), trace(net, (3, size, size)), image(size))
    return [(each.name, each.maps_CHW.shape[1]) for each in maps]


def test_blocks_of_the_notation() -> None:
    planned, net = small_net("C12 C6:s2 / C4 M2 / G F5", activation="relu")
    maps = block_maps(net, analyze(planned), image())
    assert [(each.name, *each.maps_CHW.shape) for each in maps] == [("block1", 6, 8, 8), ("block2", 4, 4, 4)]
    with torch.no_grad():
        first = net[0](image()[None])
        assert torch.equal(maps[0].maps_CHW, first[0])
        assert torch.equal(maps[1].maps_CHW, net[1](first.clone())[0])
    assert not any(module._forward_hooks for module in net.modules())


def test_many_blocks_of_the_notation_are_all_shown() -> None:
    planned, net = small_net(" / ".join(["C4"] * 15 + ["G F5"]))
    assert len(block_maps(net, analyze(planned), image())) == 15


@pytest.mark.parametrize(
    ("create", "expected"),
    [
        (
            hand_written.ConvBlocks,
            [("convblock1", 16), ("convblock2", 16), ("transition1", 8), ("convblock3", 6)],
        ),
        (hand_written.ResNet, [("layer1", 8), ("layer2", 4), ("layer3", 2), ("layer4", 2)]),
        # Layers and functions alone, and layers in one `nn.Sequential`.
        (hand_written.FunctionsOnly, [("", 16), ("", 8)]),
        (hand_written.OneSequential, [("", 16), ("", 8)]),
        # More than a page shows: the last of each size.
        (hand_written.MobileNet, [("layers.1", 16), ("layers.5", 8), ("layers.14", 4)]),
    ],
)
def test_blocks_of_modules(create: Callable[[], nn.Module], expected: list[tuple[str, int]]) -> None:
    assert names_and_sizes(hand_written.seeded(create)) == expected


def test_a_body_beside_a_stem_is_shown_by_its_blocks() -> None:
    expected = ["patches", *(f"mixers.{index}" for index in range(4))]
    assert [name for name, _ in names_and_sizes(modules.ConvMixer())] == expected
    assert [name for name, _ in names_and_sizes(modules.ResNet20())] == ["stem", "stage1", "stage2", "stage3"]


def test_blocks_in_a_list() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList([hand_written.convblock(3, 4), hand_written.convblock(4, 5)])

        def forward(self, x: Tensor) -> Tensor:
            for block in self.blocks:
                x = block(x)
            return x.mean((2, 3))

    assert names_and_sizes(Net()) == [("blocks.0", 16), ("blocks.1", 16)]


def test_the_outputs_are_those_of_the_layers_and_functions() -> None:
    resnet = hand_written.seeded(hand_written.ResNet)
    maps = block_maps(resnet, trace(resnet, (3, 16, 16)), image())
    plain = hand_written.seeded(hand_written.FunctionsOnly)
    last = block_maps(plain, trace(plain, (3, 16, 16)), image())[-1]
    with torch.no_grad():
        assert torch.equal(maps[-1].maps_CHW, resnet.features(image()[None])[0])
        # After the activation, which is a function.
        assert torch.equal(last.maps_CHW, plain.features(image()[None])[0])


def test_attention_is_no_map() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches = nn.Conv2d(3, 8, 4, stride=4)
            self.fc = nn.Linear(8, 10)

        def forward(self, x: Tensor) -> Tensor:
            tokens = self.patches(x).flatten(2).mT
            weights = (tokens[:, None] @ tokens[:, None].mT).softmax(-1)
            logits: Tensor = self.fc((weights @ tokens[:, None]).mean((1, 2)))
            return logits

    assert names_and_sizes(Net()) == [("", 4)]


def test_a_block_that_is_called_twice_counts_once() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.twice = hand_written.convblock(3, 4), hand_written.convblock(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            maps: Tensor = self.twice(self.twice(self.first(x)))
            return maps.mean((2, 3))

    net = hand_written.seeded(Net)
    maps = block_maps(net, trace(net, (3, 16, 16)), image())
    assert [each.name for each in maps] == ["first", "twice"]
    with torch.no_grad():
        assert torch.equal(maps[1].maps_CHW, net.twice(net.twice(net.first(image()[None])))[0])


def test_nets_that_drop_a_batch_of_one() -> None:
    net = hand_written.seeded(hand_written.SqueezeAndExcitation)
    with pytest.raises((RuntimeError, IndexError)):
        torch.log_softmax(net(image()[None]), 1)
    assert [size for _, size in names_and_sizes(net)] == [16, 8]


def test_at_most_twelve_sizes() -> None:
    layers = [nn.Conv2d(3 if index == 0 else 2, 2, 2) for index in range(15)]
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    sizes = [size for _, size in names_and_sizes(net, size=20)]
    assert sizes == list(range(5 + MOST_BLOCKS - 1, 4, -1))
