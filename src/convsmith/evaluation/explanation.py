"""Explanations of predictions: class-activation maps, occlusion maps, and the outputs of blocks."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from convsmith.errors import FileError, RunError
from convsmith.evaluation.metrics import mistakes_of_each_class, rank_in_class
from convsmith.evaluation.predictions import EVALUATE_AGAIN, Indices, Predictions
from convsmith.net.plan import Plan
from convsmith.system import files, reading
from convsmith.training.metrics import eval_mode

Maps = NDArray[np.float32]
MOST_CHANNELS = 8
# With only these operations after global pooling, the logits are the mean of the logits of the map.
_AFFINE = {"Conv2d", "Linear", "BatchNorm2d", "Flatten", "Dropout"}


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Maps for some images of the test set.

    Attributes:
        indices: `(M,)`, the indices of the images in the split.
        for_predicted: `(M, h, w)`, the logit of the predicted class at each position of the last map; None
            unless the net ends in global average pooling and affine layers.
        for_label: `(M, h, w)`, the same for the class of the label.
        occlusion: `(M, a, b)`, the drop of the logit of the predicted class when a patch at that position is
            covered by the mean colour.
        patch: The side of the patch in pixels.
        blocks: For the first image, the output of each block that is a map, `(K, h, w)`: the eight channels
            that vary most.
        channels: The number of channels of each of these blocks.
    """

    indices: Indices
    for_predicted: Maps | None
    for_label: Maps | None
    occlusion: Maps
    patch: int
    blocks: tuple[Maps, ...] = ()
    channels: tuple[int, ...] = ()


def choose_images(predictions: Predictions, order: Indices, count: int) -> Indices:
    """Choose images to explain: half misclassified, half correct and of as many classes as possible.

    The most confident mistakes of each class come first.

    Args:
        predictions: For the split.
        order: Its indices, in the order in which correct images are considered.
        count: The maximum number of images.
    """
    correct = order[~predictions.wrong[order]]
    is_first = rank_in_class(predictions.labels[correct]) == 0
    wrong = mistakes_of_each_class(predictions, count // 2)
    right = np.concatenate([correct[is_first], correct[~is_first]])[: count - len(wrong)]
    return np.concatenate([right, wrong]).astype(np.int64)


@torch.no_grad()
def class_activation_maps(net: nn.Module, plan: Plan, images_NCHW: Tensor) -> Tensor | None:  # noqa: N803
    """Compute the logits at each position of the input of global average pooling.

    Their mean over the map equals the logits of the net (CAM, Zhou et al., arXiv 1512.04150, with biases).

    Args:
        net: Built from the plan, in evaluation mode.
        plan: Of the net.
        images_NCHW: `(N, C, H, W)`, normalized.

    Returns:
        `(N, num_classes, h, w)`; None without such pooling, or with other than affine layers after it.
    """
    operations = list(plan.operations())
    pools = [number for number, op in enumerate(operations) if op.operation == "GlobalAvgPool2d"]
    if not pools or any(op.operation not in _AFFINE for op in operations[pools[-1] + 1 :]):
        return None
    pool = operations[pools[-1]]
    if len(pool.in_shape) != 3 or pool.name.count(".") != 1:
        return None
    maps: list[Tensor] = []
    handle = net.get_submodule(pool.name).register_forward_pre_hook(lambda _, inputs: maps.append(inputs[0]))
    try:
        net(images_NCHW)
    finally:
        handle.remove()
    count, channels, height, width = maps[0].shape
    places = maps[0].permute(0, 2, 3, 1).reshape(-1, channels, 1, 1)
    for op in operations[pools[-1] + 1 :]:
        places = net.get_submodule(op.name)(places)
    logits: Tensor = places.reshape(count, height, width, -1).permute(0, 3, 1, 2)
    return logits


@torch.no_grad()
def occlusion_map(net: nn.Module, image_CHW: Tensor, label: int) -> Tensor:  # noqa: N803
    """Compute the drop of a class's logit when a patch is covered (Zeiler and Fergus, arXiv 1311.2901).

    Args:
        net: In evaluation mode.
        image_CHW: `(C, H, W)`, normalized, so that 0 is the mean colour.
        label: The class.

    Returns:
        `(a, b)`, one value for each position of the patch, half a patch apart.
    """
    patch = patch_size(image_CHW)
    step = max(patch // 2, 1)
    height, width = image_CHW.shape[1:]
    rows, columns = range(0, height - patch + 1, step), range(0, width - patch + 1, step)
    covered = image_CHW.repeat(len(rows) * len(columns), 1, 1, 1)
    for number, (row, column) in enumerate((row, column) for row in rows for column in columns):
        covered[number, :, row : row + patch, column : column + patch] = 0
    uncovered = net(image_CHW[None])[0, label]
    drop: Tensor = uncovered - net(covered)[:, label]
    return drop.view(len(rows), len(columns))


@torch.no_grad()
def block_maps(net: nn.Module, image_CHW: Tensor) -> list[Tensor]:  # noqa: N803
    """Return the outputs of the blocks for one image.

    Args:
        net: In evaluation mode; its children are the blocks.
        image_CHW: `(C, H, W)`, normalized.

    Returns:
        The outputs `(channels, h, w)` that are maps of more than one position, in the order of the blocks.
    """
    outputs: list[Tensor] = []
    handles = [
        # A copy: the next block's activation may write into its input.
        child.register_forward_hook(lambda _, __, output: outputs.append(output[0].detach().clone()))
        for child in net.children()
    ]
    try:
        net(image_CHW[None])
    finally:
        for handle in handles:
            handle.remove()
    return [output for output in outputs if output.dim() == 3 and output[0].numel() > 1]


def most_variable_channels(maps_CHW: Tensor) -> Tensor:  # noqa: N803
    """Return the channels with the largest deviation over the map, at most eight, in their order."""
    deviations = maps_CHW.flatten(1).std(1, correction=0)
    selection = deviations.argsort(descending=True, stable=True)[:MOST_CHANNELS].sort().values
    return maps_CHW[selection]


def patch_size(image_CHW: Tensor | NDArray[np.float32]) -> int:  # noqa: N803
    """Return the side of the occluding patch in pixels: a quarter of the shorter side of the image."""
    return max(min(image_CHW.shape[1:]) // 4, 1)


def explain(
    net: nn.Module,
    plan: Plan,
    images_NCHW: Tensor,  # noqa: N803
    predictions: Predictions,
    indices: Indices,
) -> Explanation:
    """Explain the predictions for some images. The mode of the net is restored.

    Args:
        net: Built from the plan.
        plan: Of the net.
        images_NCHW: `(M, C, H, W)`, normalized, on the device of the net.
        predictions: For the split.
        indices: `(M,)`, the indices of the images in the split.
    """
    predicted, labels = predictions.predicted[indices], predictions.labels[indices]
    with eval_mode(net):
        logits = class_activation_maps(net, plan, images_NCHW)
        occlusion = torch.stack(
            [
                occlusion_map(net, image, int(label))
                for image, label in zip(images_NCHW, predicted, strict=True)
            ]
        )
        blocks = block_maps(net, images_NCHW[0])
    rows = np.arange(len(indices))
    by_class = None if logits is None else logits.float().cpu().numpy()
    return Explanation(
        indices=indices,
        for_predicted=None if by_class is None else by_class[rows, predicted],
        for_label=None if by_class is None else by_class[rows, labels],
        occlusion=occlusion.float().cpu().numpy(),
        patch=patch_size(images_NCHW[0]),
        blocks=tuple(most_variable_channels(block).float().cpu().numpy() for block in blocks),
        channels=tuple(len(block) for block in blocks),
    )


def write(explanation: Explanation, path: Path) -> None:
    """Write the maps as a NumPy archive; equal maps give equal bytes."""
    arrays = {
        "indices": explanation.indices,
        "for_predicted": explanation.for_predicted,
        "for_label": explanation.for_label,
        "occlusion": explanation.occlusion,
        "patch": np.array(explanation.patch),
        "channels": np.array(explanation.channels, dtype=np.int64),
        **{f"block{number}": maps for number, maps in enumerate(explanation.blocks)},
    }
    files.write_arrays(path, arrays)


def read(path: Path, num_images: int) -> Explanation:
    """Read the maps for a split of `num_images`.

    Raises:
        RunError: The file is damaged.
    """
    try:
        arrays = reading.read_arrays(path)
        explanation = Explanation(
            indices=arrays["indices"],
            for_predicted=arrays.get("for_predicted"),
            for_label=arrays.get("for_label"),
            occlusion=arrays["occlusion"],
            patch=int(arrays["patch"]),
            blocks=tuple(arrays[f"block{number}"] for number in range(len(arrays.get("channels", ())))),
            channels=tuple(map(int, arrays.get("channels", ()))),
        )
        _check(explanation, num_images)
    except (FileError, ValueError, TypeError, KeyError, ArithmeticError) as error:
        raise RunError("damaged explanation", where=str(path), fix=EVALUATE_AGAIN) from error
    return explanation


def _check(explanation: Explanation, num_images: int) -> None:
    indices = explanation.indices
    if indices.ndim != 1 or indices.dtype.kind != "i":
        raise ValueError("the indices are not a list of integers")
    if indices.min(initial=0) < 0 or indices.max(initial=0) >= num_images:
        raise ValueError("an index is outside of the split")
    optional = (explanation.for_predicted, explanation.for_label, explanation.occlusion)
    of_images = [maps for maps in optional if maps is not None]
    for maps in (*of_images, *explanation.blocks):
        if maps.ndim != 3 or maps.dtype.kind != "f" or not np.isfinite(maps).all():
            raise ValueError("the maps are not arrays of finite numbers")
    if any(len(maps) != len(indices) for maps in of_images):
        raise ValueError("the numbers of maps and images differ")
