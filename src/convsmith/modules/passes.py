"""Passes of a user's module on a few images, with errors that name its lines."""

import contextlib
import io
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import torch
from torch import Tensor, nn

from convsmith.errors import ModuleError
from convsmith.modules.behaviour import first_line, fix_of
from convsmith.modules.inspection import required_arguments
from convsmith.modules.limits import Locate, raising_place
from convsmith.text import plural
from convsmith.tracing.members import named_parameters
from convsmith.tracing.places import own_location

ImageShape = tuple[int, int, int]
# Sizes that images often have, and sizes of batches, to name one that the module accepts.
_USUAL_SHAPES = tuple((channels, side, side) for side in (32, 28, 64, 96, 224) for channels in (3, 1))
_USUAL_BATCHES = (8, 16, 32, 64, 100, 128, 256, 512, 1)


@dataclass(kw_only=True)
class Passes:
    """Runs a module.

    Attributes:
        where: The module, for messages.
        locate: Returns the place of a frame in the user's files.
        with_channels: Returns the name of the net with an argument for the images' channels, or "".
        prints: Whether a forward pass has printed text.
    """

    where: str
    locate: Locate
    with_channels: Callable[[], str] = field(default=lambda: "")
    prints: bool = False

    def forward(self, net: nn.Module, images: Tensor, activity: str = "the forward pass") -> object:
        """Return what a module returns.

        Raises:
            ModuleError: It fails.
        """
        echo = _Echo()
        try:
            with contextlib.redirect_stdout(echo):
                return net(images)
        except Exception as error:
            shape = tuple(images.shape[1:])
            raise ModuleError(
                f"{activity} fails on {plural(len(images), 'image')} of {_text(shape)}: "
                f"{type(error).__name__}: {first_line(error)}",
                where=self._place(error),
                fix=self._fix(net, shape),
            ) from error
        finally:
            self.prints |= echo.used

    def gradients(self, net: nn.Module, outputs: Tensor) -> dict[str, Tensor | None]:
        """Return the gradients of all trainable parameters, None where none arrives.

        Raises:
            ModuleError: The backward pass fails.
        """
        trainable = {name: each for name, each in named_parameters(net).items() if each.requires_grad}
        try:
            gradients = torch.autograd.grad(
                outputs.float().square().sum(), list(trainable.values()), allow_unused=True
            )
        except Exception as error:
            raise ModuleError(
                f"the backward pass fails: {type(error).__name__}: {first_line(error)}",
                where=self._place(error),
                fix=fix_of(error),
            ) from error
        return dict(zip(trainable, gradients, strict=True))

    def _place(self, error: BaseException) -> str:
        return raising_place(error, self.locate) or self.where

    def _fix(self, net: nn.Module, shape: tuple[int, ...]) -> str:
        """Return what the net accepts, if it is the images that do not fit."""
        if more := required_arguments(net.forward)[1:]:
            return f"a classifier takes images alone: give {', '.join(more)} a default in forward"
        in_python = f"check it in Python: net(torch.zeros(2, {', '.join(map(str, shape))}))"
        if _accepts(net, shape):
            return in_python
        if any(each.dtype != torch.float32 for each in net.parameters()) and _accepts(
            net, shape, torch.float32
        ):
            return "its weights are not of torch.float32, as the images are: write net.float()"
        for count in _USUAL_BATCHES:
            if _accepts(net, shape, batch=count):
                return (
                    f"it takes {plural(count, 'image')} at once: take their number from the images, as in "
                    "x.view(x.size(0), -1) or x.flatten(1)"
                )
        for usual in _USUAL_SHAPES:
            if _accepts(net, usual):
                return self._usual_shape_fix(usual, shape)
        return in_python

    def _usual_shape_fix(self, usual: ImageShape, shape: Sequence[int]) -> str:
        if usual[0] != shape[0] and (better := self.with_channels()):
            return f"write {better}"
        channels = "" if usual[0] == shape[0] else f", with {plural(usual[0], 'channel')}"
        resize = "" if usual[1:] == tuple(shape[1:]) else f": data.resize={usual[1]}"
        return f"it accepts images of {_text(usual)}{channels}{resize}"


class _Echo(io.TextIOBase):
    """Passes what is printed on to standard error."""

    used = False

    def write(self, text: str) -> int:
        self.used = True
        return sys.stderr.write(text)


def _accepts(net: nn.Module, shape: Sequence[int], dtype: torch.dtype | None = None, batch: int = 2) -> bool:
    try:
        if dtype is not None:
            net = net.to(dtype)
        with torch.no_grad(), contextlib.redirect_stdout(io.StringIO()):
            outputs = net(torch.zeros(batch, *shape))
    except Exception:  # noqa: BLE001 - whatever it is, the images do not fit
        return False
    # `x.view(-1, 320)` accepts images of any size whose numbers are a multiple, and mixes them.
    return not isinstance(outputs, torch.Tensor) or outputs.shape[:1] == (batch,)


def line_of(frame: FrameType, line: int) -> str:
    """Return the line of a frame that runs the user's own code."""
    place = own_location(frame.f_code.co_filename, line)
    return f"{Path(place.file).name}, line {line}" if place else ""


def _text(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
