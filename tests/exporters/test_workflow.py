"""The workflow as a file of YAML."""

import shlex
from pathlib import Path, PurePosixPath

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from convsmith.errors import RecipeError
from convsmith.exporters.workflow import Workflow
from helpers.nets import examples

NAMES = st.text(st.characters(exclude_categories=["C", "Z"]) | st.just(" "), min_size=1, max_size=20).filter(
    lambda text: text.isprintable() and "${{" not in text
)


@settings(max_examples=examples(200), deadline=None)
@given(st.lists(NAMES, min_size=1, max_size=3), st.lists(NAMES, max_size=2), NAMES)
def test_any_name_arrives_at_the_command(nets: list[str], weights: list[str], folder: str) -> None:
    workflow = Workflow(
        nets=nets, weights=weights, data="mnist", folder=PurePosixPath(folder.strip("/. ") or "a")
    )
    (job,) = yaml.safe_load(workflow.text())["jobs"].values()
    words = shlex.split(job["steps"][3]["run"].replace("\\\n", " "))
    assert words[: 2 + len(nets)] == ["convsmith", "check", *nets]
    named = [
        words[index + 1] for index, word in enumerate(words) if word == "--weights" and index > len(nets) + 1
    ]
    assert named[: len(weights)] == weights or "--weights" in (*nets, *weights)
    assert job["defaults"]["run"]["working-directory"] == str(workflow.folder)


@pytest.mark.parametrize("name", ["a\nb.py:Net", "${{ secrets.A }}.py:Net", "a\u202eb.py:Net"])
def test_what_a_workflow_cannot_hold(name: str) -> None:
    with pytest.raises(RecipeError, match="cannot stand in a workflow"):
        Workflow(nets=[name]).text()


def test_each_folder_has_a_workflow_of_its_own() -> None:
    first, second = (Workflow(nets=["model.py:Net"], folder=PurePosixPath(name)) for name in ("S5", "S6/a b"))
    assert first.path == PurePosixPath(".github/workflows/convsmith-s5.yml")
    assert second.path == PurePosixPath(".github/workflows/convsmith-s6-a-b.yml")
    assert "S6/a b/convsmith-report.md" in second.text()
    assert Path(first.path).suffix == ".yml"
