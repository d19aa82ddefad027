"""The teacher that a recipe names: found, verified, and checked against the student's data."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from convsmith.data.dataset import TrainingData, with_absolute_source
from convsmith.errors import Problem, RecipeError, ShapeError
from convsmith.models.trained import TrainedModel, trained_net
from convsmith.models.zoo import zoo_name
from convsmith.net.arithmetic import SpecAnalysis, analyze_notation
from convsmith.recipes.schema import ModelConfig, Recipe
from convsmith.runs.schema import TeacherRecord
from convsmith.system.device import choose_device
from convsmith.training.distillation import Teacher

_FIELD = "train.teacher"
_EARLIER = "of an earlier teacher: "


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

    def record(self) -> TeacherRecord:
        """Return the record for the run's folder."""
        return TeacherRecord(
            place=self.place,
            net=self.net,
            parameters=self.parameters,
            test_accuracy=self.accuracy,
            sha256=self.sha256,
            sentence=self.sentence(),
            notes=self.notes,
        )

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


def with_absolute_paths(recipe: Recipe) -> Recipe:
    """Return a recipe whose data set and teacher can be loaded from any working directory.

    Zoo names are kept. An alias for the best net of the zoo is resolved, since it may change.
    """
    teacher = recipe.train.teacher
    if teacher is not None:
        path = Path(teacher).expanduser()
        teacher = zoo_name(teacher) or (str(path.resolve()) if path.is_dir() else teacher)
    train = recipe.train.model_copy(update={"teacher": teacher})
    return recipe.model_copy(update={"data": with_absolute_source(recipe.data), "train": train})


def teacher_of(recipe: Recipe, data: TrainingData) -> KnownTeacher | None:
    """The teacher that a recipe names; None where it names none.

    Raises:
        RunError: A run that is not finished, or a damaged one.
        BundleError: No such place, a damaged bundle, or one of another version.
        RecipeError: Its classes or images are not those of the student's data.
    """
    train = recipe.train
    if train.teacher is None or train.distillation is None:
        return None
    found = trained_net(train.teacher, data, recipe.data)
    analysis = _fitting(found, recipe, data)
    device = choose_device(train.device)
    net = _normalized(found, data).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return KnownTeacher(
        teacher=Teacher(net=net, config=train.distillation),
        place=found.place,
        net=found.model.net,
        parameters=analysis.parameters,
        accuracy=found.accuracy,
        sha256=found.sha256,
        notes=tuple(_notes(found, data)),
    )


def _fitting(found: TrainedModel, student: Recipe, data: TrainingData) -> SpecAnalysis:
    """The teacher's numbers on the student's images, where it can teach the student."""
    fields = (
        ("classes", found.labels, data.class_names),
        ("images", found.image_shape, data.image_shape),
    )
    fix = "name a net that was trained on the same classes and image size, or do without: train.teacher=false"
    problems = [
        Problem(
            what=f"the teacher's {what} are {_shown(theirs)}, the data's {_shown(own)}", where=_FIELD, fix=fix
        )
        for what, theirs, own in fields
        if theirs != own
    ]
    if problems:
        raise RecipeError.of(problems)
    analysis = analyze_notation(found.model.net, data.image_shape, found.model)
    if (progressive := student.train.progressive) is not None:
        small = (data.image_shape[0], progressive.start_size, progressive.start_size)
        _check_small(found.model, analysis, small)
    return analysis


def _check_small(model: ModelConfig, analysis: SpecAnalysis, shape: tuple[int, int, int]) -> None:
    """Raises RecipeError where the teacher cannot see the smaller images that a training begins with."""
    try:
        small = analyze_notation(model.net, shape, model)
        fits = small.parameters == analysis.parameters
    except ShapeError:
        fits = False
    if not fits:
        raise RecipeError(
            f"the teacher's net takes no images of {shape[1]} pixels, which the training begins with",
            where=_FIELD,
            fix="name a teacher with global average pooling, or leave train.progressive out",
        )


def _shown(values: tuple[object, ...]) -> str:
    text = ", ".join(map(str, values))
    return text if len(text) <= 80 else text[:77] + "..."


def _normalized(found: TrainedModel, data: TrainingData) -> nn.Module:
    """The teacher's net, for images that are normalised as the student's are."""
    learned = (found.mean, found.std)
    if learned == (data.mean, data.std):
        return found.net
    return _Renormalized(found.net, (data.mean, data.std), learned)


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


def _notes(found: TrainedModel, data: TrainingData) -> Iterator[str]:
    """Whether the teacher, or who taught it, may have learned from images that the student is measured by."""
    for name in ("validation", "test"):
        if name in data.splits and name not in found.unseen:
            yield (
                f"the teacher held out other {name} images, so it may have learned from some that the "
                f"{name} accuracy is measured by, which is then optimistic"
            )
    # Told once each, however many taught one another.
    yield from dict.fromkeys(_EARLIER + note.removeprefix(_EARLIER) for note in found.notes)
