"""Weights in a net: as `load_state_dict` loads them, or an error and an unchanged net."""

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from convsmith.errors import ModuleError
from convsmith.modules.fitting import fit_weights
from convsmith.modules.weights import Weights, read_state_dict
from helpers.checkpoints import State, compiled, small_net, state_of


def weights_of(state: Any, entry: str = "") -> Weights:
    return Weights(tensors=dict(state), path=Path("net.pth"), entry=entry, sha256="")


def check_fits(net: nn.Module, state: Any, expected: State) -> tuple[str, ...]:
    """Load weights, and compare the net with the expected ones; return the notes."""
    modes = [each.training for each in net.modules()]
    notes = fit_weights(net, weights_of(state))
    found = net.state_dict()
    assert set(found) == set(expected)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert [each.training for each in net.modules()] == modes
    return notes


def problem(net: nn.Module, state: Any, entry: str = "") -> str:
    before = state_of(net)
    with pytest.raises(ModuleError) as caught:
        fit_weights(net, weights_of(state, entry))
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    # PyTorch refuses them too.
    with pytest.raises(RuntimeError):
        net.load_state_dict(dict(state))
    net.load_state_dict(before)
    return str(caught.value)


def prefixed(state: State, prefix: str) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "model.", "net.", "backbone.", "module._orig_mod.", "a.b.c."]
)
def test_a_common_prefix_is_removed(prefix: str) -> None:
    state = state_of(small_net())
    notes = check_fits(small_net(seed=1), prefixed(state, prefix), state)
    assert notes == (f"the prefix {prefix!r} of the names is removed",)


@pytest.mark.parametrize("wrapper", [nn.DataParallel, compiled])
def test_the_net_may_be_wrapped_instead(wrapper: Any) -> None:
    state = state_of(small_net())
    net = small_net(seed=1)
    assert fit_weights(wrapper(net), weights_of(state))
    assert all(torch.equal(tensor, state[name]) for name, tensor in net.state_dict().items())
    # Both wrapped, in different ways.
    net = small_net(seed=1)
    fit_weights(wrapper(net), weights_of(prefixed(state, "model.")))
    assert all(torch.equal(tensor, state[name]) for name, tensor in net.state_dict().items())


class Features(nn.Module):
    """A net of two parts, as AlexNet and VGG are."""

    def __init__(self, wrap: Any = lambda part: part, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.features = wrap(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))
        self.classifier = nn.Linear(4, 10)


def test_a_part_of_the_net_may_have_been_wrapped() -> None:
    expected = state_of(Features())
    for wrap, name in (
        (nn.DataParallel, "module"),
        (compiled, "_orig_mod"),
    ):
        state = state_of(Features(wrap))
        assert "features." + name + ".0.weight" in state
        assert check_fits(Features(seed=1), state, expected) == (f"parts of the names are left out: {name}",)
        both = check_fits(Features(seed=1), prefixed(state, "model."), expected)
        assert both == (
            "the prefix 'model.' of the names is removed",
            f"parts of the names are left out: {name}",
        )


def test_a_prefix_that_is_the_nets_own_stays() -> None:
    class Net(nn.Module):
        def __init__(self, seed: int) -> None:
            super().__init__()
            self.module = small_net(seed=seed)

    state = state_of(Net(0))
    assert check_fits(Net(1), state, state) == ()
    assert check_fits(Net(1), prefixed(state, "module."), state) != ()
    assert check_fits(Net(1), state_of(small_net()), state) == (
        "the prefix 'module.' of the net's names is added",
    )


def test_a_few_tensors_beside_the_net_are_left_out() -> None:
    state = state_of(small_net())
    whole = prefixed(state, "model.") | {"criterion.weight": torch.ones(10), "n_averaged": torch.tensor(3)}
    assert check_fits(small_net(seed=1), whole, state) == (
        "the prefix 'model.' of the names is removed",
        "without the prefix, left out: criterion.weight",
    )


def test_of_two_nets_in_a_state_dict_the_user_chooses(tmp_path: Path) -> None:
    student, teacher = small_net(seed=1), small_net(seed=2)
    both = prefixed(state_of(student), "student.") | prefixed(state_of(teacher), "teacher.")
    assert problem(small_net(), both) == (
        "error[E022]: net.pth: most of the tensors are not this net's\n"
        "  all that the net needs begins with 'student.'\n"
        "  all that the net needs begins with 'teacher.'\n"
        "  fix: choose what is loaded: net.pth#student, net.pth#teacher"
    )
    torch.save({"state_dict": both}, tmp_path / "net.pth")
    for selector, chosen in (("student", student), ("state_dict.teacher", teacher)):
        net = small_net()
        assert fit_weights(net, read_state_dict(f"{tmp_path}/net.pth#{selector}")) == ()
        assert torch.equal(net.state_dict()["0.weight"], chosen.state_dict()["0.weight"])


def test_counters_of_batches_may_be_missing() -> None:
    state = state_of(small_net())
    net = small_net(seed=1)
    counter = state.pop("1.num_batches_tracked")
    notes = check_fits(net, state, {**state, "1.num_batches_tracked": counter})
    assert notes == ("1 counter of batches not in the file, left as in the net",)
    # Another tensor of that name may not.

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("num_batches_tracked", torch.tensor(1))
            self.layer = nn.Linear(2, 2)

    assert "num_batches_tracked ()" in problem(Net(), nn.ModuleDict({"layer": nn.Linear(2, 2)}).state_dict())


def test_scalars_of_pytorch_0_3_have_a_dimension() -> None:
    state = state_of(small_net())
    old = state | {"1.num_batches_tracked": torch.tensor([7])}
    check_fits(small_net(seed=1), old, state | {"1.num_batches_tracked": torch.tensor(7)})


class Tied(nn.Module):
    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        self.second.weight = self.first.weight


def test_safetensors_store_tied_weights_once(tmp_path: Path) -> None:
    net, other = Tied(0), Tied(1)
    safetensors.torch.save_model(net, str(tmp_path / "net.safetensors"))
    weights = read_state_dict(tmp_path / "net.safetensors")
    assert len(weights.tensors) == 3
    assert fit_weights(other, weights) == ()
    assert all(torch.equal(tensor, net.state_dict()[name]) for name, tensor in other.state_dict().items())
    assert other.second.weight is other.first.weight


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize("prefix", ["", "module."])
def test_layers_that_map_old_names(prefix: str) -> None:
    old = nn.utils.weight_norm(nn.Linear(3, 4))
    new = nn.utils.parametrizations.weight_norm(nn.Linear(3, 4))
    notes = fit_weights(new, weights_of(prefixed(state_of(old), prefix)))
    assert notes == ("old names in the file are mapped by the net's layers",)
    torch.testing.assert_close(new(torch.ones(2, 3)), old(torch.ones(2, 3)))


def test_missing_and_unexpected_tensors() -> None:
    state = state_of(small_net())
    state["6.weight"] = state.pop("5.weight")
    assert problem(small_net(seed=1), prefixed(state, "module."), "checkpoint['net']") == (
        "error[E022]: net.pth, checkpoint['net']: the weights do not fit the net: 1 tensor missing in the "
        "file, 1 tensor not in the net, 8 tensors that fit\n"
        "  the names of the file are compared without the prefix 'module.'\n"
        "  in the net, not in the file:\n"
        "    5.weight (10, 4)\n"
        "  in the file, not in the net:\n"
        "    module.6.weight (10, 4)\n"
        "  fix: create the net with the arguments that it was trained with"
    )


def test_another_number_of_classes() -> None:
    assert problem(small_net(), state_of(small_net(classes=1000))) == (
        "error[E022]: net.pth: the weights do not fit the net: 2 tensors of other shapes, 7 tensors that "
        "fit\n"
        "  of other shapes:\n"
        "    5.weight: found (1000, 4), expected (10, 4)\n"
        "    5.bias: found (1000,), expected (10,)\n"
        "  fix: the file's net has 1,000 outputs, this one 10: create it as it was trained, for example "
        "Net(num_classes=1000)"
    )


def test_only_the_first_five_of_each_kind_are_listed() -> None:
    text = problem(small_net(), {f"layer{number}.weight": torch.ones(2, 2) for number in range(40)})
    assert text.count("\n    ") == 2 * 6
    assert "\n    and 3 more\n" in text
    assert "\n    and 35 more\n" in text
    assert text.endswith("fix: these are weights of another net: name the class that was trained")


def test_weights_of_a_part_of_the_net() -> None:
    net = nn.ModuleDict({"backbone": small_net(), "head": nn.Linear(10, 3)})
    text = problem(net, state_of(small_net(seed=1)))
    assert "the names of the file are compared with the prefix 'backbone.'" in text
    assert "    head.weight (3, 10)\n    head.bias (3,)\n" in text
    assert text.endswith(
        "fix: the file has the weights of the net's part 'backbone' alone: name a file of the whole net"
    )


@pytest.mark.parametrize("dtype", [torch.int8, torch.complex64, torch.bool])
def test_another_kind_of_number(dtype: torch.dtype) -> None:
    state = state_of(small_net())
    state["0.weight"] = state["0.weight"].to(dtype)
    with pytest.raises(ModuleError) as caught:
        fit_weights(small_net(), weights_of(state))
    kind = str(dtype).removeprefix("torch.")
    assert f"    0.weight: found {kind}, expected float32\n" in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_numbers_that_are_not_finite(value: float, dtype: torch.dtype) -> None:
    net = small_net()
    before = state_of(net)
    state = {
        name: each.to(dtype) if each.is_floating_point() else each for name, each in state_of(net).items()
    }
    state["5.bias"][2:4] = value
    state["1.running_var"][0] = value
    with pytest.raises(ModuleError) as caught:
        fit_weights(net, weights_of(state))
    assert str(caught.value) == (
        "error[E022]: net.pth: numbers that are not finite in 2 tensors\n"
        "  1.running_var: 1 of 4\n"
        "  5.bias: 2 of 10\n"
        "  fix: the training diverged, or the file is damaged: use an earlier checkpoint"
    )
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_numbers_beyond_single_precision() -> None:
    state = state_of(small_net())
    state["0.bias"] = torch.full((4,), 1e300, dtype=torch.float64)
    with pytest.raises(ModuleError, match="numbers that are not finite"):
        fit_weights(small_net(), weights_of(state))


def test_masks_may_be_infinite() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mask", torch.tensor([0.0, float("-inf")]))
            self.layer = nn.Linear(2, 2)

    state = state_of(Net())
    check_fits(Net(), state, state)
    state["mask"] = torch.tensor([float("nan"), 0.0])
    with pytest.raises(ModuleError, match="numbers that are not finite"):
        fit_weights(Net(), weights_of(state))


def test_a_layer_that_fails_while_it_is_loaded_leaves_the_net_alone() -> None:
    class Failing(nn.Linear):
        def _load_from_state_dict(self, *arguments: Any) -> None:
            super()._load_from_state_dict(*arguments)
            raise ValueError("no")

    net = nn.Sequential(nn.Linear(2, 2), Failing(2, 2))
    before = state_of(net)
    with pytest.raises(ModuleError) as caught:
        fit_weights(net, weights_of({name: tensor + 1 for name, tensor in before.items()}))
    assert "a hook of the net fails: ValueError: no" in str(caught.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_a_net_with_lazy_layers() -> None:
    net = nn.Sequential(nn.LazyLinear(3))
    with pytest.raises(
        ModuleError, match=r"the shape of 0\.weight is unknown until the net has seen an image"
    ):
        fit_weights(net, weights_of({"0.weight": torch.ones(3, 2), "0.bias": torch.ones(3)}))


def test_a_net_without_parameters() -> None:
    text = problem(nn.ReLU(), state_of(small_net()))
    assert "9 tensors not in the net" in text


def test_extra_state_of_a_layer_stays() -> None:
    class Extra(nn.Linear):
        extra: Any = "own"

        def get_extra_state(self) -> Any:
            return self.extra

        def set_extra_state(self, state: Any) -> None:
            self.extra = state

    net = Extra(2, 2)
    fit_weights(net, weights_of(nn.Linear(2, 2).state_dict()))
    assert net.extra == "own"


def test_precision_of_the_net_stays() -> None:
    state = state_of(small_net())
    net = small_net(seed=1).bfloat16()
    notes = fit_weights(net, weights_of(state))
    assert notes == ("8 tensors converted from float32 to bfloat16",)
    assert net.state_dict()["0.weight"].dtype == torch.bfloat16
    assert torch.equal(net.state_dict()["0.weight"], state["0.weight"].bfloat16())
