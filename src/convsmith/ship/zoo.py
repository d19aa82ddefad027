"""The trained nets that come with convsmith, as bundles."""

from importlib import resources
from pathlib import Path

from convsmith.errors import BundleError, suggest
from convsmith.ship.bundle import FACTS

_ZOO = Path(str(resources.files("convsmith"))) / "zoo"


def zoo_names() -> tuple[str, ...]:
    """The names of the trained nets that come with convsmith.

    Example:
        >>> zoo_names()
        ('cifar10-50k', 'cifar10-classic', 'cifar10-sprint', 'digits', 'mnist-5k')
    """
    return tuple(sorted(folder.name for folder in _ZOO.iterdir() if (folder / FACTS).is_file()))


def zoo_folder(name: str) -> Path:
    """The bundle of a net that comes with convsmith.

    Raises:
        BundleError: None of that name.
    """
    if name not in zoo_names():
        raise BundleError(f"no trained net is called {name!r}", fix=suggest(name, zoo_names()))
    return _ZOO / name


def find_bundle(text: str) -> Path | None:
    """The bundle that a text means: a name of the zoo, or a bundle's folder; None where it may be a run.

    Raises:
        BundleError: It is neither name nor folder.
    """
    if text in zoo_names():
        return zoo_folder(text)
    folder = Path(text)
    if (folder / FACTS).is_file():
        return folder
    if folder.is_dir():
        return None
    if "/" in text or text.startswith((".", "~")):
        raise BundleError("no such folder", where=text, fix="name a run, a bundle, or a net of the zoo")
    return zoo_folder(text)
