"""The effective receptive field: the influence of each pixel on the centre of a map.

It is the mean absolute gradient of the central position of a map with respect to the image (Luo et al.,
"Understanding the Effective Receptive Field in Deep Convolutional Neural Networks", NeurIPS 2016, arXiv
1701.04128). It is roughly Gaussian, so it is smaller than the theoretical receptive field.

Shapes: images `(N, C, H, W)`, fields `(H, W)`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from convsmith.data.dataset import ImageDataset
from convsmith.data.normalize import Normalizer, normalized_batches
from convsmith.errors import FileError, ModuleError, RunError, ShapeError, suggest
from convsmith.evaluation.predictions import EVALUATE_AGAIN
from convsmith.net.analysis import Analysis
from convsmith.net.arithmetic import SpecAnalysis
from convsmith.net.plan import Branch, Plan, Step
from convsmith.net.rows import ReceptiveField
from convsmith.system import files, reading
from convsmith.system.rng import new_generator
from convsmith.tracing.members import first_weight, unwrap
from convsmith.training.kernels.backward import backward_workarounds
from convsmith.training.metrics import eval_mode

SHARES = (0.25, 0.5, 0.75, 0.9)
# Luo et al. count the pixels above 1 - 95.45 % of the maximum: two standard deviations of a Gaussian.
_THRESHOLD = 1 - 0.9545
_SAMPLE, _BATCH = 104, 64
_HEADS = {"GlobalAvgPool2d", "Flatten"}
Field = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Square:
    """The theoretical receptive field of one position, in pixels; it may reach into the padding."""

    top: float
    left: float
    height: int
    width: int

    @property
    def centre(self) -> tuple[float, float]:
        """Row and column of its centre; 0 is the centre of the first pixel."""
        return self.top + (self.height - 1) / 2, self.left + (self.width - 1) / 2


@dataclass(frozen=True, kw_only=True)
class EffectiveReceptiveField:
    """The effective receptive field of the centre of a map.

    Attributes:
        layer: The module whose output is the map.
        map_shape: Height and width of the map.
        position: Row and column of its centre.
        energy: `(H, W)`, the mean absolute gradient of each pixel, summed over channels, scaled to sum to 1.
        num_images: The number of images in the mean.
        square: The theoretical receptive field of the position; None if it is unknown.
    """

    layer: str
    map_shape: tuple[int, int]
    position: tuple[int, int]
    energy: Field
    num_images: int
    square: Square | None = None

    @cached_property
    def centre(self) -> tuple[float, float]:
        """The origin of radii: the centre of the square if it is known, else the energy's centre of mass."""
        if self.square is not None:
            return self.square.centre
        rows, columns = np.indices(self.energy.shape)
        return float((rows * self.energy).sum()), float((columns * self.energy).sum())

    @cached_property
    def _by_distance(self) -> tuple[Field, Field]:
        """The distances of all pixels from the centre, ascending, and the cumulative energy."""
        rows, columns = np.indices(self.energy.shape)
        distances = np.hypot(rows - self.centre[0], columns - self.centre[1]).ravel()
        order = np.argsort(distances, kind="stable")
        return distances[order], self.energy.ravel()[order].cumsum()

    def share_within(self, radius: float) -> float:
        """Return the share of the energy, from 0 to 1, within a radius in pixels."""
        distances, energy = self._by_distance
        count = int(np.searchsorted(distances, radius + 1e-9, side="right"))
        return float(energy[count - 1]) if count else 0.0

    def radius_of(self, share: float) -> float:
        """Return the smallest radius in pixels that contains a share of the energy, above 0 and up to 1."""
        distances, energy = self._by_distance
        # The cumulative sum need not end at exactly 1.
        index = int(np.searchsorted(energy, share - 1e-9))
        return float(distances[min(index, len(distances) - 1)])

    @property
    def size(self) -> float:
        """The side of a square with as many pixels as have at least 4.55 % of the maximal energy."""
        return float(np.sqrt((self.energy > _THRESHOLD * self.energy.max()).sum()))

    @property
    def is_clipped(self) -> bool:
        """Whether the theoretical receptive field extends beyond the image."""
        if self.square is None:
            return False
        height, width = self.energy.shape
        bottom, right = self.square.top + self.square.height, self.square.left + self.square.width
        return self.square.top < 0 or self.square.left < 0 or bottom > height or right > width

    def record(self) -> dict[str, Any]:
        """Return the numbers as plain values for JSON."""
        return {
            "layer": self.layer,
            "images": self.num_images,
            "radius_of_share": {f"{share:g}": self.radius_of(share) for share in SHARES},
            "effective_size": self.size,
            "theoretical_size": None if self.square is None else [self.square.height, self.square.width],
            "clipped_by_the_image": self.is_clipped,
        }


def effective_field(
    net: nn.Module, batches: Iterable[Tensor], layer: str, theoretical: ReceptiveField | None = None
) -> EffectiveReceptiveField:
    """Measure the effective receptive field of the centre of a layer's output.

    It is the gradient of the sum over channels, in evaluation mode. Modes, gradients and hooks of the net are
    restored.

    Args:
        net: Takes images `(N, C, H, W)`.
        batches: Normalized images of one size.
        layer: The path of a submodule whose output is `(N, C, H, W)`; "" is the net itself.
        theoretical: The theoretical receptive field of the layer, from a row of an `Analysis`.

    Raises:
        ModuleError: There is no such layer, its output is not a map, or no gradient reaches the images.

    Example:
        >>> from torch import nn
        >>> conv = nn.Conv2d(1, 1, 3, padding=1)
        >>> field = effective_field(conv, [torch.rand(4, 1, 9, 9)], "")
        >>> field.position, int((field.energy > 0).sum())
        ((4, 4), 9)
    """
    total: Field | None = None
    count, places = 0, ((0, 0), (0, 0))
    for images in batches:
        gradient, places = _centre_gradient(net, images, layer)
        energy = gradient.abs().sum(dim=(0, 1), dtype=torch.float64).cpu().numpy()
        total = energy if total is None else total + energy
        count += len(images)
    if total is None or not np.isfinite(total).all() or not total.any():
        raise ModuleError(
            "no gradient reaches the images from the centre of the map",
            where=layer or type(net).__name__,
            fix="check that there are images, that the weights are finite, and that the layer is used",
        )
    map_shape, position = places
    return EffectiveReceptiveField(
        layer=layer,
        map_shape=map_shape,
        position=position,
        energy=total / total.sum(),
        num_images=count,
        square=square(theoretical, position),
    )


def layer_before_head(plan: Plan) -> str:
    """Return the path of the last layer before global pooling or flattening.

    Dropout is skipped, since it does nothing in evaluation mode.

    Raises:
        ShapeError: The net flattens the image itself.

    Example:
        >>> from convsmith.net.notation import parse
        >>> from convsmith.net.plan import plan
        >>> layer_before_head(plan(parse("C8 C8:s2 / G F10"), (3, 32, 32)))
        'block1.activation2'
    """
    steps = (step for block in plan.blocks for step in block)
    maps = takewhile(lambda step: _operation(step) not in _HEADS, steps)
    before = [step.name for step in maps if _operation(step) != "Dropout"]
    if not before:
        raise ShapeError(
            "the net has no map before its head", where="net", fix="begin it with C16, for example"
        )
    return before[-1]


def _operation(step: Step) -> str:
    return "Add" if isinstance(step, Branch) else step.operation


def _centre_gradient(
    net: nn.Module, images: Tensor, layer: str
) -> tuple[Tensor, tuple[tuple[int, int], tuple[int, int]]]:
    """Return the gradient `(N, C, H, W)` of the central outputs; the size of the map, and its centre."""
    outputs: list[Tensor] = []
    places: list[tuple[tuple[int, int], tuple[int, int]]] = []

    def store_centre(_: nn.Module, __: Any, output: Any) -> None:
        if not isinstance(output, Tensor) or output.dim() != 4:
            kind = (
                "x".join(map(str, output.shape[1:])) if isinstance(output, Tensor) else type(output).__name__
            )
            raise ModuleError(f"its output is not a map: {kind}", where=layer or type(net).__name__)
        height, width = output.shape[2:]
        places.append(((height, width), (height // 2, width // 2)))
        # Taken at once: a later operation may modify the map in place.
        outputs.append(output[:, :, height // 2, width // 2].sum())

    modules = dict(net.named_modules())
    if layer not in modules:
        raise ModuleError(
            f"no layer {layer!r}", where=type(net).__name__, fix=suggest(layer, filter(None, modules))
        )
    with eval_mode(net), torch.enable_grad():
        images = images.detach().requires_grad_()
        hook = modules[layer].register_forward_hook(store_centre)
        try:
            with backward_workarounds(images.device, images.dtype):
                net(images)
        finally:
            hook.remove()
        if not outputs:
            raise ModuleError("the forward pass does not call it", where=layer)
        (gradient,) = torch.autograd.grad(outputs[0], images)
    return gradient, places[0]


def square(theoretical: ReceptiveField | None, position: tuple[int, int]) -> Square | None:
    """Return the theoretical receptive field of one position of a map; None if it is unknown."""
    if theoretical is None or len(theoretical.axes) != 2:
        return None
    rows, columns = theoretical.axes
    return Square(
        top=float(rows.start + position[0] * rows.jump),
        left=float(columns.start + position[1] * columns.jump),
        height=rows.size,
        width=columns.size,
    )


def measure(
    net: nn.Module, analysis: SpecAnalysis, data: ImageDataset, *, seed: int, num_images: int
) -> EffectiveReceptiveField:
    """Measure the field of the last map before the head on random test images; see `effective_field`.

    Args:
        net: With its weights, on its device.
        analysis: Of the same network.
        data: Its test images are used.
        seed: Of the sample of test images.
        num_images: Size of the sample, at least 1; all test images if there are fewer.

    Raises:
        ShapeError: The network flattens the image itself.
        ModuleError: No gradient reaches the images, for example because all activations are 0.
    """
    layer = layer_before_head(analysis.plan)
    device = next(net.parameters()).device
    drawn = torch.randperm(len(data.test), generator=new_generator(seed, _SAMPLE))
    sample = data.test.select(drawn[:num_images].sort().values.numpy())
    batches = normalized_batches(sample.images, Normalizer.of(data, device), _BATCH)
    return effective_field(net, batches, layer, _theoretical(analysis, layer))


def measure_noise(
    net: nn.Module, analysis: Analysis, *, seed: int, num_images: int
) -> EffectiveReceptiveField:
    """Measure the field of the last map before the head on normally distributed noise; see `measure`.

    Args:
        net: Any module that takes one image, on the CPU.
        analysis: Of the same module.
        seed: Of the noise.
        num_images: At least 1.

    Raises:
        ModuleError: The module takes other inputs, no layer returns a map, or no gradient reaches the images.
    """
    net = unwrap(net)
    if len(analysis.inputs) > 1 or len(analysis.input_shape) != 3 or analysis.unit != "image":
        raise ModuleError(
            "it takes other inputs than one image",
            where=analysis.title,
            fix="wrap it in a module that takes the image and sets the others",
        )
    dtype = first_weight(net).dtype
    layer, theoretical = _last_map(net, analysis, torch.zeros(1, *analysis.input_shape, dtype=dtype))
    generator = new_generator(seed, _SAMPLE)
    batches = (
        torch.randn(min(_BATCH, num_images - start), *analysis.input_shape, generator=generator).to(dtype)
        for start in range(0, num_images, _BATCH)
    )
    return effective_field(net, batches, layer, theoretical)


def _last_map(net: nn.Module, analysis: Analysis, image: Tensor) -> tuple[str, ReceptiveField]:
    """Return the layer of the last map before the head, and its theoretical receptive field."""
    shapes = _output_shapes(net, image)
    for row in reversed(analysis.rows):
        if len(row.out_shape) == 3 and row.out_field.axes and all(row.out_field.sizes):
            # The output of a function is that of the module that calls it, if nothing follows.
            for path in (row.name, row.layer):
                if shapes.get(path) == row.out_shape:
                    return path, row.out_field
    raise ModuleError(
        "no layer returns a map before the head", where=analysis.title, fix="name another module"
    )


def _output_shapes(net: nn.Module, image: Tensor) -> dict[str, tuple[int, ...]]:
    """Return the shape of each layer's last output, without the batch."""
    shapes: dict[str, tuple[int, ...]] = {}
    hooks = [
        module.register_forward_hook(
            lambda _, __, output, path=path: shapes.update({path: tuple(getattr(output, "shape", ())[1:])})
        )
        for path, module in net.named_modules()
    ]
    try:
        with eval_mode(net), torch.no_grad():
            net(image)
    finally:
        for hook in hooks:
            hook.remove()
    return shapes


def write(field: EffectiveReceptiveField, path: Path) -> None:
    """Write a field as a NumPy archive, without the theoretical field, which `read` computes again."""
    arrays: dict[str, NDArray[Any] | None] = {
        "energy": field.energy.astype(np.float32),
        "map_shape": np.array(field.map_shape),
        "position": np.array(field.position),
        "num_images": np.array(field.num_images),
    }
    files.write_arrays(path, arrays)


def read(path: Path, analysis: SpecAnalysis) -> EffectiveReceptiveField:
    """Read the file of `write`.

    Args:
        path: The file.
        analysis: Of the network that was measured.

    Raises:
        RunError: The file is damaged, or belongs to another network.
    """
    layer = layer_before_head(analysis.plan)
    try:
        arrays = reading.read_arrays(path)
        # Reshaping fails on the field of a network with another input size.
        energy = arrays["energy"].astype(np.float64).reshape(analysis.input_shape[1:])
        rows, columns = (int(each) for each in arrays["position"])
        height, width = (int(each) for each in arrays["map_shape"])
        return EffectiveReceptiveField(
            layer=layer,
            map_shape=(height, width),
            position=(rows, columns),
            energy=energy / energy.sum(),
            num_images=int(arrays["num_images"]),
            square=square(_theoretical(analysis, layer), (rows, columns)),
        )
    except (FileError, ValueError, TypeError, KeyError) as error:
        raise RunError("damaged receptive field", where=str(path), fix=EVALUATE_AGAIN) from error


def _theoretical(analysis: SpecAnalysis, layer: str) -> ReceptiveField:
    return next(row.out_field for row in analysis.rows if row.name == layer)
