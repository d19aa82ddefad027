"""Load the teacher that a recipe names, and check it against the student's data."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from convsmith.data.dataset import TrainingData, with_absolute_source
from convsmith.errors import ModuleError, Problem, RecipeError, ShapeError
from convsmith.models.model import TrainedModel
from convsmith.models.resolve import resolve_trained
from convsmith.models.zoo import zoo_name
from convsmith.modules.access import NO_CODE, CodeAccess
from convsmith.net.analysis import Analysis
from convsmith.recipes.schema import Recipe
from convsmith.runs.schema import TeacherRecord
from convsmith.system import paths
from convsmith.system.device import choose_device
from convsmith.system.folders import expand_user
from convsmith.system.memory_format import to_device
from convsmith.training.distillation import Teacher

_FIELD = "train.teacher"
_EARLIER = "of an earlier teacher: "


@dataclass(frozen=True, kw_only=True)
class TeacherModel:
    """A teacher with its metadata.

    Attributes:
        teacher: The network and the settings of the distillation.
        place: The name in the zoo, or the folder.
        net: In the notation, or the module with its arguments.
        accuracy: On the teacher's own test set, from 0 to 1.
        sha256: Of everything that determines its outputs.
        notes: Caveats on the student's accuracy.
    """

    teacher: Teacher
    place: str
    net: str
    parameters: int
    accuracy: float
    sha256: str
    notes: tuple[str, ...]

    def record(self) -> TeacherRecord:
        """Return the record for the run folder."""
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
        """Return the lines of the run's log."""
        return [f"Teacher: {self.sentence()}", *(f"Note: {note}" for note in self.notes)]


def with_absolute_paths(recipe: Recipe) -> Recipe:
    """Return a recipe whose data set and teacher can be loaded from any working directory.

    Zoo names are kept. An alias for the best net of the zoo is resolved, since it may change.
    """
    teacher = recipe.train.teacher
    if teacher is not None:
        path = expand_user(teacher)
        teacher = zoo_name(teacher) or (str(path.resolve()) if paths.is_folder(path) else teacher)
    train = recipe.train.model_copy(update={"teacher": teacher})
    return recipe.model_copy(update={"data": with_absolute_source(recipe.data), "train": train})


def load_teacher(recipe: Recipe, data: TrainingData, access: CodeAccess = NO_CODE) -> TeacherModel | None:
    """Load the teacher that a recipe names; None if it names none.

    Args:
        recipe: Of the student.
        data: Of the student.
        access: Whether code of the teacher may be run.

    Raises:
        RunError: The teacher is a run that is not finished, or damaged.
        UntrustedCodeError: Its net is a module, and its code may not be run.
        BundleError: There is no such model, or its bundle is damaged or of another version.
        RecipeError: Its classes or its image shape differ from those of the student's data.
    """
    train = recipe.train
    if train.teacher is None or train.distillation is None:
        return None
    model = resolve_trained(train.teacher, access=CodeAccess(trust=access.trust))
    model.check_finished()
    analysis = _analyze(model, recipe, data)
    device = choose_device(train.device)
    net = _with_student_normalization(model, data)
    to_device(net, device)
    return TeacherModel(
        teacher=Teacher(net=net, config=train.distillation),
        place=model.place,
        net=model.architecture.text,
        parameters=analysis.parameters,
        accuracy=model.accuracy,
        sha256=model.digest(),
        notes=tuple(_notes(model, data, recipe)),
    )


def _analyze(model: TrainedModel, student: Recipe, data: TrainingData) -> Analysis:
    """Analyze the teacher on the student's images, and check that it can teach the student."""
    fields = (
        ("classes", model.labels, data.class_names),
        ("images", model.preprocessing.shape, data.image_shape),
    )
    fix = "name a net trained on the same classes and image size, or remove the teacher: train.teacher=false"
    problems = [
        Problem(
            what=f"the teacher's {what} are {_shortened(theirs)}, the data's {_shortened(own)}",
            where=_FIELD,
            fix=fix,
        )
        for what, theirs, own in fields
        if theirs != own
    ]
    if problems:
        raise RecipeError.of(problems)
    analysis = model.architecture.analyze(data.image_shape)
    if (progressive := student.train.progressive) is not None:
        small = (data.image_shape[0], progressive.start_size, progressive.start_size)
        _check_small(model, analysis, small)
    return analysis


def _check_small(model: TrainedModel, analysis: Analysis, shape: tuple[int, int, int]) -> None:
    """Raise RecipeError if the teacher cannot process the smaller images at the start of the training."""
    try:
        small = model.architecture.analyze(shape)
        fits = small.parameters == analysis.parameters
    except (ShapeError, ModuleError):
        fits = False
    if not fits:
        raise RecipeError(
            f"the teacher cannot process images of {shape[1]} pixels, the size at the start of the training",
            where=_FIELD,
            fix="name a teacher with global average pooling, or leave train.progressive out",
        )


def _shortened(values: tuple[object, ...]) -> str:
    text = ", ".join(map(str, values))
    return text if len(text) <= 80 else text[:77] + "..."


def _with_student_normalization(model: TrainedModel, data: TrainingData) -> nn.Module:
    """Return the teacher's net, taking images that are normalised as the student's are."""
    own = (model.preprocessing.mean, model.preprocessing.std)
    student = (data.mean, data.std)
    return model.net() if own == student else _Renormalized(model.net(), student, own)


class _Renormalized(nn.Module):
    """A net that takes images normalised with another mean and deviation than its training images."""

    def __init__(
        self,
        net: nn.Module,
        inputs: tuple[tuple[float, ...], tuple[float, ...]],
        own: tuple[tuple[float, ...], tuple[float, ...]],
    ) -> None:
        super().__init__()
        self.net = net
        (mean, std), (own_mean, own_std) = (
            tuple(torch.tensor(each).view(1, -1, 1, 1) for each in pair) for pair in (inputs, own)
        )
        self.factor = nn.Buffer(std / own_std)
        self.offset = nn.Buffer((mean - own_mean) / own_std)

    def forward(self, images_NCHW: Tensor) -> Tensor:  # noqa: N803 - shape suffix
        logits: Tensor = self.net(images_NCHW * self.factor + self.offset)
        return logits


def _notes(model: TrainedModel, data: TrainingData, recipe: Recipe) -> Iterator[str]:
    """Note each split of the student that the teacher, or a teacher of the teacher, may have trained on."""
    unseen = model.unseen_splits(data, recipe.data)
    elsewhere = model.is_trained_elsewhere
    test = recipe.data.evaluation_set.kind
    for name in ("validation", "test"):
        if name in data.splits and name not in unseen:
            kind = test if name == "test" else name
            images = f"{kind} images"
            reason = "was trained elsewhere" if elsewhere else f"held out other {images}"
            yield (
                f"the teacher {reason}, so it may have been trained on some of the "
                f"student's{f' {images}' if elsewhere else ''}; the {kind} accuracy is then optimistic"
            )
    # Each once, however long the chain of teachers.
    yield from dict.fromkeys(_EARLIER + note.removeprefix(_EARLIER) for note in model.taught[1:])
