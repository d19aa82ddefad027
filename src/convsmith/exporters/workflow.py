"""The workflow of GitHub Actions that checks a net, and its badge."""

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import convsmith
from convsmith.errors import RecipeError

# The major versions that run on the Node of today's runners.
_CHECKOUT, _PYTHON, _UPLOAD = "actions/checkout@v6", "actions/setup-python@v6", "actions/upload-artifact@v6"
_PYTHON_VERSION = "3.12"
# PyTorch for the CPU is a tenth of the size of the one for CUDA, and its version is the higher one to pip.
_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
REPORT, JUNIT, BRIEF = "convsmith-report.md", "convsmith-report.xml", "brief.toml"
_ROOT = PurePosixPath()
_MINUTES, _MINUTES_OF_TRAINING = 30, 350
# An expression of GitHub's would be replaced, in quotes too.
_EXPRESSION = re.compile(r"\$\{\{")


@dataclass(frozen=True, kw_only=True)
class Workflow:
    """The workflow of one folder of a repository.

    Attributes:
        folder: The folder with the brief and the net, from the root of the repository; "." for the root.
        nets: The nets, as `check` takes them.
        weights: A file for each net, or none.
        data: The data set; empty if the shape of the images is named instead.
        input_shape: Such as "3x32x32"; empty with `data`.
        train: Whether the check trains.
    """

    folder: PurePosixPath = _ROOT
    nets: Sequence[str]
    weights: Sequence[str] = ()
    data: str = ""
    input_shape: str = ""
    train: bool = False

    @property
    def name(self) -> str:
        """The name of the file without its suffix: one for each folder.

        >>> Workflow(nets=["model.py:Net"]).name, Workflow(nets=[], folder=PurePosixPath("Session 7")).name
        ('convsmith', 'convsmith-session-7')
        """
        slug = re.sub(r"[^a-z0-9]+", "-", str(self.folder).lower()).strip("-")
        return f"convsmith-{slug}" if slug else "convsmith"

    @property
    def path(self) -> PurePosixPath:
        """The path of the file, from the root of the repository."""
        return PurePosixPath(".github", "workflows", f"{self.name}.yml")

    def command(self) -> list[str]:
        """Return the command of the check, with an option in each part."""
        parts = [["convsmith", "check", *self.nets], ["--brief", BRIEF]]
        parts += [["--weights", each] for each in self.weights]
        parts += [[option, value] for option, value in self._options() if value]
        parts += [["--train"]] if self.train else []
        parts += [["--report", REPORT], ["--junit", JUNIT]]
        return [shlex.join(part) for part in parts]

    def _options(self) -> list[tuple[str, str]]:
        return [("--data", self.data), ("--input", self.input_shape)]

    def text(self) -> str:
        """Return the file.

        Raises:
            RecipeError: A name has a line break, or what GitHub would replace.
        """
        for each in (*self.nets, *self.weights, self.data, str(self.folder)):
            if not each.isprintable() or _EXPRESSION.search(each):
                raise RecipeError(
                    "this name cannot stand in a workflow", where=repr(each), fix="rename the file or folder"
                )
        command = " \\\n            ".join(self.command())
        inside = "" if self.folder == _ROOT else _working_directory(self.folder)
        return f"""\
# Written by `convsmith init`. {BRIEF} is the brief that the net is checked by.
name: {self.name}
on:
  push:
  pull_request:
permissions:
  contents: read
jobs:
  check:
    runs-on: ubuntu-latest
    timeout-minutes: {_MINUTES_OF_TRAINING if self.train else _MINUTES}
{inside}    steps:
      - uses: {_CHECKOUT}
      - uses: {_PYTHON}
        with:
          python-version: "{_PYTHON_VERSION}"
      - name: Install convsmith
        run: python -m pip install --extra-index-url {_CPU_INDEX} convsmith=={convsmith.__version__}
      - name: Check the net
        run: |
          {command}
      - name: Keep the report
        if: ${{{{ !cancelled() }}}}
        uses: {_UPLOAD}
        with:
          name: {self.name}
          path: |
            {self.folder / REPORT}
            {self.folder / JUNIT}
          if-no-files-found: ignore
"""

    def badge(self, repository: str) -> str:
        """Return the line for a README.

        Args:
            repository: "owner/name" on GitHub.

        Example:
            >>> print(Workflow(nets=[]).badge("ada/mnist").removeprefix("[![convsmith](https://github.com/"))
            ada/mnist/actions/workflows/convsmith.yml/badge.svg)](https://github.com/ada/mnist/actions/workflows/convsmith.yml)
        """
        address = f"https://github.com/{repository}/actions/workflows/{self.path.name}"
        return f"[![{self.name}]({address}/badge.svg)]({address})"


def _working_directory(folder: PurePosixPath) -> str:
    name = json.dumps(str(folder), ensure_ascii=False)
    return f"    defaults:\n      run:\n        working-directory: {name}\n"
