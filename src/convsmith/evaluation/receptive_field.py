"""The effective receptive field: the influence of each pixel on the centre of a map.

It is the mean absolute gradient of the central position of a map with respect to the image (Luo et al.,
"Understanding the Effective Receptive Field in Deep Convolutional Neural Networks", NeurIPS 2016, arXiv
1701.04128). It is roughly Gaussian, so it is smaller than the theoretical receptive field.

Shapes: images `(N, C, H, W)`, fields `(H, W)`.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from convsmith.data.dataset import ImageDataset
from convsmith.data.normalize import Normalizer, normalized_batches
from convsmith.errors import FileError, ModuleError, RunError, ShapeError, suggest
from convsmith.evaluation.function_calls import FunctionCall, FunctionCalls
from convsmith.evaluation.predictions import EVALUATE_AGAIN
from convsmith.net.analysis import Analysis
from convsmith.net.rows import IMAGE, ReceptiveField, Row
from convsmith.system import files, reading
from convsmith.system.rng import new_generator
from convsmith.tracing.members import first_weight, unwrap
from convsmith.training.kernels.backward import backward_workarounds
from convsmith.training.modes import eval_mode

SHARES = (0.25, 0.5, 0.75, 0.9)
# Luo et al. count the pixels above 1 - 95.45 % of the maximum: two standard deviations of a Gaussian.
_THRESHOLD = 1 - 0.9545
_SAMPLE, _BATCH = 104, 64
_DROPOUTS = {"Dropout", "Dropout2d", "AlphaDropout", "FeatureAlphaDropout"}
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
    modules = dict(net.named_modules())
    if layer not in modules:
        raise ModuleError(
            f"no layer {layer!r}", where=type(net).__name__, fix=suggest(layer, filter(None, modules))
        )
    return _mean_field(net, batches, _Outputs(layer=layer, module=modules[layer]), theoretical)


def _mean_field(
    net: nn.Module, batches: Iterable[Tensor], outputs: "_Outputs", theoretical: ReceptiveField | None
) -> EffectiveReceptiveField:
    """Return the field of the last of some outputs; see `effective_field`."""
    total: Field | None = None
    count, places = 0, ((0, 0), (0, 0))
    for images in batches:
        gradient, places = _centre_gradient(net, images, outputs)
        energy = gradient.abs().sum(dim=(0, 1), dtype=torch.float64).cpu().numpy()
        total = energy if total is None else total + energy
        count += len(images)
    if total is None or not np.isfinite(total).all() or not total.any():
        raise ModuleError(
            "no gradient reaches the images from the centre of the map",
            where=outputs.layer or type(net).__name__,
            fix="check that there are images, that the weights are finite, and that the layer is used",
        )
    map_shape, position = places
    return EffectiveReceptiveField(
        layer=outputs.layer,
        map_shape=map_shape,
        position=position,
        energy=total / total.sum(),
        num_images=count,
        square=square(theoretical, position),
    )


def last_map(analysis: Analysis) -> Row:
    """Return the row of the last map before the head, that is before global pooling or flattening.

    Dropout is skipped, since it does nothing in evaluation mode.

    Raises:
        ShapeError: No layer returns a map: the net flattens the image itself.

    Example:
        >>> from convsmith.net.arithmetic import analyze_notation
        >>> last_map(analyze_notation("C8 C8:s2 / G F10", (3, 32, 32))).name
        'block1.activation2'
    """
    pending, seen, found = list(analysis.outputs or (len(analysis.rows) - 1,)), {IMAGE}, []
    while pending:
        number = pending.pop()
        if number in seen:
            continue
        seen.add(number)
        row = analysis.rows[number]
        if len(row.out_shape) == 3 and all(row.out_field.sizes or (0,)) and row.operation not in _DROPOUTS:
            found.append(number)
        else:
            pending += row.sources
    if not found:
        raise ShapeError(
            "the net has no map before its head", where="net", fix="begin it with a convolution, as C16"
        )
    return analysis.rows[max(found)]


@dataclass(frozen=True, kw_only=True)
class _Outputs:
    """The outputs of a layer, or of functions.

    Attributes:
        layer: Its path, or the name of the function.
        module: The layer; None for all functions that return a map of the shape.
        shape: `(C, h, w)` of the map; None for any.
    """

    layer: str
    module: nn.Module | None
    shape: tuple[int, ...] | None = None

    @classmethod
    def of(cls, row: Row, net: nn.Module) -> "_Outputs":
        """Return those of a row: of its layer, or of all functions that return its shape, for a function."""
        return cls(layer=row.name, module=dict(net.named_modules()).get(row.name), shape=row.out_shape)

    @contextmanager
    def watch(self, visit: Callable[[Any], None]) -> Iterator[None]:
        """Pass each output of the shape to a function."""

        def see(output: Any) -> None:
            if self.shape is None or (isinstance(output, Tensor) and tuple(output.shape[1:]) == self.shape):
                visit(output)

        def see_call(call: FunctionCall) -> Tensor:
            see(call.result)
            return call.result

        if self.module is None:
            with FunctionCalls(see_call):
                yield
            return
        hook = self.module.register_forward_hook(lambda _, __, output: see(output))
        try:
            yield
        finally:
            hook.remove()


def _centre_gradient(
    net: nn.Module, images: Tensor, outputs: _Outputs
) -> tuple[Tensor, tuple[tuple[int, int], tuple[int, int]]]:
    """Return the gradient `(N, C, H, W)` of the centre of the last output; the map's size, and its centre."""
    centre: Tensor | None = None
    places = ((0, 0), (0, 0))

    def store_centre(output: Any) -> None:
        nonlocal centre, places
        if not isinstance(output, Tensor) or output.dim() != 4:
            kind = (
                "x".join(map(str, output.shape[1:])) if isinstance(output, Tensor) else type(output).__name__
            )
            where = outputs.layer or type(net).__name__
            raise ModuleError(f"its output is not a map: {kind}", where=where)
        height, width = output.shape[2:]
        places = ((height, width), (height // 2, width // 2))
        # Taken at once: a later operation may modify the map in place.
        centre = output[:, :, height // 2, width // 2].sum()

    with eval_mode(net), torch.enable_grad():
        images = images.detach().requires_grad_()
        with backward_workarounds(images.device, images.dtype), outputs.watch(store_centre):
            # A copy: the first layer may write into its input.
            net(images.clone())
        if centre is None:
            raise ModuleError("the forward pass does not call it", where=outputs.layer)
        try:
            (gradient,) = torch.autograd.grad(centre, images)
        except RuntimeError as error:
            what = f"no gradient reaches the images: {' '.join(str(error).split())[:200]}"
            raise ModuleError(what, where=outputs.layer or type(net).__name__) from error
    return gradient, places


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
    net: nn.Module, analysis: Analysis, data: ImageDataset, *, seed: int, num_images: int
) -> EffectiveReceptiveField:
    """Measure the field of the last map before the head on random test images; see `effective_field`.

    Args:
        net: With its weights, on its device; the map may be the output of a layer or of a function.
        analysis: Of the same network.
        data: Its test images are used.
        seed: Of the sample of test images.
        num_images: Size of the sample, at least 1; all test images if there are fewer.

    Raises:
        ShapeError: The network returns no map before its head.
        ModuleError: No gradient reaches the images, for example because all activations are 0.
    """
    row, device = last_map(analysis), next(net.parameters()).device
    drawn = torch.randperm(len(data.test), generator=new_generator(seed, _SAMPLE))
    sample = data.test.select(drawn[:num_images].sort().values.numpy())
    batches = normalized_batches(sample.images, Normalizer.of(data, device), _BATCH)
    return _mean_field(net, batches, _Outputs.of(row, net), row.out_field)


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
        ModuleError: The module takes other inputs, or no gradient reaches the images.
        ShapeError: No layer returns a map before the head.
    """
    net = unwrap(net)
    if len(analysis.inputs) > 1 or len(analysis.input_shape) != 3 or analysis.unit != "image":
        raise ModuleError(
            "it takes other inputs than one image",
            where=analysis.title,
            fix="wrap it in a module that takes the image and sets the others",
        )
    row, dtype = last_map(analysis), first_weight(net).dtype
    generator = new_generator(seed, _SAMPLE)
    batches = (
        torch.randn(min(_BATCH, num_images - start), *analysis.input_shape, generator=generator).to(dtype)
        for start in range(0, num_images, _BATCH)
    )
    return _mean_field(net, batches, _Outputs.of(row, net), row.out_field)


def write(field: EffectiveReceptiveField, path: Path) -> None:
    """Write a field as a NumPy archive, without the theoretical field, which `read` computes again."""
    arrays: dict[str, NDArray[Any] | None] = {
        "energy": field.energy.astype(np.float32),
        "map_shape": np.array(field.map_shape),
        "position": np.array(field.position),
        "num_images": np.array(field.num_images),
    }
    files.write_arrays(path, arrays)


def read(path: Path, analysis: Analysis) -> EffectiveReceptiveField:
    """Read the file of `write`.

    Args:
        path: The file.
        analysis: Of the network that was measured.

    Raises:
        RunError: The file is damaged, or belongs to another network.
    """
    row = last_map(analysis)
    try:
        arrays = reading.read_arrays(path)
        # Reshaping fails on the field of a network with another input size.
        energy = arrays["energy"].astype(np.float64).reshape(analysis.input_shape[1:])
        rows, columns = (int(each) for each in arrays["position"])
        height, width = (int(each) for each in arrays["map_shape"])
        # Older versions measured the result of a pooling window over the full map.
        row = row if row.out_shape[1:] == (height, width) else _last_of_size(analysis, (height, width))
        return EffectiveReceptiveField(
            layer=row.name,
            map_shape=(height, width),
            position=(rows, columns),
            energy=energy / energy.sum(),
            num_images=int(arrays["num_images"]),
            square=square(row.out_field, (rows, columns)),
        )
    except (FileError, ValueError, TypeError, KeyError) as error:
        raise RunError("damaged receptive field", where=str(path), fix=EVALUATE_AGAIN) from error


def _last_of_size(analysis: Analysis, size: tuple[int, int]) -> Row:
    sizes = [row.out_shape[1:] for row in analysis.rows]
    if size not in sizes:
        raise ValueError(f"no map of {size}")
    return analysis.rows[len(sizes) - 1 - sizes[::-1].index(size)]
