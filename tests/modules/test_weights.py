"""Files of weights: the same numbers as `torch.load` and `load_state_dict`, whoever wrote the file."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from convsmith.errors import ConvsmithError, FileError, ModuleError
from convsmith.modules.fitting import fit_weights
from convsmith.modules.weights import read_state_dict
from helpers.checkpoints import TRAINERS, small_net, state_of


def saved(folder: Path, value: Any, *, old: bool = False) -> Path:
    path = folder / "net.pth"
    torch.save(value, path, _use_new_zipfile_serialization=not old)
    return path


def problem(path: Path | str) -> str:
    with pytest.raises(ConvsmithError) as caught:
        read_state_dict(path)
    assert isinstance(caught.value, FileError | ModuleError)
    return str(caught.value)


def outputs(net: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        result: torch.Tensor = net.eval()(torch.linspace(-1, 1, 5 * 3 * 36).view(5, 3, 6, 6))
    return result


@pytest.mark.parametrize("old", [False, True], ids=["zip", "old format"])
@pytest.mark.parametrize("trainer", TRAINERS)
def test_checkpoints_of_well_known_trainers(trainer: str, old: bool, tmp_path: Path) -> None:
    trained, net = small_net(), small_net(seed=2)
    path = saved(tmp_path, TRAINERS[trainer](trained), old=old)
    weights = read_state_dict(path)
    fit_weights(net, weights)
    for name, tensor in state_of(trained).items():
        assert torch.equal(net.state_dict()[name], tensor), name
    assert torch.equal(outputs(net), outputs(trained))
    assert weights.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("trainer", "entry", "notes"),
    [
        ("state_dict", "", ()),
        ("kuangliu", "checkpoint['net']", ()),
        ("imagenet", "checkpoint['state_dict']", ()),
        (
            "timm",
            "checkpoint['state_dict_ema']",
            ("an average of the weights, is used; for the others write {}#state_dict",),
        ),
        (
            "nested average",
            "checkpoint['ema']['state_dict']",
            ("an average of the weights, is used; for the others write {}#model",),
        ),
        ("list", "checkpoint[0]", ()),
        ("with epoch", "", ("not tensors, left out: epoch, classes",)),
    ],
)
def test_where_the_weights_were_found(
    trainer: str, entry: str, notes: tuple[str, ...], tmp_path: Path
) -> None:
    path = saved(tmp_path, TRAINERS[trainer](small_net()))
    weights = read_state_dict(path)
    assert weights.entry == entry
    found = tuple(note.removeprefix(f"{entry}, ") for note in weights.notes)
    assert found == tuple(note.format(path) for note in notes)
    # The expression leads to the weights in Python.
    checkpoint = torch.load(path, weights_only=False)
    value = eval(entry or "checkpoint", {"checkpoint": checkpoint})  # noqa: S307 - our own text
    assert {name for name in value if isinstance(value[name], torch.Tensor)} == set(weights.tensors)


def test_another_state_dict_is_chosen(tmp_path: Path) -> None:
    raw, average = small_net(seed=1), small_net(seed=2)
    path = saved(
        tmp_path, {"model": raw.state_dict(), "ema": {"state_dict": average.state_dict(), "decay": 0.9}}
    )
    for selector, net in (
        ("model", raw),
        ("ema", average),
        ("ema.state_dict", average),
        ("state_dict", average),
    ):
        tensors = read_state_dict(f"{path}#{selector}").tensors
        assert torch.equal(tensors["0.weight"], net.state_dict()["0.weight"]), selector
    assert problem(f"{path}#teacher") == (
        f"error[E022]: {path}: nothing in the checkpoint is called 'teacher'\n"
        f"  fix: write {path}#model, {path}#ema.state_dict"
    )


def test_a_file_may_have_the_sign_in_its_name(tmp_path: Path) -> None:
    path = saved(tmp_path, small_net().state_dict()).rename(tmp_path / "net#2.pth")
    assert read_state_dict(path).path == path


def test_several_nets_of_one_rank(tmp_path: Path) -> None:
    path = saved(tmp_path, {"G": small_net().state_dict(), "D": small_net(seed=1).state_dict()})
    assert problem(path) == (
        f"error[E022]: {path}: found 2 state_dicts: checkpoint['G'], checkpoint['D']\n"
        f"  fix: choose one: {path}#G, {path}#D"
    )
    assert read_state_dict(f"{path}#D").entry == "checkpoint['D']"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("suffix", ["safetensors", "pth", "bin"])
def test_safetensors_and_other_precisions(dtype: torch.dtype, suffix: str, tmp_path: Path) -> None:
    state = {
        name: each.to(dtype) if each.is_floating_point() else each
        for name, each in state_of(small_net()).items()
    }
    # The content decides, not the suffix.
    path = tmp_path / f"net.{suffix}"
    safetensors.torch.save_file(state, path, metadata={"format": "pt", "epoch": "3"})
    weights = read_state_dict(path)
    assert weights.entry == ""
    assert {name: each.dtype for name, each in weights.tensors.items()} == {
        name: each.dtype for name, each in state.items()
    }
    reference, net = small_net(seed=1), small_net(seed=2)
    reference.load_state_dict(state)
    notes = fit_weights(net, weights)
    assert torch.equal(outputs(net), outputs(reference))
    kind = str(dtype).removeprefix("torch.")
    assert notes == (() if dtype == torch.float32 else (f"8 tensors converted from {kind} to float32",))


def test_half_precision_written_by_torch(tmp_path: Path) -> None:
    path = saved(tmp_path, {"net": small_net().half().state_dict()})
    assert read_state_dict(path).tensors["0.weight"].dtype == torch.float16


def test_what_is_read_has_no_gradients_and_no_ties_to_the_file(tmp_path: Path) -> None:
    path = saved(tmp_path, dict(small_net().named_parameters()))
    weights = read_state_dict(path)
    assert not any(each.requires_grad for each in weights.tensors.values())
    before = weights.tensors["0.weight"].clone()
    path.write_bytes(bytes(path.stat().st_size))
    assert torch.equal(weights.tensors["0.weight"], before)


class Net(nn.Sequential):
    """A class that the file names, and that is not imported to read it."""


@pytest.mark.parametrize("old", [False, True], ids=["zip", "old format"])
@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
def test_a_whole_module_is_refused(old: bool, tmp_path: Path) -> None:
    path = saved(tmp_path, Net(nn.Linear(2, 2)), old=old)
    assert problem(path) == (
        f"error[E022]: {path}: a whole pickled object of the class {__name__}.Net, "
        "which is code, not weights\n"
        "  fix: if you trust the file, write where its packages are installed: "
        f'net = torch.load("{path}", weights_only=False); torch.save(net.state_dict(), "net.pth")'
    )


def test_a_whole_module_in_a_checkpoint_is_refused(tmp_path: Path) -> None:
    # As Ultralytics writes.
    path = saved(tmp_path, {"epoch": 3, "ema": None, "model": nn.DataParallel(Net(nn.Linear(2, 2)))})
    text = problem(path)
    assert "of the class torch.nn.parallel.data_parallel.DataParallel, which is code" in text
    assert f"net = torch.load(\"{path}\", weights_only=False)['model']; torch.save(" in text


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ({"epoch": 3, "loss": 0.5}, "a dict of epoch, loss"),
        ({}, "a dict of nothing"),
        (torch.ones(3), "tensors without names"),
        ([torch.ones(3)], "tensors without names"),
        (torch.optim.SGD([torch.ones(1)]).state_dict(), "the state of an optimizer"),
        ({"acc": torch.tensor(0.5), "steps": torch.arange(3)}, "a dict of acc, steps"),
        ("text", "an object of the type str"),
    ],
)
def test_a_file_without_weights(value: Any, found: str, tmp_path: Path) -> None:
    path = saved(tmp_path, value)
    assert problem(path) == (
        f"error[E022]: {path}: no state_dict: found {found}\n"
        '  fix: write torch.save(net.state_dict(), "net.pth") where the net was trained'
    )


class Marked(torch.Tensor):
    """A tensor of a class of its own, as fastai's."""


def test_tensors_of_another_class(tmp_path: Path) -> None:
    path = saved(tmp_path, {"a.weight": torch.ones(3).as_subclass(Marked), "a.bias": torch.ones(3)})
    text = problem(path)
    assert f"its class {__name__}.Marked stands in the way" in text
    assert 'torch.save(net.state_dict(), "net.pth")' in text


@pytest.mark.parametrize(
    ("tensor", "found"),
    [
        (torch.ones(1).expand(2**40), "has more numbers than the file: (1099511627776,)"),
        (torch.ones(3, device="meta"), "has a shape and no numbers"),
    ],
)
def test_tensors_that_are_no_plain_ones(tensor: torch.Tensor, found: str, tmp_path: Path) -> None:
    path = saved(tmp_path, {"a.weight": torch.ones(2, 2), "a.bias": tensor})
    assert problem(path).startswith(
        f"error[E022]: {path}: the tensor a.bias {found}\n  fix: save the weights as"
    )


@pytest.mark.skipif(not hasattr(torch, "quantize_per_tensor"), reason="PyTorch without such tensors")
@pytest.mark.filterwarnings("ignore:.*quantize")
def test_quantized_tensors(tmp_path: Path) -> None:
    path = saved(
        tmp_path, {"a": torch.ones(2), "b": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)}
    )
    assert "the tensor b is quantized or nested" in problem(path)


def test_a_name_without_end(tmp_path: Path) -> None:
    assert "has a name of 5,000 characters" in problem(saved(tmp_path, {"x" * 5000: torch.ones(2)}))


def test_control_characters_in_names_are_not_printed(tmp_path: Path) -> None:
    path = saved(tmp_path, {"\x1b[31mG\n": small_net().state_dict(), "D": small_net().state_dict()})
    assert "\x1b" not in problem(path)


def test_files_that_are_none(tmp_path: Path) -> None:
    assert "cannot read: Is a directory" in problem(tmp_path)
    assert "cannot read: No such file" in problem(tmp_path / "missing.pth")
    assert "cannot read" in problem("a\x00b.pth")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert "cannot read: Too many levels of symbolic links" in problem(tmp_path / "loop")
    link = tmp_path / "link.pth"
    link.symlink_to(saved(tmp_path, small_net().state_dict()))
    assert read_state_dict(link).path == link


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
def test_a_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in problem(tmp_path / "pipe")


def test_a_file_that_is_too_large(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    with path.open("wb") as file:
        file.truncate(2**32 + 1)
    assert "found 4,294,967,297 bytes, expected at most 4,294,967,296" in problem(path)


def test_damaged_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    content = safetensors.torch.save({"a.weight": torch.ones(4)})
    for damaged in (content[:-1], content[:20], (2**40).to_bytes(8, "little") + content[8:]):
        path.write_bytes(damaged)
        assert problem(path).startswith(f"error[E010]: {path}: damaged safetensors: ")
    header = json.dumps({"a.weight": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 16]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(16))
    assert problem(path).startswith(f"error[E010]: {path}: damaged safetensors: ")
