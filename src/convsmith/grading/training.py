"""The training anew of a submission's net, by the rules of the brief."""

import json
import time
from typing import Any

from convsmith.briefs.schema import Brief
from convsmith.data.dataset import ImageDataset
from convsmith.grading.discovery import Candidate
from convsmith.grading.record import EpochRecord, ScoreRecord, TrainingRecord
from convsmith.grading.scoring import scored
from convsmith.recipes.brief_training import training_recipe
from convsmith.recipes.schema import Recipe
from convsmith.recipes.session import Session
from convsmith.text import plural
from convsmith.training.config import TrainConfig
from convsmith.training.metrics import compute_logits

_PREPARED = "prepared"


def train_anew(
    candidate: Candidate, data: ImageDataset, table: dict[str, Any] | None, brief: Brief, seed: int
) -> tuple[TrainingRecord, ScoreRecord, TrainConfig]:
    """Train a net from its own initial weights.

    Args:
        candidate: A net that fits.
        data: With all images.
        table: The fields of the recipe whose training and augmentation are used; None for plain ones.
        brief: Its epochs and its batch size replace those of the recipe.
        seed: Of initial weights, order and augmentation.

    Raises:
        ModuleError: The net cannot be trained.
        RecipeError: The recipe does not fit the net.
    """
    start = time.monotonic()
    architecture = candidate.architecture
    assert architecture is not None, "it fits"
    base = None if table is None else Recipe.model_validate_json(json.dumps(table))
    model = architecture.config.model_dump(mode="json", exclude_none=True)
    # The images are prepared already: the source of the data is only a name.
    rules = training_recipe(
        brief,
        model,
        name="submission",
        analysis=candidate.analysis,
        base=base,
        data=None if base else _PREPARED,
    )
    recipe = rules.model_copy(
        update={"seed": seed, "train": rules.train.model_copy(update={"device": "cpu"})}
    )
    session = Session.of(recipe, data, architecture)
    net = session.to_device(session.build_net())
    metrics = session.fit(net)
    with session.threads():
        logits = compute_logits(net, data.test, session.normalizer, session.dtype)
    record = TrainingRecord(
        epochs=tuple(
            EpochRecord(
                epoch=each.epoch,
                train=each.train.accuracy,
                test=None if each.test is None else each.test.accuracy,
            )
            for each in metrics
        ),
        description=describe(recipe),
        notes=tuple(note[:4000] for note in session.architecture.notes),
        seconds=round(time.monotonic() - start, 2),
    )
    return record, scored("trained anew", logits, data), recipe.train


def describe(recipe: Recipe) -> str:
    """Return the settings of a training in one line."""
    train = recipe.train
    names = ", ".join(each.name for each in recipe.augment.all) or "none"
    return (
        f"{recipe.description}: {plural(train.epochs, 'epoch')}, batches of {train.batch_size}, "
        f"{train.optimizer.name} with learning rate {train.optimizer.lr:g}, schedule "
        f"{train.schedule.name}, augmentations {names}, seed {recipe.seed}"
    )
