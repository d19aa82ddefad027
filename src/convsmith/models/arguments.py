"""What the arguments of a command say about a model with trained weights."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from convsmith.errors import RecipeError
from convsmith.models.resolve import model_files
from convsmith.modules.access import NO_CODE, CodeAccess


@dataclass(frozen=True, kw_only=True)
class ModelArguments:
    """What the arguments of a command say about a model with trained weights.

    Attributes:
        target: A run, a bundle or a model of the zoo; with weights from a file a recipe, a module such as
            `model.py:Net`, or a net in the notation.
        weights: A file of safetensors or of `torch.save`; `net.pth#ema` chooses in a checkpoint. None for the
            weights of the target.
        data: With weights from a file: a source of images, or a recipe whose data are taken; None for the
            data of a recipe.
        overrides: With weights from a file: fields of the recipe, as `key=value`.
    """

    target: str
    weights: str | None = None
    data: str | None = None
    overrides: Sequence[str] = ()

    @classmethod
    def of(
        cls,
        target: str | Path,
        weights: str | Path | None,
        data: str | Path | None,
        overrides: Sequence[str],
        access: CodeAccess = NO_CODE,
    ) -> "ModelArguments":
        """Check arguments.

        Raises:
            RecipeError: Some have no meaning together.
        """
        if weights is None and data is not None:
            raise RecipeError(
                "data go with weights from a file",
                where=f"--data {data}",
                fix="add --weights net.pth, or leave --data out: a run, a bundle and the zoo know their data",
            )
        if weights is None and overrides:
            raise RecipeError(
                "the recipe of trained weights cannot be changed",
                where=overrides[0],
                fix="leave it out, or train the recipe with it",
            )
        if weights is not None and access.module is not None:
            raise RecipeError(
                "weights from a file go with a net by its name, not with an instance",
                where="module",
                fix='name it, for example "model.py:Net(width=32)" or "S7.ipynb:Net"',
            )
        return cls(
            target=str(target),
            weights=None if weights is None else str(weights),
            data=None if data is None else str(data),
            overrides=overrides,
        )

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that the model is read from, whether they exist or not."""
        weights = [] if self.weights is None else [self.weights, self.weights.partition("#")[0]]
        return *model_files(self.target), *map(Path, weights)


@contextmanager
def named_data(
    target: str | Path, weights: str | Path | None, data: object, overrides: Sequence[str] = ()
) -> Iterator[str | None]:
    """Return the name of a data set for `ModelArguments`, and hold data in memory as long as the block lasts.

    Args:
        target: A run, a bundle or a model of the zoo; with weights from a file a net.
        weights: A file of weights; None for those of the target.
        data: With weights: a name, a folder, a recipe or data in memory. Without: the data in memory that the
            run was trained on, whose name is not needed.
        overrides: With weights: fields of the recipe, as `key=value`.

    Raises:
        RunError: The run was trained on other data, or on files.
        DataError: The data are no images and labels.
    """
    # A bundle predicts without what trains.
    if weights is not None:
        from convsmith.recipes.in_memory import named_source

        with named_source(data, overrides) as source:
            yield source
    elif data is None or isinstance(data, str | Path):
        yield None if data is None else str(data)
    else:
        from convsmith.runs.session import run_data

        with run_data(Path(target), data):
            yield None
