"""Resolve a name to a model: the one place where names of models are interpreted.

| name | model |
| --- | --- |
| `digits`, `recipe:digits`, `my.toml` | a recipe, with its initial weights |
| `digits`, `zoo:digits`, `digits-best` | a trained model of the zoo |
| `runs/digits-1`, `my-bundle/` | a run folder or a bundle, with its trained weights |
| `model.py:Net(width=32)`, `S7.ipynb:Net` | a PyTorch module in a file or notebook |
| `timm.models.resnet:resnet18()` | a PyTorch module of an installed package |
| `"C16 C16:s2 / G F10"` | a net in the notation |

A word that names both a recipe and a zoo model denotes the recipe, or the zoo model for commands that need
weights. The prefixes choose one explicitly.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from convsmith.errors import BundleError, RecipeError
from convsmith.modules.access import NO_CODE, CodeAccess
from convsmith.modules.reference import file_of, is_reference
from convsmith.net.inputs import Input, Inputs, image_shape, inputs_of
from convsmith.system import folders, paths

if TYPE_CHECKING:
    from convsmith.models.model import Model, TrainedModel

Preference = Literal["recipe", "zoo"]


def resolve(
    text: str,
    overrides: Sequence[str] = (),
    input_shape: Inputs | None = None,
    *,
    prefer: Preference = "recipe",
    access: CodeAccess = NO_CODE,
) -> "Model":
    """Resolve a name to a model. PyTorch is imported for runs and modules only.

    Args:
        text: A recipe's name or TOML file, a zoo model, the folder of a run or a bundle, a net in the
            notation, or a module: `file.py:Class`, `notebook.ipynb:Class`, `package.module:function()`.
        overrides: Fields of the recipe, or settings of the net, as `key=value`; a trained model accepts
            fields of its brief only.
        input_shape: `(C, H, W)` of one image; by default that of the model's own data. A module may have
            several inputs, see `inputs_of`.
        prefer: Which model a word denotes that names both a recipe and a zoo model. With overrides it is
            always the recipe.
        access: Whether code that a run or a bundle holds may be run.

    Raises:
        UntrustedCodeError: The net of a run or a bundle is a module, and its code may not be run.
        RunError: There is no such run, or it is damaged.
        BundleError: The bundle is damaged, or of another version.
        RecipeError: The recipe or an override is invalid, or the input's shape is missing.
        NotationError: The notation is invalid.
        ShapeError: The layers do not fit the input.
        ModuleError: The module does not exist, or cannot be created or run.

    Example:
        >>> resolve("C16 C16:s2 / G F10", input_shape=(3, 32, 32)).analysis.parameters
        2970
        >>> resolve("digits").kind, resolve("zoo:digits").kind, resolve("cifar10-best").kind
        ('recipe', 'zoo', 'zoo')
    """
    reference = locate(text, "recipe" if overrides else prefer)
    inputs = None if input_shape is None else inputs_of(input_shape)
    model = _open(reference, overrides, inputs, access)
    model.notes, model.reference = (*model.notes, *_notes(text, reference)), text
    return model


def resolve_trained(text: str, *, access: CodeAccess = NO_CODE) -> "TrainedModel":
    """Resolve a name to a model with trained weights: a zoo model, a bundle or a run.

    Raises:
        UntrustedCodeError: Its net is a module, and its code may not be run.
        RunError: There is no such run, or it is damaged.
        BundleError: Nothing with trained weights has this name, or the bundle is damaged.

    Example:
        >>> resolve_trained("digits").kind
        'zoo'
    """
    from convsmith.models.model import TrainedModel
    from convsmith.models.zoo import unknown_zoo_model, zoo_names

    try:
        reference = locate(text, "zoo")
    except RecipeError as error:
        raise unknown_zoo_model(text) from error
    if reference.kind == "notation":
        raise unknown_zoo_model(text)
    if reference.kind == "run" and not paths.is_folder(Path(text)):
        raise BundleError("no such folder", where=text, fix="name a run, a bundle, or a net of the zoo")
    if reference.kind not in {"zoo", "bundle", "run"}:
        raise BundleError(
            f"this {reference.kind} has no trained weights",
            where=text,
            fix=f"name a run, a bundle or a model of the zoo: {', '.join(zoo_names())}",
        )
    model = _open(reference, access=access)
    assert isinstance(model, TrainedModel), "as its kind says"
    model.reference = text
    return model


def model_files(text: str) -> tuple[Path, ...]:
    """Return the files that the model of a name is read from, whether they exist or not."""
    if not text:
        return ()
    named = Path(file_of(text) or text), Path(text)
    if not paths.is_folder(Path(text)):
        return named
    from convsmith.models.bundle import CONTENTS, MANIFEST
    from convsmith.modules.architecture import SOURCE
    from convsmith.modules.sources import names_in
    from convsmith.runs.folder import CONTENTS as RUN

    source = Path(text) / SOURCE
    code = [source / name for name in names_in(source)] if paths.is_folder(source) else []
    return *named, *(Path(text) / name for name in (*CONTENTS, MANIFEST, *RUN)), *code


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What a name denotes: the kind of model, and the text without a prefix that chose it."""

    kind: Literal["recipe", "zoo", "bundle", "run", "module", "notation"]
    text: str


def locate(text: str, prefer: Preference) -> Reference:
    """Decide what kind of model a name denotes, without opening it.

    Raises:
        RecipeError: It can only be the name of a recipe, and there is none of this name.

    Example:
        >>> locate("digits", "zoo").kind, locate("model.py:Net", "recipe").kind
        ('zoo', 'module')
    """
    if not text:
        raise RecipeError("the name of the model is empty", fix="name a recipe, a run, a bundle or a net")
    if text.startswith("zoo:"):
        return Reference(kind="zoo", text=text.removeprefix("zoo:"))
    if is_reference(text):
        return Reference(kind="module", text=text)
    if text.startswith("recipe:") or text.endswith(".toml"):
        return Reference(kind="recipe", text=text)
    named = _locate_name(text, prefer) or _locate_folder(text)
    return named or Reference(kind="notation", text=text)


def _locate_name(text: str, prefer: Preference) -> Reference | None:
    # Notation is recognized without reading the library.
    if not _like_a_name(text):
        return None
    order: tuple[Preference, ...] = ("recipe", "zoo") if prefer == "recipe" else ("zoo", "recipe")
    for kind in order:
        if _is_recipe(text) if kind == "recipe" else _zoo_name(text):
            return Reference(kind=kind, text=text)
    return None


def _locate_folder(text: str) -> Reference | None:
    folder = Path(text)
    folders.restore(folder)
    if paths.is_folder(folder):
        from convsmith.models.bundle import METADATA

        return Reference(kind="bundle" if paths.is_file(folder / METADATA) else "run", text=text)
    if _like_a_path(text):
        return Reference(kind="run", text=text)
    if _like_a_name(text):
        from convsmith.models.zoo import best_names
        from convsmith.recipes.loader import recipe_names

        names = [*recipe_names(), *best_names()]
        raise RecipeError(f"unknown recipe {text!r}", fix=folders.suggest_name(text, names))
    return None


def _open(
    reference: Reference,
    overrides: Sequence[str] = (),
    inputs: tuple[Input, ...] | None = None,
    access: CodeAccess = NO_CODE,
) -> "Model":
    """Open the model of a reference; a heavy library is imported for its own kinds only."""
    text = reference.text
    if reference.kind == "module":
        from convsmith.models.untrained import ModuleModel

        return ModuleModel(text, overrides, inputs)
    input_shape = None if inputs is None else image_shape(inputs)
    match reference.kind:
        case "zoo":
            from convsmith.models.bundle import read
            from convsmith.models.bundle_model import ZooModel
            from convsmith.models.zoo import zoo_folder

            return ZooModel(read(zoo_folder(text)), _zoo_name(text) or text, overrides, input_shape)
        case "bundle":
            from convsmith.models.bundle import read
            from convsmith.models.bundle_model import BundleModel

            return BundleModel(read(Path(text)), text, overrides, input_shape, access)
        case "run":
            from convsmith.models.run_model import RunModel

            return RunModel(Path(text), overrides, input_shape, access)
        case "recipe":
            from convsmith.models.untrained import RecipeModel
            from convsmith.recipes.loader import load

            return RecipeModel(load(text, overrides), input_shape, access)
        case _:
            from convsmith.models.untrained import NotationModel

            return NotationModel(text, overrides, input_shape)


def _notes(text: str, reference: Reference) -> tuple[str, ...]:
    """Explain which of two models a word denotes."""
    if reference.kind not in {"recipe", "zoo"} or reference.text != text:
        return ()
    if _zoo_name(text) != text or not _is_recipe(text):
        return ()
    if reference.kind == "zoo":
        return (f"{text}: the trained model of the zoo; recipe:{text} is the recipe, untrained",)
    return (f"{text}: the recipe, untrained; zoo:{text} is the trained model of the zoo",)


def _is_recipe(text: str) -> bool:
    from convsmith.recipes.loader import recipe_names

    return text in recipe_names()


def _zoo_name(text: str) -> str | None:
    from convsmith.models.zoo import zoo_name

    return zoo_name(text)


def _like_a_path(text: str) -> bool:
    """Whether a text can only be a path; in the notation no lower-case word stands before a slash."""
    return re.match(r"[\w.-]*[a-z.]{2,}[\w.-]*/\S*$|[/~.]", text) is not None


def _like_a_name(text: str) -> bool:
    return re.fullmatch(r"[a-z]{2,}[\w-]*", text) is not None
