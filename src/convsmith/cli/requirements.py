"""Check the versions of the installed packages."""

from importlib import metadata

from packaging.requirements import Requirement

from convsmith.errors import DependencyError


def unmet_requirements() -> DependencyError | None:
    """Return an error that names every installed package of an unsupported version, if there is one.

    This runs only after another failure, because pip normally enforces the versions. Packages of extras are
    checked if they are installed.
    """
    try:
        lines = metadata.requires("convsmith") or []
    except metadata.PackageNotFoundError:
        return None
    unmet = {}
    for requirement in map(Requirement, lines):
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            unmet[f"{requirement.name}{requirement.specifier}"] = version
    if not unmet:
        return None
    differences = (f"found {version}, needed {requirement}" for requirement, version in unmet.items())
    return DependencyError(
        "installed in a version that convsmith does not work with: " + "; ".join(differences),
        fix="pip install " + " ".join(f"'{requirement}'" for requirement in unmet),
    )
