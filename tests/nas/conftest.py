from typing import Any

import pytest

from convsmith.nas.worker import TrialRunner
from convsmith.training.metrics import EpochMetrics
from helpers.searches import Objective


@pytest.fixture
def objective(monkeypatch: pytest.MonkeyPatch) -> Objective:
    instance = Objective()

    def train(runner: TrialRunner, *rest: Any, **more: Any) -> tuple[EpochMetrics, ...]:
        return instance(runner, *rest, **more)

    monkeypatch.setattr(TrialRunner, "train", train)
    return instance
