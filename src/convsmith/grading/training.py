"""The training anew of a submission's net, by the rules of the brief."""

import time
from typing import Any

from convsmith.briefs.schema import Brief
from convsmith.data.dataset import ImageDataset
from convsmith.grading.discovery import Candidate
from convsmith.grading.record import EpochRecord, ScoreRecord, TrainingRecord
from convsmith.grading.scoring import scored
from convsmith.recipes.loader import from_table
from convsmith.recipes.schema import Recipe
from convsmith.recipes.session import Session
from convsmith.text import plural
from convsmith.training.metrics import compute_logits

# Of a brief that is no assignment of the shelf: what students of the course use, and what trains most nets.
_PLAIN: dict[str, Any] = {
    "epochs": 15,
    "batch_size": 128,
    "precision": "fp32",
    "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4},
    "schedule": {"name": "one-cycle"},
}
# Settings of our own nets that an assignment does not name, and that other nets may not bear.
_OWN_NETS = ("whitening", "distill", "stop_after")


def train_anew(
    candidate: Candidate, data: ImageDataset, table: dict[str, Any] | None, brief: Brief, seed: int
) -> tuple[TrainingRecord, ScoreRecord]:
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
    recipe = training_recipe(table, brief, architecture.config.model_dump(mode="json"), seed)
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
    return record, scored("trained anew", logits, data)


def training_recipe(table: dict[str, Any] | None, brief: Brief, model: dict[str, Any], seed: int) -> Recipe:
    """Return the recipe of a training anew.

    Example:
        >>> recipe = training_recipe(None, Brief(), {"module": "model.py:Net"}, seed=3)
        >>> recipe.train.epochs, recipe.train.batch_size, recipe.seed
        (15, 128, 3)
    """
    table = table or {}
    train = {**(table.get("train") or _PLAIN)}
    for name in _OWN_NETS:
        train.pop(name, None)
    for name in ("epochs", "batch_size"):
        if (most := _most(getattr(brief, name, None))) is not None:
            train[name] = most
    # A part of a batch must divide it.
    if train.get("microbatch_size") and train["batch_size"] % train["microbatch_size"]:
        del train["microbatch_size"]
    fields = {
        "name": "submission",
        "seed": seed,
        "data": {"source": "prepared"},
        "model": {name: value for name, value in model.items() if value is not None},
        "augment": table.get("augment") or {},
        "train": {**train, "device": "cpu"},
    }
    return from_table(fields)


def describe(recipe: Recipe) -> str:
    """Return the settings of a training in one line."""
    train = recipe.train
    names = ", ".join(each.name for each in recipe.augment.all) or "none"
    return (
        f"{plural(train.epochs, 'epoch')}, batches of {train.batch_size}, {train.optimizer.name} with "
        f"learning rate {train.optimizer.lr:g}, schedule {train.schedule.name}, augmentations {names}, "
        f"seed {recipe.seed}"
    )


def _most(bound: object) -> int | None:
    """Return the upper end of a bound of the brief."""
    value = bound[1] if isinstance(bound, tuple) else bound
    return value if isinstance(value, int) else None
