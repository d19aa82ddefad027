"""The effective receptive field of a run's or a recipe's net on the images of its own data."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from convsmith.data.normalize import Normalizer, normalized
from convsmith.errors import FileError, RecipeError, RunError
from convsmith.evaluation.predictions import REMEDY
from convsmith.evaluation.receptive_field import (
    EffectiveReceptiveField,
    effective_field,
    layer_before_head,
    square,
)
from convsmith.models.resolve import Target
from convsmith.net.analysis import View
from convsmith.net.module import build
from convsmith.recipes.session import Session, prepare
from convsmith.runs.folder import RunFolder
from convsmith.system import files
from convsmith.system.device import choose_device
from convsmith.system.rng import new_generator

_SAMPLE, _BATCH = 104, 64


def measure(target: Target, num_images: int) -> EffectiveReceptiveField:
    """Measure over test images drawn by the recipe's seed; see `evaluation.effective_field`.

    Args:
        target: A run, whose weights are taken, or a recipe, whose net gets its initial weights.
        num_images: At least 1; all where there are fewer.

    Raises:
        RecipeError: The target is a net or a bundle alone, without images.
        RunError: The run's weights are damaged.
    """
    # What a bundle says of its data is not followed: it may come from elsewhere.
    if target.recipe is None or target.bundle is not None:
        raise RecipeError(
            f"a {'net' if target.bundle is None else 'bundle'} alone has no images to look at",
            where=target.analysis.title,
            fix="name a recipe, for example with model.net=..., or a run",
        )
    prepared = prepare(target.recipe)
    recipe = prepared.recipe
    net = build(prepared.analysis.plan, generator=new_generator(recipe.seed))
    if target.run is not None:
        RunFolder.open(target.run).load_weights(net)
    net.to(choose_device(recipe.train.device))
    with prepared.threads():
        return field_of(net, prepared, num_images)


def field_of(net: nn.Module, prepared: Session, num_images: int) -> EffectiveReceptiveField:
    """Measure a net with its weights, on the device that it is on.

    Raises:
        ShapeError: The net flattens the image itself.
        ModuleError: Nothing comes back to the images, as where all activations are 0.
    """
    recipe, data = prepared.recipe, prepared.data
    layer = layer_before_head(prepared.analysis.plan)
    device = next(net.parameters()).device
    drawn = torch.randperm(len(data.test), generator=new_generator(recipe.seed, _SAMPLE))
    sample = data.test.pick(drawn[:num_images].sort().values.numpy())
    batches = normalized(sample.images, Normalizer.of(data, device), _BATCH)
    return effective_field(net, batches, layer, _view(prepared, layer))


def write(field: EffectiveReceptiveField, path: Path) -> None:
    """Write what was measured as a NumPy archive; the theoretical field follows from the net."""
    arrays: dict[str, NDArray[Any] | None] = {
        "energy": field.energy.astype(np.float32),
        "map_shape": np.array(field.map_shape),
        "position": np.array(field.position),
        "num_images": np.array(field.num_images),
    }
    files.write_arrays(path, arrays)


def read(path: Path, prepared: Session) -> EffectiveReceptiveField:
    """Read what `write` wrote for the net of a run.

    Raises:
        RunError: The file is damaged, or of another net.
    """
    layer = layer_before_head(prepared.analysis.plan)
    try:
        arrays = files.read_arrays(path)
        # Of another size it would be of another net, and cannot be brought to this shape.
        energy = arrays["energy"].astype(np.float64).reshape(prepared.data.image_shape[1:])
        rows, columns = (int(each) for each in arrays["position"])
        height, width = (int(each) for each in arrays["map_shape"])
        found = EffectiveReceptiveField(
            layer=layer,
            map_shape=(height, width),
            position=(rows, columns),
            energy=energy / energy.sum(),
            num_images=int(arrays["num_images"]),
            square=square(_view(prepared, layer), (rows, columns)),
        )
    except (FileError, ValueError, TypeError, KeyError) as error:
        raise RunError("damaged receptive field", where=str(path), fix=REMEDY) from error
    return found


def _view(prepared: Session, layer: str) -> View:
    return next(row.after for row in prepared.analysis.rows if row.name == layer)
