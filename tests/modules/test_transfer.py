"""Weights of one net for another: what fits by name and shape is taken, and all of it is counted."""

from collections import OrderedDict
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from convsmith.errors import ModuleError
from convsmith.modules.transfer import Transfer, take_weights


def net(classes: int = 10, channels: int = 3, width: int = 6) -> Any:
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(channels, width, 3, bias=False),
            bn1=nn.BatchNorm2d(width),
            conv2=nn.Conv2d(width, 8, 3),
            pool=nn.AdaptiveAvgPool2d(1),
            flat=nn.Flatten(),
            fc=nn.Linear(8, classes),
        )
    )


def trained(seed: int = 1, **arguments: int) -> Any:
    """A net whose tensors all differ from initial ones."""
    generator = torch.Generator().manual_seed(seed)
    made = net(**arguments)
    for tensor in made.state_dict().values():
        tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5 if tensor.dim() else torch.tensor(7))
    return made


def take(target: nn.Module, tensors: dict[str, Tensor], *, head: tuple[str, ...] = ()) -> Transfer:
    return take_weights(target, tensors, head=head, reason="other classes" if head else "", where="a.pth")


def origins(transfer: Transfer) -> dict[str, str]:
    return {each.name: each.origin for each in transfer.layers if each.origin != "left there"}


def test_all_tensors_of_an_equal_net_are_taken_statistics_included() -> None:
    source, target = trained(), net()
    transfer = take(target, source.state_dict())
    for name, tensor in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], tensor), name
    assert set(origins(transfer).values()) == {"from the start"}
    assert transfer.notes == ()


def test_a_new_head_keeps_its_initial_weights_and_the_old_one_is_counted() -> None:
    source, target = trained(), net(classes=3)
    before = target.fc.weight.clone()
    transfer = take(target, source.state_dict(), head=("fc",))
    assert torch.equal(target.fc.weight, before)
    assert torch.equal(target.conv2.weight, source.conv2.weight)
    assert origins(transfer)["fc"] == "new"
    # 8 x 10 + 10 there, 8 x 3 + 3 here; 6 x 3 x 9, four vectors and a counter of 6, 8 x 6 x 9 + 8.
    assert transfer.counts() == (
        "3 layers (627 values) from the start, 1 layer (27 values) new, 1 layer (90 values) left there"
    )
    assert "| fc    | new: other classes |      1 |     27 |" in transfer.table()


@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod.", "module._orig_mod.", "net.backbone."])
def test_wrappers_of_the_file_are_removed(prefix: str) -> None:
    source, target = trained(), net()
    transfer = take(target, {prefix + name: each for name, each in source.state_dict().items()})
    assert torch.equal(target.conv1.weight, source.conv1.weight)
    assert len(transfer.of("from the start")) == 4
    # Torch.compile's part is left out of names anywhere, which is no prefix.
    assert prefix == "_orig_mod." or any("prefix" in note for note in transfer.notes)


def test_a_wrapped_net_takes_weights_of_the_inner_one() -> None:
    source: Any = trained()
    target: Any = nn.Sequential(OrderedDict(model=net()))
    transfer = take(target, source.state_dict())
    assert torch.equal(target.model.conv1.weight, source.conv1.weight)
    assert transfer.notes == ("the prefix 'model.' of the net's names is added",)


def test_two_sets_of_weights_that_fit_are_a_question() -> None:
    both = {f"student.{name}": each for name, each in trained(1).state_dict().items()}
    both |= {f"teacher.{name}": each for name, each in trained(2).state_dict().items()}
    with pytest.raises(ModuleError, match="2 sets of weights that fit this net equally well") as error:
        take(net(), both)
    assert error.value.problems[0].fix == "choose one: a.pth#student, a.pth#teacher"


def test_a_layer_is_taken_as_a_whole_or_not_at_all() -> None:
    tensors = trained().state_dict()
    del tensors["bn1.running_var"], tensors["bn1.num_batches_tracked"]
    target = net()
    before = {name: each.clone() for name, each in target.bn1.state_dict().items()}
    transfer = take(target, tensors)
    assert origins(transfer)["bn1"] == "new"
    assert "new: not in the start" in transfer.table()
    assert all(torch.equal(each, before[name]) for name, each in target.bn1.state_dict().items())


def test_a_missing_counter_of_batches_does_not_matter() -> None:
    tensors = trained().state_dict()
    del tensors["bn1.num_batches_tracked"]
    assert set(origins(take(net(), tensors)).values()) == {"from the start"}


def test_another_net_is_an_error_that_names_the_first_layers_that_differ() -> None:
    target = net(width=12)
    before = {name: each.clone() for name, each in target.state_dict().items()}
    with pytest.raises(
        ModuleError, match="weights of another net: nothing fits, expected at least 50 %"
    ) as error:
        take_weights(
            target, trained().state_dict(), head=("fc",), where="a.pth", net_of_start="C6 C8 / G F10"
        )
    (problem,) = error.value.problems
    assert "conv1: 6x3x3x3 there, 12x3x3x3 here" in problem.context
    assert problem.fix == "use its net: C6 C8 / G F10"
    assert all(torch.equal(each, before[name]) for name, each in target.state_dict().items())


def test_names_without_a_common_one_are_an_error_that_lists_both() -> None:
    tensors = {f"encoder{number}": torch.ones(3, 3) for number in range(9)}
    with pytest.raises(ModuleError) as error:
        take(net(), tensors)
    context = error.value.problems[0].context
    assert "conv1: not in the start" in context
    assert "encoder0 3x3" in context
    assert "and 4 more" in context


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_converted_and_counted(dtype: torch.dtype) -> None:
    source, target = trained(), net()
    tensors = {
        name: each.to(dtype) if each.is_floating_point() else each
        for name, each in source.state_dict().items()
    }
    transfer = take(target, tensors)
    assert torch.equal(target.conv1.weight, source.conv1.weight.to(dtype).float())
    assert transfer.notes == (f"9 tensors converted from {str(dtype).removeprefix('torch.')} to float32",)


def test_whole_numbers_are_no_weights() -> None:
    tensors = trained().state_dict()
    tensors["conv2.weight"] = tensors["conv2.weight"].int()
    with pytest.raises(ModuleError) as error:
        take(net(), tensors)
    assert "conv2: int32 there, float32 here" in error.value.problems[0].context


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_an_error_and_change_nothing(value: float) -> None:
    tensors = trained().state_dict()
    tensors["conv2.bias"][3] = value
    target = net()
    before = target.conv1.weight.clone()
    with pytest.raises(ModuleError, match="not finite in 1 tensor") as error:
        take(target, tensors)
    assert "conv2.bias: 1 of 8" in error.value.problems[0].context
    assert torch.equal(target.conv1.weight, before)


def test_filters_of_grey_images_give_the_same_outputs_on_grey_pictures_in_colour() -> None:
    source, target = trained(channels=1).eval(), net(channels=3).eval()
    transfer = take(target, source.state_dict())
    grey = torch.rand(4, 1, 12, 12)
    torch.testing.assert_close(target(grey.expand(-1, 3, -1, -1)), source(grey), rtol=1e-4, atol=1e-4)
    assert "each channel gets a third of its filters" in transfer.notes[0]


def test_filters_of_colour_images_give_the_same_outputs_on_grey_ones() -> None:
    source, target = trained(channels=3).eval(), net(channels=1).eval()
    take(target, source.state_dict())
    grey = torch.rand(4, 1, 12, 12)
    torch.testing.assert_close(target(grey), source(grey.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-4)


def test_other_numbers_of_channels_are_not_adapted() -> None:
    transfer = take(net(channels=4), trained(channels=3).state_dict())
    assert origins(transfer)["conv1"] == "new"


NAMES = st.lists(st.sampled_from(["conv1", "bn1", "conv2", "fc", "other"]), unique=True)


@given(NAMES)
def test_every_value_is_counted_once(kept: list[str]) -> None:
    tensors = {
        name: each for name, each in trained().state_dict().items() if name.partition(".")[0] in kept
    } | {"other.weight": torch.ones(2, 3)}
    target = net()
    try:
        transfer = take(target, tensors)
    except ModuleError:
        return
    of_net = [each for each in transfer.layers if each.origin != "left there"]
    assert sum(each.size for each in of_net) == sum(each.numel() for each in target.state_dict().values())
    left = sum(each.size for each in transfer.of("left there"))
    used = sum(each.size for each in transfer.of("from the start"))
    assert used + left == sum(each.numel() for each in tensors.values())
