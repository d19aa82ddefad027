"""The accuracy of a submission's weights on the test images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from convsmith.data.config import DataConfig
from convsmith.data.dataset import ImageDataset
from convsmith.data.normalize import Normalizer
from convsmith.errors import ConvsmithError, FileError
from convsmith.evaluation.assumptions import better_input, chance_note, is_near_chance, order_note
from convsmith.evaluation.metrics import highest_losses
from convsmith.evaluation.predictions import Predictions
from convsmith.grading.discovery import Candidate
from convsmith.grading.record import MistakeRecord, ScoreRecord
from convsmith.modules.architecture import ModuleArchitecture
from convsmith.modules.fitting import fit_weights
from convsmith.modules.weights import Weights, read_state_dict
from convsmith.recipes.schema import Recipe
from convsmith.recipes.session import Session
from convsmith.system.rng import new_generator
from convsmith.text import percent
from convsmith.training.config import TrainConfig
from convsmith.training.metrics import compute_logits

_MOST_FILES, _MOST_MISTAKES = 30, 10
_NUM_CHECKED, _CHECKED = 1000, 105
# Names of weights that are the result of a training.
_FINAL = ("best", "final", "last")


@dataclass(frozen=True, kw_only=True)
class WeightsFile:
    """A file of weights of a submission: its content, or why it cannot be read."""

    name: str
    weights: Weights | None = None
    problem: str = ""


def read_weights(folder: Path, names: Sequence[str], hint: str = "") -> list[WeightsFile]:
    """Read the files of weights of a submission; with a hint that file alone.

    Raises:
        FileError: The file of the hint does not exist.
    """
    if hint:
        file = hint.partition("#")[0]
        if not Path(folder, file).resolve().is_relative_to(folder.resolve()):
            raise FileError("the file is outside of the submission", where=hint)
        if not (folder / file).is_file():
            raise FileError("no such file of weights", where=hint, fix="correct the column `weights`")
        names = [hint]
    files = []
    for name in names[:_MOST_FILES]:
        try:
            files.append(WeightsFile(name=name, weights=read_state_dict(folder / name)))
        except ConvsmithError as error:
            problem = error.problems[0]
            fix = f"; {problem.fix}" if problem.fix else ""
            files.append(WeightsFile(name=name, problem=problem.what + fix))
    return files


def fitting(candidate: Candidate, files: Sequence[WeightsFile]) -> tuple[list[WeightsFile], str]:
    """Return the files whose weights fit a net, and why the first of the others does not."""
    fits, problem = [], ""
    if candidate.architecture is None or candidate.analysis is None:
        return [], ""
    net = candidate.architecture.create(_shape(candidate))
    for file in files:
        if file.weights is None:
            continue
        try:
            fit_weights(net, file.weights)
            fits.append(file)
        except ConvsmithError as error:
            first = error.problems[0]
            problem = problem or f"{file.name}: {first.what}{_details(first.context)}"
    return fits, problem


def _details(context: str) -> str:
    """Return the first lines of a comparison of names and shapes in one."""
    lines = [line.strip() for line in context.splitlines()]
    shown = [line if line.endswith(":") else f"{line}," for line in lines[:4]]
    return f" ({' '.join(shown).rstrip(',:')})" if shown else ""


def choose_file(files: Sequence[WeightsFile], folder: Path, net: str) -> tuple[WeightsFile, str]:
    """Choose one of several files that fit: by its name, or the newest; with a note if there is a choice.

    Args:
        files: At least one.
        folder: Of the submission.
        net: The name of the class; `model_2.pth` are the weights of `Model_2`.
    """
    if len(files) == 1:
        return files[0], ""
    for word in (_plain(net), *_FINAL):
        named = [each for each in files if word in _plain(Path(each.name).stem)]
        if len(named) == 1:
            return named[0], f"{len(files)} files of weights fit: {named[0].name} was taken, by its name"
    newest = max(files, key=lambda each: ((folder / each.name).stat().st_mtime, each.name))
    return newest, f"{len(files)} files of weights fit: {newest.name} was taken, the newest"


def _plain(name: str) -> str:
    return "".join(each for each in name.casefold() if each.isalnum())


def recipe_of(architecture: ModuleArchitecture, train: TrainConfig) -> Recipe:
    """Return a recipe for the net of a submission, whose images are prepared already."""
    return Recipe(
        name="submission", data=DataConfig(source="prepared"), model=architecture.config, train=train
    )


def score(candidate: Candidate, file: WeightsFile, data: ImageDataset) -> ScoreRecord:
    """Measure the accuracy of weights on the test images.

    A file of weights does not hold the normalisation of its images. If another usual one is significantly
    better on 1,000 training images, it is taken, with a note.

    Raises:
        ModuleError: The net is no classifier of these images.
    """
    architecture, weights = candidate.architecture, file.weights
    assert architecture is not None, "it fits the weights"
    assert weights is not None, "it was read"
    recipe = recipe_of(architecture, TrainConfig(epochs=0, precision="fp32", device="cpu"))
    session = Session.of(recipe, data, architecture, lambda net: fit_weights(net, weights))
    net = session.build_net()
    notes = [*weights.notes, *fit_weights(net, weights)]
    with session.threads():
        normalize, checked = _normalizer(net, session)
        logits = compute_logits(net, data.test, normalize, session.dtype)
    return scored(file.name, logits, data, [*notes, *checked])


def scored(name: str, logits: torch.Tensor, data: ImageDataset, notes: Sequence[str] = ()) -> ScoreRecord:
    """Return the score of logits `(N, num_classes)` for the test images."""
    test = Predictions(logits=logits.numpy(), labels=data.test.labels)
    count = len(data.class_names)
    totals = np.bincount(test.labels, minlength=count)
    correct = np.bincount(test.labels[~test.wrong], minlength=count)
    worst = [index for index in highest_losses(test, _MOST_MISTAKES) if test.wrong[index]]
    chance = chance_note(float((~test.wrong).mean()), count)
    return ScoreRecord(
        weights=name,
        correct=int((~test.wrong).sum()),
        total=len(test),
        classes=tuple((int(right), int(total)) for right, total in zip(correct, totals, strict=True)),
        mistakes=tuple(
            MistakeRecord(
                index=int(index),
                true=int(test.labels[index]),
                predicted=int(test.predicted[index]),
                confidence=min(1.0, float(test.confidence[index])),
            )
            for index in worst
        ),
        notes=tuple(note[:4000] for note in (*([chance] if chance else []), *notes)),
    )


def _normalizer(net: nn.Module, session: Session) -> tuple[Normalizer, list[str]]:
    """Return the normalisation under which weights do best on training images, with notes."""
    data, normalize = session.data, session.normalizer
    chosen = torch.randperm(len(data.train), generator=new_generator(0, _CHECKED))[:_NUM_CHECKED].numpy()
    sample = data.train.select(chosen)
    better = better_input(net, sample, normalize, session.dtype)
    if better is not None and is_near_chance(better.correct / len(sample), len(data.class_names)):
        # Of untrained weights, some normalisation is always the best.
        better = None
    if better is not None and better.normalization is not None:
        best = better.normalization
        accuracy = percent(better.own / len(sample))
        note = (
            f"images are normalised with {best.title}: {percent(better.correct / len(sample))} of "
            f"{len(sample):,} training images are classified correctly, and {accuracy} with the mean and the "
            "standard deviation of the data"
        )
        return Normalizer.of(best, normalize.device), [note]
    if better is not None:
        return normalize, ["warning: with the channels in the order blue, green, red it would be better"]
    logits = compute_logits(net, sample, normalize, session.dtype)
    order = order_note(logits, sample.labels, data.class_names)
    return normalize, [order] if order else []


def _shape(candidate: Candidate) -> tuple[int, int, int]:
    assert candidate.analysis is not None, "it runs on the images"
    channels, height, width = candidate.analysis.input_shape
    return channels, height, width
