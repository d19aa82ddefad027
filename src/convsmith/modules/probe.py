"""Probe a module before it is used as a classifier, by a few passes: what stands in the way of that."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import torch
from torch import Tensor, nn

import convsmith
from convsmith.errors import ModuleError, Problem
from convsmith.modules.config import Outputs
from convsmith.modules.limits import Locate, limited, raising_place
from convsmith.modules.outputs import recognize_outputs
from convsmith.text import plural
from convsmith.tracing.copies import copy_module
from convsmith.tracing.isolation import preserved_state
from convsmith.tracing.members import named_parameters, unregistered

_IMAGES = 4
_LISTED = 5
# Sizes that images often have, to name one that the module accepts.
_USUAL_SHAPES = tuple((channels, side, side) for side in (32, 28, 64, 96, 224) for channels in (3, 1))
_OTHER_CODE = (str(Path(convsmith.__file__).parent), str(Path(torch.__file__).parents[1]))


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What a few forward passes and one backward pass show.

    Attributes:
        outputs: The meaning of the outputs, by their values.
        draws: Whether a forward pass in training mode draws random numbers from PyTorch's global generator,
            other than by `nn.Dropout`.
        notes: What a user should know, one sentence each.
    """

    outputs: Outputs
    draws: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _UserCode:
    """Names the module, and places in its files, in errors.

    Attributes:
        trains: Whether the module is to be trained, which decides what the user can change.
    """

    where: str
    locate: Locate
    trains: bool

    def place_of(self, error: BaseException) -> str:
        return raising_place(error, self.locate) or self.where

    def run(self, net: nn.Module, images: Tensor, activity: str) -> Tensor:
        try:
            outputs: Tensor = net(images)
        except Exception as error:
            shape = tuple(images.shape[1:])
            raise ModuleError(
                f"{activity} fails on images of {_text(shape)}: {type(error).__name__}: {_first_line(error)}",
                where=self.place_of(error),
                fix=_fix_of(net, shape),
            ) from error
        return outputs


def probe_classifier(
    module: nn.Module,
    image_shape: tuple[int, int, int],
    num_classes: int,
    *,
    where: str,
    outputs: Outputs | None = None,
    locate: Locate | None = None,
    trains: bool = True,
) -> Probe:
    """Run copies of a module on noise, in evaluation mode and, if it is to be trained, in training mode.

    Args:
        module: On the CPU; it is unchanged.
        image_shape: `(C, H, W)`.
        num_classes: Of the data.
        where: The module, for messages.
        outputs: The meaning of its outputs; by default it is recognised by their values.
        locate: Returns the place of a frame in the user's files; by default the line of a Python file.
        trains: Whether it is to be trained. Otherwise its weights are those to evaluate.

    Raises:
        ModuleError: It cannot be used as a classifier of such images: it has layers in plain lists, fails,
            returns anything but `(N, num_classes)` finite numbers, is random in evaluation mode, or creates
            layers while it runs. If it is to be trained: it has no parameters that learn, or fails backwards.

    Example:
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.LogSoftmax(1))
        >>> probe_classifier(net, (1, 8, 8), 10, where="net").outputs
        'log_probabilities'
    """
    problems = list(_member_problems(module, where, trains=trains))
    if problems:
        raise ModuleError.of(problems)
    images = _noise(image_shape)
    with preserved_state(), limited("the net", where, locate or _line):
        user_code = _UserCode(where=where, locate=locate or _line, trains=trains)
        values = _evaluate(module, images, num_classes, user_code)
        meaning = _meaning(values, outputs, where)
        notes = [*_output_notes(meaning, trains=trains), *_batch_notes(module, images, values)]
        notes += _train(module, images, user_code) if trains else []
        draws = trains and _draws(module, images)
    return Probe(outputs=meaning, draws=draws, notes=tuple(notes))


def check_classifier(
    module: nn.Module,
    image_shape: tuple[int, int, int],
    num_classes: int,
    *,
    where: str,
    outputs: Outputs | None = None,
    locate: Locate | None = None,
) -> None:
    """Run a copy of a module on noise in evaluation mode; the arguments are those of `probe_classifier`.

    Raises:
        ModuleError: It does not classify such images.
    """
    user_code = _UserCode(where=where, locate=locate or _line, trains=False)
    with preserved_state(), limited("the net", where, locate or _line):
        values = _evaluate(module, _noise(image_shape), num_classes, user_code)
        _meaning(values, outputs, where)


def _noise(image_shape: tuple[int, int, int]) -> Tensor:
    return torch.randn(_IMAGES, *image_shape, generator=torch.Generator().manual_seed(0))


def _member_problems(module: nn.Module, where: str, *, trains: bool) -> Iterator[Problem]:
    if hidden := unregistered(module):
        names = ", ".join(list(hidden)[:_LISTED])
        yield Problem(
            what=f"layers in a plain list or dictionary are neither trained nor saved: {names}",
            where=where,
            fix="keep them in nn.ModuleList, nn.ModuleDict or nn.Sequential, and weights in nn.Parameter",
        )
    parameters = named_parameters(module)
    if trains and not hidden and not any(each.requires_grad for each in parameters.values()):
        what = "all its parameters are frozen" if parameters else "it has no parameters"
        fix = (
            "set requires_grad=True for those to train" if parameters else "name a net with layers that learn"
        )
        yield Problem(what=f"{what}, so that there is nothing to train", where=where, fix=fix)


def _evaluate(module: nn.Module, images: Tensor, num_classes: int, code: "_UserCode") -> Tensor:
    """Return the outputs in evaluation mode; raise ModuleError if they are not those of a classifier."""
    net = copy_module(module).eval()
    names = set(net.state_dict())
    with torch.no_grad():
        outputs = code.run(net, images, "the forward pass")
        if problem := _output_problem(outputs, len(images), num_classes, trains=code.trains):
            raise ModuleError(problem.what, where=code.where, fix=problem.fix)
        if new := set(net.state_dict()) - names:
            raise ModuleError(
                f"the forward pass creates layers: {', '.join(sorted(new)[:_LISTED])}",
                where=code.where,
                fix="create them in __init__, or use lazy layers such as nn.LazyLinear",
            )
        if not bool(torch.isfinite(outputs).all()):
            what = f"the outputs {'of the initial weights ' if code.trains else ''}are not finite"
            raise ModuleError(what, where=code.where, fix="check the forward pass on torch.randn images")
        torch.manual_seed(1)
        again = code.run(net, images, "the forward pass")
    if not torch.equal(outputs, again):
        raise ModuleError(
            "in evaluation mode two forward passes of the same images differ",
            where=code.where,
            fix="make dropout and the like depend on the mode, as in F.dropout(x, training=self.training)",
        )
    assert isinstance(outputs, Tensor), "as checked"
    return outputs


def _meaning(outputs: Tensor, stated: Outputs | None, where: str) -> Outputs:
    """Return the meaning of outputs as it is stated, or else by their values.

    Raises:
        ModuleError: The values contradict it.
    """
    by_values = recognize_outputs(outputs)
    if stated not in {None, "logits", by_values}:
        raise ModuleError(
            f"model.outputs is {stated!r}, but by their values the outputs are {by_values}",
            where=where,
            fix=f'write model.outputs="{by_values}", or leave it out',
        )
    return stated or by_values


def _fix_of(net: nn.Module, shape: tuple[int, ...]) -> str:
    """Return a size of images that the net accepts, if it is the size that does not fit."""
    in_python = f"check it in Python: net(torch.zeros(2, {', '.join(map(str, shape))}))"
    if _accepts(net, shape):
        return in_python
    for usual in _USUAL_SHAPES:
        if _accepts(net, usual):
            channels = "" if usual[0] == shape[0] else f", with {plural(usual[0], 'channel')}"
            resize = "" if usual[1:] == shape[1:] else f": data.resize={usual[1]}"
            return f"it accepts images of {_text(usual)}{channels}{resize}"
    return in_python


def _accepts(net: nn.Module, shape: tuple[int, ...]) -> bool:
    try:
        with torch.no_grad():
            net(torch.zeros(2, *shape))
    except Exception:  # noqa: BLE001 - whatever it is, the size does not fit
        return False
    return True


def _output_problem(outputs: object, num_images: int, num_classes: int, *, trains: bool) -> Problem | None:
    fix = f"return one tensor, the logits, of shape (N, {num_classes})"
    if not isinstance(outputs, Tensor):
        return Problem(what=f"forward returns {_described(outputs)}, expected the logits alone", fix=fix)
    shape = tuple(outputs.shape)
    expected = (num_images, num_classes)
    if shape == expected and outputs.is_floating_point():
        return None
    if shape == expected:
        return Problem(what=f"forward returns numbers of {outputs.dtype}, expected logits", fix=fix)
    what = f"forward returns {shape} for {num_images} images, expected {expected}"
    if len(shape) == 2 and shape[0] == num_images:
        return Problem(
            what=f"the net has {plural(shape[1], 'output')}, the data has {plural(num_classes, 'class')}",
            fix=f"give its last layer {plural(num_classes, 'output')}, perhaps by an argument of the class"
            if trains
            else f"name data of {plural(shape[1], 'class')}, those that the weights were trained on",
        )
    if len(shape) > 2 and shape[:2] == expected and outputs.numel() == num_images * num_classes:
        return Problem(what=what, fix="flatten them at the end of forward: x.flatten(1)")
    if len(shape) == 2 and shape[1] == num_classes:
        return Problem(
            what=f"{what}; a view such as x.view(-1, {num_classes}) mixes positions and images",
            fix="use images of the size that it was written for, data.resize=..., or pool before the view",
        )
    return Problem(what=what, fix=fix)


def _described(value: object) -> str:
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, dict):
        return f"a dictionary with {', '.join(map(repr, list(value)[:_LISTED]))}"
    return f"a {type(value).__name__}"


def _batch_notes(module: nn.Module, images: Tensor, outputs: Tensor) -> list[str]:
    """Return a note if the outputs for an image depend on the other images of its batch."""
    net = copy_module(module).eval()
    with torch.no_grad():
        pair = net(images[:2])
    if torch.allclose(pair, outputs[:2], rtol=1e-3, atol=1e-4):
        return []
    note = "in evaluation mode its outputs for an image depend on the other images of the batch"
    return [f"{note}, so that accuracy and predictions depend on the batch size"]


def _train(module: nn.Module, images: Tensor, code: "_UserCode") -> list[str]:
    """Run forward and backward pass in training mode; return notes on parameters without a gradient."""
    net = copy_module(module).train()
    outputs = code.run(net, images, "the forward pass in training mode")
    try:
        torch.autograd.backward(outputs.float().square().sum())
    except Exception as error:
        raise ModuleError(
            f"the backward pass fails: {type(error).__name__}: {_first_line(error)}",
            where=code.place_of(error),
            fix="leave out in-place operations, .detach(), .data and NumPy in forward",
        ) from error
    without = [
        name for name, each in named_parameters(net).items() if each.requires_grad and each.grad is None
    ]
    if not without:
        return []
    names = ", ".join(without[:_LISTED]) + ("" if len(without) <= _LISTED else ", ...")
    return [f"no gradient reaches {plural(len(without), 'parameter')}, which stay as they are: {names}"]


def _draws(module: nn.Module, images: Tensor) -> bool:
    """Whether the outputs in training mode depend on PyTorch's global generator, dropout layers left out."""
    results = []
    for seed in (0, 1):
        net = copy_module(module).train()
        for each in net.modules():
            if type(each) is nn.Dropout:
                each.eval()
        torch.manual_seed(seed)
        with torch.no_grad():
            results.append(net(images))
    return not torch.equal(*results)


def _output_notes(values: Outputs, *, trains: bool) -> list[str]:
    if values == "log_probabilities":
        return ["its outputs are log-probabilities, which cross-entropy takes as they are"]
    if values == "probabilities" and not trains:
        return ["its outputs are probabilities, whose logarithm is taken"]
    if values == "probabilities":
        note = "its outputs are probabilities, whose logarithm is taken: under cross-entropy alone such a net"
        return [f"{note} trains badly; end it with the logits, or with log_softmax, to use it elsewhere"]
    return []


def _line(frame: FrameType, line: int) -> str:
    """Return the line of a frame that runs the user's own code."""
    file = frame.f_code.co_filename
    return "" if file.startswith((*_OTHER_CODE, "<")) else f"{Path(file).name}, line {line}"


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "")[:300]


def _text(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
