"""What a command is about: a recipe, a net in the notation, a module in a file, or a run; and its numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from convsmith.arch.analyze import analyze
from convsmith.arch.facts import Analysis
from convsmith.arch.notation import parse
from convsmith.arch.plan import plan
from convsmith.errors import RecipeError
from convsmith.inspect.brief import Brief, Check, Trained, judge
from convsmith.recipe.loader import load, load_settings, shelf
from convsmith.recipe.schema import Recipe

ImageShape = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class Target:
    """A net with its numbers, and the recipe and the run that it comes from, where there are any."""

    name: str
    analysis: Analysis
    recipe: Recipe | None = None
    trained: Trained | None = None

    def judge(self, brief: Brief | None = None) -> tuple[Check, ...]:
        """The verdicts of a brief; of the recipe's own if none is given."""
        recipe = self.recipe
        if brief is None:
            brief = recipe.brief if recipe else Brief()
        names = tuple(each.name for each in recipe.augment.transforms) if recipe else None
        return judge(brief, self.analysis, augmentations=names, trained=self.trained)


def resolve(text: str, overrides: Sequence[str] = (), input_shape: ImageShape | None = None) -> Target:
    """Find what a text names.

    Args:
        text: A run's folder, `file.py:Class`, a recipe's name or file, or a net in the notation.
        overrides: Fields of the recipe, or settings of the net, as `key=value`.
        input_shape: `(C, H, W)` of one image; a recipe's own data if left out.

    Raises:
        ConvsmithError: It names nothing, or the net does not fit its input.
    """
    if (Path(text) / "recipe.toml").is_file():
        return _run(Path(text), overrides)
    if ".py:" in text:
        return _module(text, overrides, _needed(input_shape))
    if (
        text in shelf()
        or text.endswith(".toml")
        or text[:1].islower()
        or "/" in text.split(" ", maxsplit=1)[0]
    ):
        return of_recipe(load(text, overrides), input_shape)
    analysis = analyze(plan(parse(text), _needed(input_shape), load_settings(overrides)))
    return Target(name=text, analysis=analysis)


def of_recipe(recipe: Recipe, input_shape: ImageShape | None = None) -> Target:
    """A recipe's net, on its own data or on images of another shape."""
    from convsmith.data.images import outline_of
    from convsmith.workflow.check import fitted

    if input_shape is None:
        analysis = fitted(recipe, outline_of(recipe.data))
    else:
        analysis = analyze(plan(parse(recipe.model.net), input_shape, recipe.model))
    return Target(name=recipe.name, analysis=analysis, recipe=recipe)


def _run(path: Path, overrides: Sequence[str]) -> Target:
    from convsmith.training.run import RunFolder

    folder = RunFolder.open(path)
    target = of_recipe(load(str(folder.path / "recipe.toml"), overrides))
    score = folder.read_json("results.json")["test"]
    trained = Trained(accuracy=score["correct"] / score["total"])
    return Target(name=str(path), analysis=target.analysis, recipe=target.recipe, trained=trained)


def _module(text: str, overrides: Sequence[str], input_shape: ImageShape) -> Target:
    if overrides:
        raise RecipeError(
            "a module has no settings to override",
            where=overrides[0],
            fix="give the class arguments, as in 'model.py:Net(width=32)'",
        )
    from convsmith.inspect.load import load_module
    from convsmith.inspect.trace import trace

    return Target(name=text, analysis=trace(load_module(text), input_shape))


def _needed(input_shape: ImageShape | None) -> ImageShape:
    if input_shape is None:
        raise RecipeError("the input's shape is missing", where="--input", fix="for example --input 3x32x32")
    return input_shape
