"""The trained models that ship with convsmith, as bundles."""

from importlib import resources
from pathlib import Path

from convsmith.errors import BundleError
from convsmith.models.bundle import METADATA, read
from convsmith.system import folders

_ZOO = Path(str(resources.files("convsmith.library"))) / "zoo"
_BEST = "-best"


def zoo_names() -> tuple[str, ...]:
    """Return the names of the trained models that ship with convsmith.

    Example:
        >>> [name for name in zoo_names() if name.startswith("cifar10")]
        ['cifar10-100k', 'cifar10-200k', 'cifar10-31k', 'cifar10-50k', 'cifar10-classic', 'cifar10-sprint']
    """
    return tuple(sorted(folder.name for folder in _ZOO.iterdir() if (folder / METADATA).is_file()))


def zoo_name(text: str) -> str | None:
    """Return the zoo model that a name denotes: its own name, or `DATA-best`; None for any other name.

    `DATA-best` is the model with the highest test accuracy on a data set.

    Example:
        >>> zoo_name("digits-best"), zoo_name("imagenet-best")
        ('digits', None)
    """
    if text in zoo_names():
        return text
    return best_names().get(text) if text.endswith(_BEST) else None


def best_names() -> dict[str, str]:
    """Map each `DATA-best` to the model with the highest test accuracy on that data set."""
    metadata = sorted(
        (read(_ZOO / name).metadata for name in zoo_names()), key=lambda each: each.measured.accuracy
    )
    return {f"{each.origin.data.source}{_BEST}": each.name for each in metadata}


def zoo_folder(name: str) -> Path:
    """Return the bundle of a zoo model, by its name or as `DATA-best`.

    Raises:
        BundleError: There is no such model.
    """
    if (own := zoo_name(name)) is None:
        raise unknown_zoo_model(name)
    return _ZOO / own


def unknown_zoo_model(name: str) -> BundleError:
    """Return the error for a name that is not in the zoo, with the nearest name that is."""
    fix = folders.suggest_name(name, [*zoo_names(), *best_names()])
    return BundleError(f"no trained net is called {name!r}", fix=fix)
