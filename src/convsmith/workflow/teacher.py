"""The teacher that a recipe names: found, verified, and checked against the student's data."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from convsmith import files, runtime
from convsmith.arch.analyze import SpecAnalysis, analyze_notation
from convsmith.arch.build import build
from convsmith.data.images import TrainingData
from convsmith.errors import Problem, RecipeError, RunError, ShapeError
from convsmith.recipe.loader import load as load_recipe
from convsmith.recipe.schema import Recipe
from convsmith.training.distillation import Teacher
from convsmith.training.run import WEIGHTS, RunFolder

TEACHER = "teacher.json"
_FIELD = "train.teacher"


@dataclass(frozen=True, kw_only=True)
class KnownTeacher:
    """A teacher with what a run says of it.

    Attributes:
        teacher: What the student asks.
        place: Where it was found.
        net: In the notation.
        accuracy: What it reached on its own test set, from 0 to 1.
        sha256: Of its weights and of all that decides what they compute.
        notes: What a reader of the student's accuracy must know.
    """

    teacher: Teacher
    place: str
    net: str
    parameters: int
    accuracy: float
    sha256: str
    notes: tuple[str, ...]

    def record(self) -> dict[str, Any]:
        """As a plain table, for the run's folder."""
        return {
            "place": self.place,
            "net": self.net,
            "parameters": self.parameters,
            "test_accuracy": self.accuracy,
            "sha256": self.sha256,
            "told": self.sentence(),
            "notes": list(self.notes),
        }

    def sentence(self) -> str:
        config = self.teacher.config
        return (
            f"taught by {Path(self.place).name} ({self.net}; {self.parameters:,} parameters, "
            f"{self.accuracy:.2%} on its test set, SHA-256 {self.sha256[:12]}) at temperature "
            f"{config.temperature:g}, weight {config.alpha:g}"
        )

    def lines(self) -> list[str]:
        """What the run's log says of it."""
        return [f"Teacher: {self.sentence()}", *(f"Note: {note}" for note in self.notes)]


def told(folder: RunFolder) -> tuple[str, ...]:
    """What a run's report says of who taught; nothing where nobody did."""
    record = folder.record(TEACHER)
    return () if record is None else (str(record.get("told", "")), *map(str, record.get("notes", ())))


def teacher_of(recipe: Recipe, data: TrainingData) -> KnownTeacher | None:
    """The teacher that a recipe names; None where it names none.

    A run is compared with its manifest before anything in it is used. Other forms of a trained net would be
    told apart here.

    Raises:
        RunError: No such run, one that is not finished, or a damaged one.
        RecipeError: Its classes or images are not those of the student's data.
    """
    train = recipe.train
    if train.teacher is None or train.distillation is None:
        return None
    folder = RunFolder.open(Path(train.teacher))
    if not folder.is_finished:
        raise RunError(
            "the teacher's training is not finished, so that its weights cannot be verified",
            where=str(folder.path),
            fix=f"finish it: `convsmith resume {folder.path}`",
        )
    folder.verify("results.json")
    own, analysis = _fitting(folder, recipe, data)
    device = runtime.choose_device(train.device)
    net = _loaded(folder, analysis, data).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    score = folder.read_json("results.json")["test"]
    return KnownTeacher(
        teacher=Teacher(net=net, config=train.distillation),
        place=str(folder.path),
        net=own.model.net,
        parameters=analysis.parameters,
        accuracy=score["correct"] / score["total"],
        sha256=_digest(folder, own),
        notes=tuple(_notes(folder.data_record(), data.record(recipe.data))),
    )


def _fitting(folder: RunFolder, student: Recipe, data: TrainingData) -> tuple[Recipe, SpecAnalysis]:
    """The teacher's recipe and its net's numbers on the student's images, where it can teach the student."""
    record = folder.data_record()
    fields = (
        ("classes", record.get("class_names"), list(data.class_names)),
        ("images", record.get("image_shape"), list(data.image_shape)),
    )
    fix = "name a run that was trained on the same classes and image size"
    problems = [
        Problem(
            what=f"the teacher's {what} are {_shown(found)}, the data's {_shown(own)}", where=_FIELD, fix=fix
        )
        for what, found, own in fields
        if found != own
    ]
    if problems:
        raise RecipeError.of(problems)
    recipe = load_recipe(str(folder.path / "recipe.toml"))
    analysis = analyze_notation(recipe.model.net, data.image_shape, recipe.model)
    if (progressive := student.train.progressive) is not None:
        _check_small(recipe, analysis, (data.image_shape[0], progressive.start_size, progressive.start_size))
    return recipe, analysis


def _check_small(recipe: Recipe, analysis: SpecAnalysis, shape: tuple[int, int, int]) -> None:
    """Raises RecipeError where the teacher cannot see the smaller images that a training begins with."""
    try:
        small = analyze_notation(recipe.model.net, shape, recipe.model)
        fits = small.parameters == analysis.parameters
    except ShapeError:
        fits = False
    if not fits:
        raise RecipeError(
            f"the teacher's net takes no images of {shape[1]} pixels, which the training begins with",
            where=_FIELD,
            fix="name a teacher with global average pooling, or leave train.progressive out",
        )


def _shown(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _loaded(folder: RunFolder, analysis: SpecAnalysis, data: TrainingData) -> nn.Module:
    """The teacher's net with its weights, for images that are normalised as the student's are."""
    net = build(analysis.plan)
    folder.load_weights(net)
    net.eval().requires_grad_(requires_grad=False)
    mean, std = _statistics(folder)
    if (mean, std) == (data.mean, data.std):
        return net
    return _Renormalized(net, (data.mean, data.std), (mean, std))


def _statistics(folder: RunFolder) -> tuple[tuple[float, ...], tuple[float, ...]]:
    record = folder.data_record()
    try:
        mean, std = (tuple(map(float, record[name])) for name in ("mean", "std"))
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"damaged: {error}", where=str(folder.path / "data.json")) from error
    return mean, std


class _Renormalized(nn.Module):
    """A net whose training images had another mean and deviation than those that it is shown."""

    def __init__(
        self,
        net: nn.Module,
        shown: tuple[tuple[float, ...], tuple[float, ...]],
        learned: tuple[tuple[float, ...], tuple[float, ...]],
    ) -> None:
        super().__init__()
        self.net = net
        (mean, std), (own_mean, own_std) = (
            tuple(torch.tensor(each).view(1, -1, 1, 1) for each in pair) for pair in (shown, learned)
        )
        self.factor = nn.Buffer(std / own_std)
        self.offset = nn.Buffer((mean - own_mean) / own_std)

    def forward(self, images_NCHW: Tensor) -> Tensor:  # noqa: N803 - shape suffix
        logits: Tensor = self.net(images_NCHW * self.factor + self.offset)
        return logits


def _digest(folder: RunFolder, recipe: Recipe) -> str:
    """Where the run lies does not matter: what its net computes does."""
    computed = {"model": recipe.model.model_dump(mode="json"), "statistics": _statistics(folder)}
    weights = files.sha256(folder.path / WEIGHTS)
    return hashlib.sha256(f"{weights} {json.dumps(computed, sort_keys=True)}".encode()).hexdigest()


def _notes(record: dict[str, Any], own_record: dict[str, Any]) -> Iterator[str]:
    """Whether the teacher may have learned from images that the student is measured by."""
    own, other = own_record["splits"], record.get("splits", {})
    for name in ("validation", "test"):
        if name in own and own[name]["fingerprint"] != other.get(name, {}).get("fingerprint"):
            yield (
                f"the teacher held out other {name} images, so it may have learned from some that the "
                f"{name} accuracy is measured by, which is then optimistic"
            )
