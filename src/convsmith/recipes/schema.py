"""The schema of a recipe."""

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from convsmith.briefs.schema import Brief
from convsmith.data.augment.config import AugmentConfig
from convsmith.data.config import DataConfig
from convsmith.errors import RecipeError
from convsmith.modules.config import ModuleConfig, kind_of_model
from convsmith.net.settings import NotationConfig
from convsmith.system.unset import without_unset
from convsmith.training.config import TrainConfig
from convsmith.training.schedules.plateau import Plateau

ModelConfig = Annotated[
    Annotated[NotationConfig, Tag(NotationConfig.TAG)] | Annotated[ModuleConfig, Tag(ModuleConfig.TAG)],
    Discriminator(kind_of_model),
]

SELECTS_BY_TEST = (
    "the plateau schedule monitors the test set, and a held-out fold has no part in the training; write "
    'train.schedule.monitor="validation" and data.validation=0.1'
)


class _Tables(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _remove_false(cls, table: Any) -> Any:
        return without_unset(table, cls)


class DataOnly(_Tables):
    """The `[data]` table without a recipe."""

    data: DataConfig


class Notes(_Tables):
    """The texts of a step of an assignment, for the README of a hand-in."""

    target: str = Field(default="", description="what the step tries to reach, and how")
    result: str = Field(default="", description="what it reached; the numbers are filled in from the run")
    analysis: str = Field(default="", description="what the result means, and what to try next")


class Recipe(_Tables):
    """Everything that a run depends on except the machine."""

    name: str = Field(
        min_length=1,
        max_length=64,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="prefix of the run folder",
    )
    description: str = Field(default="", description="description in one sentence")
    result: str = Field(default="", description="measured result, with hardware and number of seeds")
    seed: int = Field(
        default=0,
        ge=0,
        lt=2**32,
        description="seed of initial weights, order of the images, augmentation and dropout",
    )
    data: DataConfig
    model: ModelConfig
    augment: AugmentConfig = AugmentConfig()
    train: TrainConfig
    brief: Brief = Brief()
    notes: Notes = Notes()

    @model_validator(mode="after")
    def _check_monitor(self) -> Self:
        if self.train.epochs and not self.data.validation and (reasons := self.train.monitors):
            raise ValueError(
                f"{' and '.join(reasons)} a validation split, but data.validation is 0; "
                'write data.validation=0.1, or "split" if the source has a validation split'
            )
        return self

    @model_validator(mode="after")
    def _check_fold(self) -> Self:
        if self.data.fold and self.selects_by_test:
            raise ValueError(SELECTS_BY_TEST)
        return self

    @property
    def selects_by_test(self) -> bool:
        """Whether the test set influences the training."""
        schedule = self.train.schedule
        return isinstance(schedule, Plateau) and schedule.monitor == "test"

    @property
    def is_trained_elsewhere(self) -> bool:
        """Whether the recipe has no training: it describes weights that come from a file."""
        return not self.train.epochs

    def check_trainable(self) -> None:
        """Raise RecipeError if the recipe has no training."""
        if self.is_trained_elsewhere:
            raise RecipeError(
                "this recipe has no training: it describes weights that were trained elsewhere",
                where="train.epochs",
                fix="to train its net from the start, set train.epochs=30 and the rest of [train]",
            )

    @property
    def notation(self) -> NotationConfig:
        """The net in the notation, with its settings. Raises RecipeError for a module, which has none."""
        if isinstance(self.model, NotationConfig):
            return self.model
        raise RecipeError(
            "this needs a net in the notation, the recipe has a module",
            where="model.module",
            fix='write the net in the notation: model.net="C16 C16:s2 / G F10"',
        )

    def table(self) -> dict[str, Any]:
        """Return the recipe as a table for TOML, which has no null.

        Without a training it has no settings of one, and without notes no table of them.
        """
        table = self.model_dump(mode="json", exclude_none=True)
        if self.notes == Notes():
            del table["notes"]
        if self.is_trained_elsewhere:
            table["train"] = {name: table["train"][name] for name in ("epochs", "precision", "device")}
            del table["augment"]
        return table
