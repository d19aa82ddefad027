"""What a command is about, and its numbers: notation, a recipe, a run, a bundle, or a module in a file."""

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from convsmith.briefs.checks import Check, RunMetrics, judge
from convsmith.briefs.schema import Brief
from convsmith.errors import BundleError, ModuleError, RecipeError
from convsmith.net.analysis import Analysis
from convsmith.net.arithmetic import SpecAnalysis, analyze, analyze_notation
from convsmith.net.notation import parse
from convsmith.net.plan import Plan, plan
from convsmith.recipes.loader import load, load_settings, overridden, recipe_names
from convsmith.recipes.schema import Recipe

if TYPE_CHECKING:
    from convsmith.models.bundle_schema import BundleMetadata
    from convsmith.runs.folder import RunFolder

ImageShape = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class Target:
    """A net with its numbers, and where it comes from.

    Attributes:
        name: The recipe's, that of the module's class, or "net".
        analysis: For one input shape.
        recipe: None for a net in the notation and for a module.
        run: The folder of a finished run, whose weights are meant.
        bundle: The folder of a bundle, whose weights are meant.
        trained: What a run or a bundle has shown on its test set.
    """

    name: str
    analysis: Analysis
    recipe: Recipe | None = None
    run: Path | None = None
    bundle: Path | None = None
    trained: RunMetrics | None = None

    @property
    def plan(self) -> Plan:
        """Raises ModuleError for a module, which has none."""
        if isinstance(self.analysis, SpecAnalysis):
            return self.analysis.plan
        raise ModuleError(
            "a module of your own is PyTorch code already", where=self.name, fix="name a net in the notation"
        )

    def judge(self, brief: Brief | None = None) -> tuple[Check, ...]:
        """The verdicts of a brief; of the recipe's own if none is given."""
        recipe = self.recipe
        if brief is None:
            brief = recipe.brief if recipe else Brief()
        names = tuple(each.name for each in recipe.augment.transforms) if recipe else None
        return judge(brief, self.analysis, augmentations=names, metrics=self.trained)


def find(text: str, overrides: Sequence[str] = (), input_shape: ImageShape | None = None) -> Target:
    """Find out what is meant. Needs no torch but for a module, and data only where its images are unknown.

    Args:
        text: A recipe's name, the path of a recipe, of a run's folder or of a bundle's, `file.py:Class`, or
            a net in the notation.
        overrides: Fields of the recipe, or settings of the net, as `key=value`.
        input_shape: `(C, H, W)` of one image; that of a recipe's, a run's or a bundle's own data where it is
            left out.

    Raises:
        RunError: No such run, or no trained one.
        BundleError: A damaged bundle, or one of another version.
        RecipeError: The recipe or the overrides are wrong, or the input's shape is missing.
        NotationError: The notation cannot be read.
        ShapeError: The layers do not fit the input.
        ModuleError: The module cannot be found, made or run.

    Example:
        >>> find("C16 C16:s2 / G F10", input_shape=(3, 32, 32)).analysis.parameters
        2970
    """
    if ".py:" in text:
        return _of_module(text, overrides, _needed(input_shape))
    if text in recipe_names() or text.endswith(".toml"):
        return of_recipe(load(text, overrides), input_shape)
    if Path(text).is_dir() or _like_a_path(text):
        return _of_folder(Path(text), overrides, input_shape)
    if re.fullmatch(r"[a-z]{2,}[\w-]*", text):
        # No notation: tells which recipe may be meant.
        load(text)
    net = parse(text)
    return Target(name="net", analysis=analyze(plan(net, _needed(input_shape), load_settings(overrides))))


def of_recipe(recipe: Recipe, input_shape: ImageShape | None = None) -> Target:
    """A recipe's net, on its own data, which it then has to fit, or on images of another shape."""
    if input_shape is not None:
        return Target(
            name=recipe.name,
            analysis=analyze_notation(recipe.model.net, input_shape, recipe.model),
            recipe=recipe,
        )
    from convsmith.data.dataset import dataset_info
    from convsmith.recipes.fit import fitted

    return Target(name=recipe.name, analysis=fitted(recipe, dataset_info(recipe.data)), recipe=recipe)


def _like_a_path(text: str) -> bool:
    """In the notation no lower-case word stands before a slash."""
    return re.match(r"[\w.-]*[a-z.]{2,}[\w.-]*/\S*$|[/~.]", text) is not None


def _of_folder(folder: Path, overrides: Sequence[str], input_shape: ImageShape | None) -> Target:
    from convsmith.models.bundle import FACTS

    of_kind = _of_bundle if (folder / FACTS).is_file() else _of_run
    return of_kind(folder, overrides, input_shape)


def _of_run(folder: Path, overrides: Sequence[str], input_shape: ImageShape | None) -> Target:
    from convsmith.runs.folder import RunFolder
    from convsmith.runs.schema import DataRecord

    run = RunFolder.open(folder)
    _check_only_brief("run", folder, overrides)
    recipe = run.recipe(overrides)
    target = of_recipe(recipe, input_shape or run.read(DataRecord).image_shape)
    return replace(target, run=folder, trained=_shown(run))


def _of_bundle(folder: Path, overrides: Sequence[str], input_shape: ImageShape | None) -> Target:
    from convsmith.models.bundle import read_facts

    facts = read_facts(folder)
    _check_only_brief("bundle", folder, overrides)
    recipe = overridden(_recipe_of(facts, folder), overrides)
    target = of_recipe(recipe, input_shape or facts.preprocessing.shape)
    trained = RunMetrics(accuracy=facts.measured.accuracy, calibration_error=facts.measured.ece)
    return replace(target, bundle=folder, trained=trained)


def _recipe_of(facts: "BundleMetadata", folder: Path) -> Recipe:
    """The recipe that a bundle carries, which may come from anywhere."""
    try:
        recipe = Recipe.model_validate(tomllib.loads(facts.origin.recipe_toml))
        damage = "" if recipe.model.model_dump() == facts.spec.model_dump() else "its net is another"
    except (ValueError, RecursionError) as error:
        damage = str(error).splitlines()[0][:200]
    if damage:
        raise BundleError(
            f"its recipe cannot be used: {damage}",
            where=str(folder),
            fix="bring convsmith up to date, or make the bundle anew",
        )
    return recipe


def _check_only_brief(kind: str, folder: Path, overrides: Sequence[str]) -> None:
    for each in overrides:
        if not each.startswith(("brief.", "brief=")):
            raise RecipeError(
                f"a {kind}'s recipe cannot be changed after the training",
                where=each,
                fix=f"name a recipe instead of {folder}, or train again",
            )


def _shown(run: "RunFolder") -> RunMetrics | None:
    """What a run has shown; nothing before it is finished."""
    from convsmith.evaluation.schema import Results
    from convsmith.runs.schema import FILES

    if not (run.path / FILES[Results]).is_file():
        return None
    run.verify(FILES[Results])
    test = run.read(Results).test
    # Runs of older versions have no calibration.
    error = test.calibration.ece if test.calibration else None
    return RunMetrics(accuracy=test.correct / test.total, calibration_error=error)


def _of_module(text: str, overrides: Sequence[str], input_shape: ImageShape) -> Target:
    if overrides:
        raise RecipeError(
            "a module has no settings to override",
            where=overrides[0],
            fix="give the class arguments, as in 'model.py:Net(width=32)'",
        )
    from convsmith.tracing.load import load_module
    from convsmith.tracing.trace import trace

    analysis = trace(load_module(text), input_shape)
    return Target(name=analysis.title, analysis=analysis)


def _needed(input_shape: ImageShape | None) -> ImageShape:
    if input_shape is None:
        raise RecipeError("the input's shape is missing", where="--input", fix="for example --input 3x32x32")
    return input_shape
