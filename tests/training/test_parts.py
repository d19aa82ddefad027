"""Blocks and head of nets of well-known families, and which layers the fields of a recipe name."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from convsmith.errors import RecipeError
from convsmith.modules.architecture import architecture_of
from convsmith.recipes.loader import load
from convsmith.training.config import LayerRate, TrainConfig
from convsmith.training.freezing import net_parts
from convsmith.training.parts import describe, parts_of
from helpers.modules import DenseBlockNet, InceptionNet, ResNet20
from helpers.transformer import Transformer

RESNET = ["conv1", "bn1"] + [
    f"layer{stage}.{block}.{name}"
    for stage in (1, 2)
    for block in (0, 1)
    for name in ("conv1", "bn1", "conv2", "bn2", "downsample.0", "downsample.1")
]


def first_layers(net: nn.Module) -> list[str]:
    return [block[0] for block in net_parts(net, torch.zeros(2, 3, 32, 32)).blocks]


def test_blocks_of_a_resnet_are_its_residual_blocks() -> None:
    parts = parts_of([*RESNET, "fc"], norms={"bn1"})
    assert [block[0] for block in parts.blocks] == [
        "conv1",
        *(f"layer{stage}.{block}.conv1" for stage in (1, 2) for block in (0, 1)),
    ]
    assert parts.blocks[0] == ("conv1", "bn1")
    assert parts.head == ("fc",)


def test_blocks_of_modules_follow_their_order_of_execution() -> None:
    # Their heads are created first.
    assert first_layers(ResNet20()) == [
        "stem.0",
        *(f"stage{stage}.{block}.conv1.0" for stage in (1, 2, 3) for block in range(3)),
    ]
    assert first_layers(DenseBlockNet()) == [
        "stem",
        *(f"block1.{layer}.norm" for layer in range(4)),
        "transition.0",
        *(f"block2.{layer}.norm" for layer in range(4)),
    ]
    # Branches side by side are one block.
    assert first_layers(InceptionNet()) == ["stem.0", "block1.point.0", "block2.point.0"]


@pytest.mark.parametrize(
    ("recipe", "shape", "blocks", "head"),
    [
        ("cifar10-200k", (3, 32, 32), ["block1", "block2", "block3"], "block4.linear1"),
        ("digits", (1, 8, 8), ["block1", "block2"], "block3.linear1"),
        ("cifar10-classic", (3, 32, 32), ["block1", "block2", "block3", "block4"], "block5.conv1"),
    ],
)
def test_blocks_of_the_notation_are_those_between_its_slashes(
    recipe: str, shape: tuple[int, int, int], blocks: list[str], head: str
) -> None:
    net = architecture_of(load(recipe).model).build(shape)
    parts = net_parts(net, torch.zeros(2, *shape))
    assert [{name.partition(".")[0] for name in block} for block in parts.blocks] == [
        {each} for each in blocks
    ]
    assert parts.head == (head,)


def test_a_head_includes_the_norm_after_it() -> None:
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 2, 1), nn.BatchNorm2d(2), nn.Flatten())
    assert net_parts(net, torch.zeros(2, 1, 8, 8)).head == ("1", "2")


def test_parameters_of_the_net_itself_and_idle_layers_come_first() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.conv, self.idle = nn.Linear(2, 3), nn.Conv2d(1, 2, 3), nn.Conv2d(1, 1, 1)
            self.scale = nn.Parameter(torch.ones(2))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.fc(self.conv(images).mean((2, 3)) * self.scale)
            return logits

    parts = net_parts(Net(), torch.zeros(2, 1, 8, 8))
    assert parts.blocks == (("idle",), ("",), ("conv",))
    assert parts.head == ("fc",)


def test_layers_that_an_attention_does_not_call_are_in_its_block() -> None:
    parts = net_parts(Transformer(), torch.zeros(2, 1, 8, 8))
    inner = ("norm1", "attn.out_proj", "attn", "norm2", "mlp.0", "mlp.2")
    assert parts.blocks == (
        ("",),
        ("patch",),
        tuple(f"blocks.0.{name}" for name in inner),
        (*(f"blocks.1.{name}" for name in inner), "norm"),
    )
    assert parts.head == ("head",)


NAMES = st.lists(
    st.lists(st.sampled_from(["a", "b", "0", "1", "2"]), min_size=1, max_size=4).map(".".join),
    min_size=1,
    max_size=12,
    unique=True,
)


@given(NAMES)
def test_every_layer_is_in_one_part(names: list[str]) -> None:
    parts = parts_of(names)
    assert sorted((*parts.body, *parts.head)) == sorted(names)
    assert all(parts.blocks)


PARTS = parts_of(["block1.conv1", "block1.norm1", "block2.conv1", "block2.norm1", "block3.linear1"])


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ("body", {"block1.conv1", "block1.norm1", "block2.conv1", "block2.norm1"}),
        ("head", {"block3.linear1"}),
        ("block1", {"block1.conv1", "block1.norm1"}),
        (1, {"block1.conv1", "block1.norm1"}),
        (("block1.*", "block2.conv1"), {"block1.conv1", "block1.norm1", "block2.conv1"}),
        ("*norm*", {"block1.norm1", "block2.norm1"}),
        ((), set()),
    ],
)
def test_layers_are_selected_by_name_pattern_and_number(layers: object, expected: set[str]) -> None:
    assert PARTS.select(layers, "train.freeze") == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("layers", "message", "fix"),
    [
        ("blok1", "no layer with weights is called 'blok1'", "did you mean 'block1'?"),
        (
            ("block1", "features.*"),
            "called 'features.*'",
            "name 'body', 'head', a part or a layer: block1",
        ),
        (
            3,
            "found 3 blocks, expected at most 2, those below the head: block1",
            'train.freeze="body"',
        ),
    ],
)
def test_names_that_match_nothing_are_errors(layers: object, message: str, fix: str) -> None:
    with pytest.raises(RecipeError) as error:
        PARTS.select(layers, "train.freeze")  # type: ignore[arg-type]
    (problem,) = error.value.problems
    assert problem.where == "train.freeze"
    assert message in problem.what
    assert fix in problem.fix


@pytest.mark.parametrize(("epochs", "when"), [(None, ""), (1, " in the first epochs")])
def test_a_freeze_of_everything_is_an_error(epochs: int | None, when: str) -> None:
    config = TrainConfig(epochs=3, freeze=("body", "head"), freeze_epochs=epochs)
    with pytest.raises(RecipeError, match=f"every layer is frozen, so that nothing is trained{when}\n"):
        PARTS.frozen(config)


@pytest.mark.parametrize("field", ["train.freeze=[]", "train.layer_rates=[{layers=[], factor=0.1}]"])
def test_a_list_of_no_layers_is_an_error(field: str) -> None:
    with pytest.raises(RecipeError, match=r"found \[\], expected"):
        load("digits", [field])


def test_rates_and_decay_multiply_and_the_last_entry_counts() -> None:
    config = TrainConfig(
        epochs=1,
        layer_decay=0.5,
        layer_rates=(LayerRate(layers="body", factor=0.1), LayerRate(layers="block2.norm1", factor=2.0)),
    )
    assert PARTS.factors(config) == pytest.approx(
        {"block1.conv1": 0.025, "block1.norm1": 0.025, "block2.conv1": 0.05}
    )
    assert PARTS.factors(TrainConfig(epochs=1)) == {}


def test_descriptions() -> None:
    config = TrainConfig(epochs=3, freeze=2, layer_rates=(LayerRate(layers=("a", "b.*"), factor=0.2),))
    assert list(describe(config)) == [
        "the layers of the first 2 blocks are frozen, with their running statistics",
        "the learning rate of the layers a, b.* is multiplied by 0.2",
    ]
    assert list(describe(TrainConfig(epochs=3))) == []
