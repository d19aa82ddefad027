"""Small searches, and a replacement of their trainings."""

import math
from typing import Any

from convsmith.briefs.schema import Brief
from convsmith.nas.candidate import Candidate
from convsmith.nas.settings import SearchSettings
from convsmith.nas.worker import TrialRunner
from convsmith.net.arithmetic import analyze_notation
from convsmith.recipes.loader import load
from convsmith.runs.folder import RunFolder
from convsmith.training.metrics import EpochMetrics, SplitMetrics

TINY = ["model.net=C4 C8:s2 / G F10", "name=tiny", "train.batch_size=256", "augment.transforms=[]"]


def settings(
    *overrides: str, brief: Brief | None = None, epochs: int = 1, seed: int = 0, factor: int = 2
) -> SearchSettings:
    return SearchSettings(
        recipe=load("digits", [*TINY, *overrides]),
        brief=brief or Brief(max_parameters=3_000),
        brief_name="small",
        epochs=epochs,
        factor=factor,
        macs_factor=4.0,
        seed=seed,
    )


class Objective:
    """Replaces training: nets of about 2,000 parameters and learning rates near 0.02 are best."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int]] = []
        self.nets: list[str] = []

    def accuracy(self, net: str, rate: float) -> float:
        parameters = analyze_notation(net, (1, 8, 8)).parameters
        return 0.9 / (1 + abs(math.log(parameters / 2_000)) + 0.3 * abs(math.log(rate / 0.02)))

    def __call__(
        self, runner: TrialRunner, number: int, candidate: Candidate, until: int, **rest: Any
    ) -> tuple[EpochMetrics, ...]:
        self.calls.append((number, until))
        self.nets.append(candidate.net)
        best = self.accuracy(candidate.net, candidate.fields["train.optimizer.lr"])
        done = []
        for epoch in range(1, until + 1):
            correct = round(best * 100 * (1 - 0.5**epoch))
            score = SplitMetrics(loss=1.0, correct=correct, total=100)
            done.append(
                EpochMetrics(
                    epoch=epoch, lr=0.1, train=score, validation=score, test=None,
                    train_seconds=1.0, evaluation_seconds=0.5,
                )
            )  # fmt: skip
        RunFolder(path=runner.trial_folder(number)).write_metrics(done)
        return tuple(done)
