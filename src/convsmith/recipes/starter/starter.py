"""Choose a first recipe for a data set, by its images and by measurements on this machine."""

import math
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from convsmith.data.checks.describe import describe, with_every_split
from convsmith.data.checks.description import Description
from convsmith.data.config import DataConfig
from convsmith.data.dataset import ImageDataset, load
from convsmith.data.sizes import SizeSuggestion
from convsmith.errors import RecipeError
from convsmith.recipes.loader import from_table
from convsmith.recipes.schema import Recipe
from convsmith.recipes.session import Session
from convsmith.recipes.starter import size
from convsmith.recipes.starter.images import ImageKind
from convsmith.recipes.starter.mirror import Mirroring, mirroring
from convsmith.recipes.starter.net import WIDTHS, starter_net, widest
from convsmith.recipes.starter.schedule import Pace, batch_size_of, learning_rate
from convsmith.recipes.starter.timing import measure
from convsmith.system.device import choose_device
from convsmith.training.lr_find import RangeTest

# Shares and numbers of training images with which some are held out for validation.
_VALIDATION, FEWEST_IMAGES, FEWEST_OF_A_CLASS = 0.1, 1_000, 20
# Widths whose time is measured, steps of a range test, and seconds that it may take.
_MEASURED, _RANGE_STEPS, _FEWEST_RANGE_STEPS, _RANGE_SECONDS = 3, 100, 40, 30.0
QUESTION = "Is a mirrored image still one of its class, so that images may be flipped left to right?"
Ask = Callable[[str, bool], bool]


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What a first recipe consists of, and why.

    Attributes:
        description: Of the data set.
        data: The `[data]` table.
        resizing: Why images are resized; None if they are not.
        net: In the notation.
        mirroring: Why images are flipped or not.
        kind: Of the images.
        batch_size: Images per step.
        epochs: For the time budget.
        minutes: The time budget.
        pace: Measured with this net on this machine; the images of the data set.
        range_test: None if there was none.
        info: The images that the recipe is for.
    """

    description: Description
    data: DataConfig
    resizing: SizeSuggestion | None
    net: str
    mirroring: Mirroring
    kind: ImageKind
    batch_size: int
    epochs: int
    minutes: float
    pace: Pace
    range_test: RangeTest | None
    dataset: ImageDataset

    @property
    def augment(self) -> list[dict[str, Any]]:
        """The tables of `augment.transforms`."""
        side = min(self.dataset.image_shape[1:])
        flip: list[dict[str, Any]] = [{"name": "HorizontalFlip", "p": 0.5}] if self.mirroring.allowed else []
        shift = {
            "name": "ShiftScaleRotate",
            "shift_limit": 0.1 if side < 16 else 0.0625,
            "scale_limit": 0.1,
            "rotate_limit": 10,
            "border": "replicate" if self.kind.even_border else "reflect",
            "p": 0.5,
        }
        cutout = {"name": "Cutout", "size": side // 4, "fill": "mean", "p": 0.5}
        return [*flip, shift, *([cutout] if self.kind.photos else [])]

    @property
    def is_weighted(self) -> bool:
        """Whether rare classes count more: where they are unbalanced, and each has images."""
        balance = self.description.balance
        return balance is not None and balance.ratio is not None and not balance.is_even

    @property
    def selection(self) -> dict[str, Any]:
        """The fields of `[train]` that keep the best epoch: where there are images to select it by."""
        if self.dataset.validation is None:
            return {}
        return {"keep": "best", **({"monitor": "balanced_accuracy"} if self.is_weighted else {})}

    @property
    def train(self) -> dict[str, Any]:
        """The `[train]` table."""
        return {
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            **self.selection,
            **({"class_weights": "balanced"} if self.is_weighted else {}),
            "optimizer": {"name": "adamw", "lr": learning_rate(self.range_test), "weight_decay": 0.05},
            "schedule": {"name": "one-cycle"},
        }

    def recipe(self) -> Recipe:
        """Return the recipe of the choices."""
        return from_table(
            {
                "name": "starter",
                "data": self.data.model_dump(exclude_none=True),
                "model": {"net": self.net},
                "augment": {"transforms": self.augment},
                "train": self.train,
            }
        )


def choose(
    config: DataConfig,
    *,
    source: str,
    minutes: float,
    flip: bool | None = None,
    ask: Ask | None = None,
    range_test: bool = True,
) -> Choices:
    """Describe a data set, and choose a recipe that trains in a time budget on this machine.

    Args:
        config: The `[data]` table as far as it is decided; what differs from the defaults is kept.
        source: What the data set is called in commands.
        minutes: Time budget of the training.
        flip: Whether images may be flipped; None to judge it.
        ask: Called with a question and the likely answer where names and images do not tell.
        range_test: Whether the learning rate is measured.

    Raises:
        DataError: The data set does not exist, is unreadable, or has too few images of a class.
        RecipeError: The time budget is not above 0, or no image is usable.
    """
    if not 0 < minutes < 1e6:
        raise RecipeError(
            f"found {minutes:g}, expected minutes above 0", where="--minutes", fix="for example --minutes 10"
        )
    config = with_every_split(config)
    description = describe(config, source=source)
    if description.sizes is None:
        raise RecipeError(
            "no image can be used",
            where=source,
            fix=f"`convsmith data verify {source}` names the reasons",
        )
    longest = size.LONGEST_ON_A_CPU if choose_device().type == "cpu" else size.LONGEST_ON_A_GPU
    resizing = size.resizing(description.sizes, longest) if config.resize is None else None
    config = _decided(config, description, resizing)
    dataset = load(config)
    judged = _mirroring(dataset, flip, ask)
    first = Choices(
        description=description,
        data=config,
        resizing=resizing,
        net="",
        mirroring=judged,
        kind=ImageKind.of(dataset.train),
        batch_size=batch_size_of(len(dataset.train)),
        # For the measurement only.
        epochs=100,
        minutes=minutes,
        pace=Pace(steps=1, step=1.0, evaluation=0.0),
        range_test=None,
        dataset=dataset,
    )
    return _with_rate(_with_net(first), enabled=range_test)


def _decided(config: DataConfig, description: Description, resizing: SizeSuggestion | None) -> DataConfig:
    """Return the `[data]` table with size, validation and damaged images decided."""
    changes: dict[str, Any] = {}
    if resizing:
        changes["resize"] = resizing.resize
        if config.resize_policy is None and resizing.resize_policy != "stretch":
            changes["resize_policy"] = resizing.resize_policy
    if any(kind in description.verification.counts for kind in ("unreadable", "oversized", "bad label")):
        changes["skip_damaged"] = True
    share = len(description.verification.classes) / max(description.splits["train"], 1)
    if not {"test", "test_fraction"} & {*description.splits, *config.model_fields_set} and share > 0.2:
        # Every class needs a test image.
        changes["test_fraction"] = min(math.ceil(100 * share) / 100, 0.5)
    balance = description.balance
    enough = balance is not None and balance.smallest[1] >= FEWEST_OF_A_CLASS
    if (
        "validation" not in config.model_fields_set
        and enough
        and description.splits["train"] >= FEWEST_IMAGES
    ):
        changes["validation"] = _VALIDATION
    return config.model_copy(update=changes)


def _mirroring(dataset: ImageDataset, flip: bool | None, ask: Ask | None) -> Mirroring:
    if flip is not None:
        reason = "--flip" if flip else "--no-flip"
        return Mirroring(allowed=flip, certain=True, reason=f"as {reason} says")
    judged = mirroring(dataset.train, dataset.class_names)
    if judged.certain or ask is None:
        return judged
    allowed = ask(f"{judged.reason[0].upper()}{judged.reason[1:]}.\n{QUESTION}", judged.allowed)
    return replace(judged, allowed=allowed, certain=True, reason=f"{judged.reason}; the answer decided")


def _with_net(choices: Choices) -> Choices:
    """Choose the widest net that has enough epochs in the time budget, by measuring a few."""
    info, seconds = choices.dataset.info, 60 * choices.minutes
    limit = widest(len(choices.dataset.train))
    widths = [width for width in WIDTHS if width <= limit]
    for number in range(_MEASURED):
        choices = replace(choices, net=starter_net(info, widths[-1]))
        pace = measure(Session.of(choices.recipe(), choices.dataset))
        choices = replace(choices, pace=pace, epochs=pace.epochs(seconds))
        if pace.affordable(seconds) >= pace.enough or len(widths) == 1 or number == _MEASURED - 1:
            break
        # The operations grow with the square of the width.
        share = pace.affordable(seconds) / pace.enough
        widths = [width for width in widths[:-1] if (width / widths[-1]) ** 2 <= share] or widths[:1]
    return choices


def _with_rate(choices: Choices, *, enabled: bool) -> Choices:
    steps = min(_RANGE_STEPS, int(_RANGE_SECONDS / max(choices.pace.step, 1e-6)))
    if not enabled or steps < _FEWEST_RANGE_STEPS:
        return choices
    session = Session.of(choices.recipe(), choices.dataset)
    return replace(choices, range_test=session.range_test(session.build_net(), steps=steps))


def table_of(text: str) -> dict[str, Any]:
    """Return the table of a recipe's text, with a name if it has none."""
    return {"name": "starter", **tomllib.loads(text)}
