"""The trained nets that come with convsmith, as bundles."""

from importlib import resources
from pathlib import Path

from convsmith.errors import BundleError, suggest
from convsmith.models.bundle import FACTS, read_facts
from convsmith.models.bundle_schema import BundleMetadata

_ZOO = Path(str(resources.files("convsmith.library"))) / "zoo"
_BEST = "-best"


def zoo_names() -> tuple[str, ...]:
    """The names of the trained nets that come with convsmith.

    Example:
        >>> [name for name in zoo_names() if name.startswith("cifar10")]
        ['cifar10-100k', 'cifar10-200k', 'cifar10-31k', 'cifar10-50k', 'cifar10-classic', 'cifar10-sprint']
    """
    return tuple(sorted(folder.name for folder in _ZOO.iterdir() if (folder / FACTS).is_file()))


def zoo_name(text: str) -> str | None:
    """The trained net that a name means: its own, or `DATA-best`, the most accurate one on a data set.

    None where it means none.

    Example:
        >>> zoo_name("digits-best"), zoo_name("imagenet-best")
        ('digits', None)
    """
    if text in zoo_names():
        return text
    return _best().get(text) if text.endswith(_BEST) else None


def _best() -> dict[str, str]:
    """By `DATA-best`, the net with the highest accuracy on the test images of that data set."""
    shipped = sorted((read_facts(_ZOO / name) for name in zoo_names()), key=_accuracy)
    return {f"{facts.origin.data.source}{_BEST}": facts.name for facts in shipped}


def _accuracy(facts: BundleMetadata) -> float:
    return facts.measured.correct / facts.measured.total


def zoo_folder(name: str) -> Path:
    """The bundle of a net that comes with convsmith, by its name or as the best on a data set.

    Raises:
        BundleError: None of that name.
    """
    if (own := zoo_name(name)) is None:
        fix = suggest(name, [*zoo_names(), *_best()])
        raise BundleError(f"no trained net is called {name!r}", fix=fix)
    return _ZOO / own


def find_bundle(text: str) -> Path | None:
    """The bundle that a text means: a name of the zoo, or a bundle's folder; None where it may be a run.

    Raises:
        BundleError: It is neither name nor folder.
    """
    if (name := zoo_name(text)) is not None:
        return _ZOO / name
    folder = Path(text)
    if (folder / FACTS).is_file():
        return folder
    if folder.is_dir():
        return None
    if "/" in text or text.startswith((".", "~")):
        raise BundleError("no such folder", where=text, fix="name a run, a bundle, or a net of the zoo")
    return zoo_folder(text)
