"""Whether the packages that are installed are those that convsmith needs."""

from importlib import metadata

from packaging.requirements import Requirement

from convsmith.errors import DependencyError


def unmet() -> DependencyError | None:
    """What is installed in a version that convsmith does not work with, if anything is.

    Asked for only where something has failed already, as pip sees to it otherwise. Packages of the extras
    count where they are installed.
    """
    try:
        lines = metadata.requires("convsmith") or []
    except metadata.PackageNotFoundError:
        return None
    wrong = {}
    for needed in map(Requirement, lines):
        try:
            found = metadata.version(needed.name)
        except metadata.PackageNotFoundError:
            continue
        if not needed.specifier.contains(found, prereleases=True):
            wrong[f"{needed.name}{needed.specifier}"] = found
    if not wrong:
        return None
    told = (f"found {found}, needed {needed}" for needed, found in wrong.items())
    return DependencyError(
        "installed in a version that convsmith does not work with: " + "; ".join(told),
        fix="pip install " + " ".join(f"'{needed}'" for needed in wrong),
    )
