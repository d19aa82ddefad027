"""What tests of faults share."""

from collections.abc import Callable

import pytest

from convsmith.recipes.session import Session
from convsmith.runs.folder import RunFolder


@pytest.fixture
def without_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs end with their manifest alone, and the command shows nothing of them; pictures take seconds."""

    def finish(folder: RunFolder, prepared: Session, log: Callable[[str], None]) -> RunFolder:
        folder.write_manifest()
        return folder

    monkeypatch.setattr("convsmith.api.training.finish", finish)
    monkeypatch.setattr("convsmith.cli.training._show_result", lambda result: None)
