"""The argument of a net's constructor that sets its number of classes, or of channels."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from convsmith.modules.creation import create_for
from convsmith.modules.loaded import LoadedModule
from convsmith.modules.reference import ModuleReference
from convsmith.tracing.isolation import preserved_state

ImageShape = tuple[int, int, int]
# Without underscores, in lower case; the first ones first.
_CLASSES = (
    "numclasses", "nclasses", "nbclasses", "numclass", "nclass", "classnum", "classes", "numlabels",
    "nlabels", "numoutputs", "noutputs", "outputs", "outfeatures", "outputdim", "outdim", "outputsize",
    "outsize", "outputchannels", "outchannels", "outch", "nout", "out", "k",
)  # fmt: skip
_CHANNELS = (
    "inchannels", "inchans", "inch", "inputchannels", "numchannels", "nchannels", "imgchannels",
    "imagechannels", "inputchannel", "inchannel", "channels", "inputdim", "inputdepth", "incs", "inc", "nc",
)  # fmt: skip


def with_classes(loaded: LoadedModule, image_shape: ImageShape, num_classes: int) -> str:
    """Return the name of a net with the argument that gives it `num_classes` outputs; empty if none does."""

    def fits(net: nn.Module) -> bool:
        return tuple(_outputs(net, image_shape).shape) == (2, num_classes)

    return _with_argument(loaded, _CLASSES, num_classes, image_shape, fits)


def with_channels(loaded: LoadedModule, image_shape: ImageShape) -> str:
    """Return the name of a net with the argument for images of `image_shape`; empty if none does it."""

    def fits(net: nn.Module) -> bool:
        return _outputs(net, image_shape).dim() > 1

    return _with_argument(loaded, _CHANNELS, image_shape[0], image_shape, fits)


def _outputs(net: nn.Module, image_shape: ImageShape) -> Tensor:
    net.eval()
    with torch.no_grad():
        outputs: Tensor = net(torch.zeros(2, *image_shape))
    return outputs


def _with_argument(
    loaded: LoadedModule,
    names: Sequence[str],
    value: int,
    image_shape: ImageShape,
    fits: Callable[[nn.Module], bool],
) -> str:
    if isinstance(loaded.factory, nn.Module):
        return ""
    with preserved_state():
        for reference in _candidates(loaded, names, value):
            try:
                if fits(create_for(replace(loaded, reference=reference), image_shape)):
                    return str(reference)
            except Exception:  # noqa: BLE001, S112 - whatever it is, this is not the argument
                continue
    return ""


def _candidates(loaded: LoadedModule, names: Sequence[str], value: int) -> Iterator[ModuleReference]:
    """Yield the reference with each argument of such a name set to a value."""
    reference = loaded.reference
    try:
        signature = inspect.signature(loaded.factory)
        given = signature.bind_partial(*reference.args, **reference.kwargs).arguments
    except (TypeError, ValueError):
        return
    usual = {name.replace("_", "").lower(): name for name in signature.parameters}
    for short in names:
        name = usual.get(short)
        if name is None:
            continue
        position = list(signature.parameters).index(name)
        if name in given and position < len(reference.args):
            args = (*reference.args[:position], value, *reference.args[position + 1 :])
            yield replace(reference, args=args)
        else:
            yield replace(reference, kwargs={**reference.kwargs, name: value})
    if any(each.kind is each.VAR_KEYWORD for each in signature.parameters.values()):
        # As the functions of timm and torchvision have them.
        name = {"numclasses": "num_classes", "inchannels": "in_chans"}[names[0]]
        yield replace(reference, kwargs={**reference.kwargs, name: value})
