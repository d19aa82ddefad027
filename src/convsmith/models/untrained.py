"""Models without trained weights: notation, modules in files, recipes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

from convsmith.errors import ModuleError, RecipeError
from convsmith.models.model import Model
from convsmith.modules.access import NO_CODE, CodeAccess
from convsmith.net.arithmetic import analyze
from convsmith.net.inputs import Input
from convsmith.net.notation import parse
from convsmith.net.plan import plan
from convsmith.net.settings import NetSettings

if TYPE_CHECKING:
    from torch import nn

    from convsmith.modules.architecture import Architecture
    from convsmith.recipes.schema import Recipe
    from convsmith.recipes.session import Session

ImageShape = tuple[int, int, int]
_Given = TypeVar("_Given")


class NotationModel(Model):
    """A net in the notation, with settings."""

    kind = "notation"

    def __init__(self, text: str, overrides: Sequence[str], input_shape: ImageShape | None) -> None:
        net = parse(text)
        super().__init__("net", analyze(plan(net, _required(input_shape), _settings(overrides))))

    def net(self) -> "nn.Module":
        from convsmith.net.module import build

        return build(self.plan)


class ModuleModel(Model):
    """A PyTorch module in a file, a notebook or an installed package, such as `file.py:Class(...)`."""

    kind = "module"

    def __init__(self, text: str, overrides: Sequence[str], inputs: tuple[Input, ...] | None) -> None:
        if overrides:
            raise RecipeError(
                "a module has no settings to override",
                where=overrides[0],
                fix="give the class arguments, as in 'model.py:Net(width=32)'",
            )
        from convsmith.modules.load import load_module
        from convsmith.tracing.trace import trace

        loaded = load_module(text)
        self._module = loaded.create()
        try:
            with loaded.limited("the forward pass"):
                analysis = trace(self._module, _required(inputs), places=loaded.places)
        except ModuleError as error:
            raise loaded.explained(error) from error
        super().__init__(analysis.title, analysis)
        self.notes = self.net_notes = loaded.notes

    def net(self) -> "nn.Module":
        return self._module


class RecipeModel(Model):
    """The net of a recipe, with its initial weights."""

    kind = "recipe"

    def __init__(
        self, recipe: "Recipe", input_shape: ImageShape | None = None, access: CodeAccess = NO_CODE
    ) -> None:
        """Analyze the recipe's net.

        Args:
            recipe: The recipe.
            input_shape: `(C, H, W)`; without it the net must fit the recipe's data.
            access: An instance of the net, if the user has one.

        Raises:
            RecipeError: The net does not fit the data.
            ShapeError: The net does not fit the input shape.
        """
        from convsmith.modules.architecture import architecture_of

        self._recipe, self._access = recipe, access
        self.architecture: Architecture = architecture_of(recipe.model, access.module)
        if input_shape is None:
            from convsmith.data.dataset import dataset_info
            from convsmith.recipes.fit import analyze_recipe

            info = dataset_info(recipe.data)
            input_shape = info.image_shape
            self.architecture = self.architecture.probe(info.image_shape, info.num_classes)
            analysis = analyze_recipe(recipe, info, architecture=self.architecture)
        else:
            from convsmith.recipes.fit import with_frozen

            analysis = with_frozen(self.architecture, self.architecture.analyze(input_shape), recipe.train)
        super().__init__(recipe.name, analysis)
        self.net_notes = self.architecture.notes
        self._shape: ImageShape = input_shape

    @property
    def recipe(self) -> "Recipe":
        return self._recipe

    def net(self) -> "nn.Module":
        from convsmith.system.rng import new_generator

        return self.architecture.build(self._shape, new_generator(self._recipe.seed))

    def session(self) -> "Session":
        from convsmith.recipes.session import Session

        return Session.load(self._recipe, architecture=self.architecture)


def _settings(overrides: Sequence[str]) -> NetSettings:
    if not overrides:
        return NetSettings()
    from convsmith.recipes.loader import load_settings

    return load_settings(overrides)


def _required(given: _Given | None) -> _Given:
    if given is None:
        raise RecipeError("the input's shape is missing", where="--input", fix="for example --input 3x32x32")
    return given
