"""The lowest version of each direct dependency that pyproject.toml allows, as constraints for pip.

    python tests/helpers/lowest.py torch=2.13.0 > constraints-lowest.txt

`make test-lowest` installs them and runs the fast tests. Versions on the command line
replace lower bounds that are not available.
"""

import re
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def floors(project: Mapping[str, Any]) -> dict[str, str]:
    """Name and lowest version of each direct dependency, those of the extras too.

    >>> floors({"dependencies": ["a>=2.0", "b==1.5"], "optional-dependencies": {"dev": ["x[dev]", "c>=3"]}})
    {'a': '2.0', 'b': '1.5', 'c': '3'}
    """
    lines = [
        *project["dependencies"],
        *(line for extra in project["optional-dependencies"].values() for line in extra),
    ]
    matches = [re.fullmatch(r"([\w.-]+)(?:>=|==)([\d.]+)", line) for line in lines]
    return {each[1]: each[2] for each in matches if each}


if __name__ == "__main__":
    page = Path(__file__).parents[2] / "pyproject.toml"
    versions = floors(tomllib.loads(page.read_text(encoding="utf-8"))["project"])
    versions |= dict(argument.split("=", 1) for argument in sys.argv[1:])
    sys.stdout.writelines(f"{name}=={version}\n" for name, version in versions.items())
