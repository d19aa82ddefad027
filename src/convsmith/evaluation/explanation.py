"""Explanations of predictions: class-activation maps, occlusion maps, and the outputs of blocks."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from convsmith.errors import FileError, RunError
from convsmith.evaluation.block_maps import block_maps
from convsmith.evaluation.class_activation import class_activation_maps
from convsmith.evaluation.forward import Forward, logits_of
from convsmith.evaluation.metrics import mistakes_of_each_class, rank_in_class
from convsmith.evaluation.predictions import EVALUATE_AGAIN, Indices, Predictions
from convsmith.net.analysis import Analysis
from convsmith.system import files, reading
from convsmith.training.modes import eval_mode

Maps = NDArray[np.float32]
MOST_CHANNELS = 8
# Images that are covered at once: those of a square image are one batch.
_BATCH = 256


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Maps for some images of the test set.

    Attributes:
        indices: `(M,)`, the indices of the images in the split.
        for_predicted: `(M, h, w)`, the logit of the predicted class at each position of the last map; None
            unless the net ends in global average pooling and affine functions.
        for_label: `(M, h, w)`, the same for the class of the label.
        occlusion: `(M, a, b)`, the drop of the logit of the predicted class when a patch at that position is
            covered by the mean colour.
        patch: The side of the patch in pixels.
        blocks: For the first image, the output of each block that is a map, `(K, h, w)`: the eight channels
            that vary most.
        channels: The number of channels of each of these blocks.
        names: The path of each of these blocks, "" for a map that a function made; empty for the blocks of
            the notation, which are numbered.
    """

    indices: Indices
    for_predicted: Maps | None
    for_label: Maps | None
    occlusion: Maps
    patch: int
    blocks: tuple[Maps, ...] = ()
    channels: tuple[int, ...] = ()
    names: tuple[str, ...] = ()


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
def occlusion_map(forward: Forward, image_CHW: Tensor, label: int) -> Tensor:  # noqa: N803
    """Compute the drop of a class's logit when a patch is covered (Zeiler and Fergus, arXiv 1311.2901).

    Args:
        forward: A function from images to logits, such as a net in evaluation mode.
        image_CHW: `(C, H, W)`, normalized, so that 0 is the mean colour.
        label: The class.

    Returns:
        `(a, b)`, one value for each position of the patch, half a patch apart.
    """
    patch = patch_size(image_CHW)
    step = max(patch // 2, 1)
    height, width = image_CHW.shape[1:]
    rows, columns = range(0, height - patch + 1, step), range(0, width - patch + 1, step)
    places = [(row, column) for row in rows for column in columns]
    uncovered = forward(image_CHW[None])[0, label]
    drops = []
    for start in range(0, len(places), _BATCH):
        batch = places[start : start + _BATCH]
        covered = image_CHW.repeat(len(batch), 1, 1, 1)
        for number, (row, column) in enumerate(batch):
            covered[number, :, row : row + patch, column : column + patch] = 0
        drops.append(uncovered - forward(covered)[:, label])
    return torch.cat(drops).view(len(rows), len(columns))


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
    analysis: Analysis,
    images_NCHW: Tensor,  # noqa: N803
    predictions: Predictions,
    indices: Indices,
) -> Explanation:
    """Explain the predictions for some images. The mode of the net is restored.

    Maps are those of the logits, also if the net returns probabilities or their logarithms.

    Args:
        net: From images to one value for each class.
        analysis: Of the net.
        images_NCHW: `(M, C, H, W)`, normalized, on the device of the net.
        predictions: For the split.
        indices: `(M,)`, the indices of the images in the split.
    """
    predicted, labels = predictions.predicted[indices], predictions.labels[indices]
    with eval_mode(net):
        logits = class_activation_maps(net, images_NCHW)
        forward = logits_of(net, images_NCHW)
        occlusion = torch.stack(
            [
                occlusion_map(forward, image, int(label))
                for image, label in zip(images_NCHW, predicted, strict=True)
            ]
        )
        blocks = block_maps(net, analysis, images_NCHW[0])
    rows = np.arange(len(indices))
    by_class = None if logits is None else logits.float().cpu().numpy()
    names = tuple(block.name for block in blocks)
    numbered = tuple(f"block{number}" for number in range(1, len(blocks) + 1))
    return Explanation(
        indices=indices,
        for_predicted=None if by_class is None else by_class[rows, predicted],
        for_label=None if by_class is None else by_class[rows, labels],
        occlusion=occlusion.float().cpu().numpy(),
        patch=patch_size(images_NCHW[0]),
        blocks=tuple(most_variable_channels(block.maps_CHW).float().cpu().numpy() for block in blocks),
        channels=tuple(len(block.maps_CHW) for block in blocks),
        names=() if names == numbered else names,
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
        "names": np.array([name.encode() for name in explanation.names]) if explanation.names else None,
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
            names=tuple(bytes(name).decode() for name in arrays.get("names", ())),
        )
        _check(explanation, num_images)
    except (FileError, ValueError, TypeError, KeyError, ArithmeticError) as error:
        raise RunError("damaged explanation", where=str(path), fix=EVALUATE_AGAIN) from error
    return explanation


def _check(explanation: Explanation, num_images: int) -> None:
    indices = explanation.indices
    if explanation.names and len(explanation.names) != len(explanation.blocks):
        raise ValueError("the numbers of blocks and their names differ")
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
