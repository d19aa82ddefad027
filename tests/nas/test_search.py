"""The search: mutations, rejected candidates, promotion, resuming."""

import json
import math
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import convsmith as cs
from convsmith.briefs.checks import judge
from convsmith.briefs.kind_rules import KindRule
from convsmith.briefs.schema import Brief
from convsmith.cli import run
from convsmith.data.config import DataConfig
from convsmith.data.dataset import DatasetInfo, image_ids, load_training_data
from convsmith.data.dataset import load as load_data
from convsmith.errors import DivergedError, FileError, MissingExtraError, RecipeError, RunError, StoppedError
from convsmith.nas.candidate import Candidate
from convsmith.nas.evolution import EvaluatedCandidate, first_candidate, next_candidate
from convsmith.nas.halving import compute_rungs, promotable
from convsmith.nas.hyperparameters import Hyperparameter, hyperparameters_of
from convsmith.nas.mutations import MUTATIONS, MutableNet, Mutation, mutate
from convsmith.nas.pareto import ParetoPoint, pareto_front
from convsmith.nas.search import search
from convsmith.nas.search_space import SearchSpace
from convsmith.nas.worker import Deadline, TrialRunner
from convsmith.net.arithmetic import analyze_notation
from convsmith.net.notation import parse
from convsmith.net.spec import Residual
from convsmith.recipes.fit import analyze_recipe, subject_of
from convsmith.recipes.loader import load
from convsmith.runs.folder import RunFolder
from convsmith.system.signals import ALARM
from convsmith.training.metrics import BatchMetrics, EpochMetrics
from helpers.searches import TINY, Objective, settings

NETS = (
    "C16 C16 C16:d2:p1 / C32 C32 C32:s2 / S48 C48 C48:s2 / C64 C64 C64 / G P10",
    "C64:k4:s2:n0 / P32 C32 C64:s2 / C64 C64:d2 C64 S160 / G F10",
    "C16 +(C16 S16)*2 / D:s2 P32 +(C32:o0.1) M2 / G F20 F10",
)
DIGITS = DatasetInfo(image_shape=(1, 8, 8), num_classes=10)


def seeded(seed: int) -> Random:
    return Random(seed)  # noqa: S311 - no secret


def search_space(*overrides: str, brief: Brief | None = None, max_macs: int = 10**9) -> SearchSpace:
    recipe = load("digits", list(overrides))
    return SearchSpace(recipe=recipe, brief=brief or Brief(), info=DIGITS, max_macs=max_macs)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.__name__)
@pytest.mark.parametrize("text", NETS)
def test_a_mutation_gives_another_net_in_canonical_form(text: str, mutation: Mutation) -> None:
    changed = set()
    for seed in range(25):
        for keep_first in (False, True):
            body = MutableNet.of(parse(text), keep_first=keep_first)
            if change := mutation(body, seeded(seed)):
                net = str(change[0])
                assert str(parse(net)) == net
                own, other = (list(parse(each).layers()) for each in (str(body.net), net))
                assert other[-1] == own[-1]
                assert not keep_first or other[0] == own[0]
                changed.add(net)
    has_residual = any(isinstance(item, Residual) for item in parse(text).items())
    assert changed - {str(MutableNet.of(parse(text), keep_first=False).net)} or (
        mutation.__name__ == "drop_residual" and not has_residual
    )


@pytest.mark.parametrize("text", NETS)
def test_mutations_keep_the_strides(text: str) -> None:
    """Strides move or pass to neighbours, but none is added or removed."""

    def strides(net: str) -> Counter[int]:
        return Counter(layer.stride for layer in parse(net).layers() if layer.stride > 1)

    for seed in range(200):
        if change := mutate(parse(text), seeded(seed), keep_first=False):
            assert strides(str(change[0])) == strides(text)


def test_hyperparameters_stay_in_their_range_and_logarithmic_ones_change_by_ratios() -> None:
    rate = Hyperparameter(key="lr", start=0.01, low=0.001, high=0.1, log=True)
    size = Hyperparameter(key="size", start=6, low=4, high=7, integer=True)
    random = seeded(0)
    rates = [rate.perturb(0.01, random) for _ in range(400)]
    assert all(0.001 <= each <= 0.1 for each in rates)
    assert np.mean(np.log(rates)) == pytest.approx(math.log(0.01), abs=0.1)
    assert {size.perturb(6, random) for _ in range(200)} <= {4.0, 5.0, 6.0, 7.0}
    assert len(set(rates)) > 200


def test_the_hyperparameters_are_those_the_recipe_uses() -> None:
    sprint = load("cifar10-sprint")
    keys = [
        field.key
        for field in hyperparameters_of(sprint, DatasetInfo(image_shape=(3, 32, 32), num_classes=10))
    ]
    assert "train.optimizer.rest.lr" in keys
    assert "train.progressive.until" in keys
    # An alternating flip has no probability.
    assert "augment.transforms.0.p" not in keys
    assert "augment.transforms.1.p" in keys


def test_widths_are_fitted_to_the_budget() -> None:
    for most in (2_000, 12_000, 60_000):
        space = search_space(brief=Brief(max_parameters=most))
        fitted = space.fit_widths(parse("C16 C16 / C24:s2 C24 / G F10"))
        assert fitted is not None
        assert 0.6 * most < analyze_notation(str(fitted), (1, 8, 8)).parameters <= most
    assert search_space(brief=Brief(max_parameters=50)).fit_widths(parse("C16 / G F10")) is None


def test_rules_on_the_training_refuse_no_candidate() -> None:
    """A trial has epochs of its own; the augmentations of the recipe are those of every candidate."""
    brief = Brief.model_validate(
        {"epochs": 99, "batch_size": 7, "optimizer": "adam", "schedule": "one-cycle", "l1": True}
        | {"min_accuracy": 0.99, "each_of_last": 4, "max_parameters": 20_000}
    )
    recipe = load("digits")
    failed = {
        each.title
        for each in judge(brief, subject_of(recipe, analyze_recipe(recipe, DIGITS)))
        if each.verdict == "fail"
    }
    assert failed >= {"epochs", "batch size", "L1 penalty"}
    space = search_space(brief=brief)
    assert space.violations(space.starting_point().net) == []
    assert space.allows(first_candidate(space, 0).candidate)
    (reason,) = search_space(brief=Brief.model_validate({"augmentations": ["mixup"]})).violations(
        "C8 / G F10"
    )
    assert reason.startswith("augmentation mixup: ")


def test_every_candidate_passes_the_brief_by_its_traced_module() -> None:
    """The oracle traces the PyTorch module; the search uses arithmetic only."""
    from convsmith.net.module import build

    brief = Brief(
        max_parameters=9_000,
        min_receptive_field=9,
        forbid=("max-pooling",),
        require=(KindRule(kinds=("dilated",)),),
    )
    space = search_space("model.net=C16 C16:d2 / C24:s2 C24 / G F10", brief=brief)
    start = space.starting_point()
    taken = [first_candidate(space, 0).candidate]
    assert taken[0].net != start.net
    refused = 0
    for number in range(40):
        proposal = next_candidate(space, [], taken, seeded(number))
        taken.append(proposal.candidate)
        refused += proposal.rejected
    assert len({each.identity for each in taken}) == 41
    assert refused > 0
    for candidate in taken[::6]:
        module = build(space.analysis(candidate).plan)
        assert {check.verdict for check in cs.check(cs.summary(module, (1, 8, 8)), brief=brief)} == {"pass"}


def test_trials_are_promoted_by_asynchronous_halving() -> None:
    assert compute_rungs(27, 3) == (1, 3, 9, 27)
    assert compute_rungs(5, 2) == (1, 2, 5)
    assert compute_rungs(2, 3) == (2,)
    rungs = (1, 2, 4)
    # The best half; the starting point always; no trial twice.
    scores = {0: {1: 0.1}, 1: {1: 0.5, 2: 0.6}, 2: {1: 0.4}, 3: {1: 0.3}, 4: {1: 0.2}}
    assert promotable(scores, rungs, 2) == [(1, 4), (2, 2), (0, 2)]
    # A waiting trial is promoted when more trials are worse.
    assert (3, 2) not in promotable(scores, rungs, 2)
    assert (3, 2) in promotable({**scores, 5: {1: 0.15}}, rungs, 2)
    # Nothing is left to do.
    assert promotable({0: {1: 0.1, 2: 0.1, 4: 0.1}, 1: {1: 0.05}}, rungs, 2) == []


def test_the_pareto_front_is_not_dominated() -> None:
    random = seeded(0)
    points = [
        ParetoPoint(
            number=number,
            epochs=1,
            correct=random.randrange(20),
            total=20,
            parameters=random.randrange(6),
            macs=random.randrange(6),
        )
        for number in range(60)
    ]

    def beaten(one: ParetoPoint) -> bool:
        others = [
            other
            for other in points
            if other.correct >= one.correct and other.parameters <= one.parameters and other.macs <= one.macs
        ]
        own = (one.correct, one.parameters, one.macs)
        return any((o.correct, o.parameters, o.macs) != own or o.number < one.number for o in others)

    assert {point.number for point in pareto_front(points)} == {p.number for p in points if not beaten(p)}


def test_the_search_finds_better_nets_and_trains_worse_ones_less(
    objective: Objective, tmp_path: Path
) -> None:
    result = search(settings(epochs=4), tmp_path, trials=40)
    start, best = result.data.trials[0], max(result.data.trials, key=lambda each: each.accuracy or 0)
    assert start.net == "C4 C8:s2 / G F10"
    assert start.state == "complete"
    assert best.accuracy is not None
    assert start.accuracy is not None
    assert best.accuracy > start.accuracy + 0.2
    assert best.best
    # No rung is trained twice, and higher rungs have fewer trials.
    assert len(set(objective.calls)) == len(objective.calls)
    counts = Counter(until for _, until in objective.calls)
    assert counts[1] == 40
    assert counts[4] < counts[2] < counts[1]
    small = Brief(max_parameters=3_000)
    for net in objective.nets:
        assert all(check.verdict == "pass" for check in cs.check(cs.summary(net, (1, 8, 8)), brief=small))


def test_equal_seeds_give_equal_candidates(objective: Objective, tmp_path: Path) -> None:
    nets = []
    for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
        search(settings(seed=seed), tmp_path / folder, trials=12)
        nets.append(objective.nets)
        objective.nets = []
    assert nets[0] == nets[1] != nets[2]


def test_a_study_resumes(objective: Objective, tmp_path: Path) -> None:
    search(settings(epochs=4), tmp_path / "uninterrupted", trials=12)
    complete, objective.calls = sorted(objective.calls), []
    search(settings(epochs=4), tmp_path / "parts", trials=5)
    search(settings(epochs=4), tmp_path / "parts", trials=12)
    assert sorted(objective.calls) == complete
    assert search(settings(epochs=4), tmp_path / "parts", trials=12).data.trials
    assert sorted(objective.calls) == complete


def test_a_time_limit_of_zero_trains_nothing(objective: Objective, tmp_path: Path) -> None:
    result = search(settings(), tmp_path, minutes=0.0)
    assert result.data.trials == ()
    assert "No trial has been" in result.page.read_text()


def test_a_failed_trial_is_reported_and_skipped(
    objective: Objective, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(runner: TrialRunner, number: int, *rest: Any, **more: Any) -> tuple[EpochMetrics, ...]:
        if number == 1:
            raise DivergedError("the loss is nan", where="epoch 1, batch 3", fix="lower it")
        return objective(runner, number, *rest, **more)

    monkeypatch.setattr(TrialRunner, "train", train)
    lines: list[str] = []
    result = search(settings(), tmp_path, trials=4, log=lines.append)
    assert [trial.state for trial in result.data.trials] == ["complete", "failed", "complete", "complete"]
    assert any("#1" in line and "the loss is nan" in line for line in lines)
    assert "the loss is nan" in result.page.read_text()


def test_other_settings_need_another_study(objective: Objective, tmp_path: Path) -> None:
    search(settings(), tmp_path, trials=1)
    with pytest.raises(RunError, match="other settings: recipe, seed"):
        search(settings("train.label_smoothing=0.1", seed=3), tmp_path, trials=1)


def test_a_brief_that_no_net_passes(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="neither the starting point nor any") as caught:
        search(settings(brief=Brief(max_parameters=20)), tmp_path / "study", trials=3)
    assert "parameters: " in str(caught.value)
    assert not (tmp_path / "study").exists()


def test_a_large_starting_point_is_scaled(objective: Objective, tmp_path: Path) -> None:
    result = search(settings("model.net=C64 C64:s2 / G F10"), tmp_path, trials=2)
    assert 2_000 < result.data.trials[0].parameters <= 3_000
    assert "widths scaled" in result.data.trials[0].changes[0]


def test_a_partial_line_at_the_end_of_the_journal_is_removed(objective: Objective, tmp_path: Path) -> None:
    search(settings(), tmp_path, trials=3)
    with (tmp_path / "journal.log").open("ab") as file:
        file.write(b'{"op_code":4,"worker_')
    assert len(search(settings(), tmp_path, trials=5).data.trials) == 5


def test_the_best_trials_are_written_as_recipes(objective: Objective, tmp_path: Path) -> None:
    requested = settings("data.split_seed=4", "train.epochs=7", epochs=2)
    result = search(requested, tmp_path, trials=20)
    assert result.data.commands
    for number, command in result.data.commands:
        row = result.data.trials[number]
        path = tmp_path / row.recipe
        assert command == f"convsmith train {path}"
        recipe = load(str(path))
        assert (recipe.notation.net, recipe.train.epochs, recipe.data) == (row.net, 7, requested.recipe.data)
        assert recipe.train.optimizer.lr == pytest.approx(row.fields["train.optimizer.lr"])
        assert "fail" not in {check.verdict for check in cs.check(recipe)}
    record = json.loads((tmp_path / "search.json").read_text())
    assert [trial["accuracy"] for trial in record["trials"]] == [row.accuracy for row in result.data.trials]


def test_the_page_is_self_contained_and_escapes_names(objective: Objective, tmp_path: Path) -> None:
    requested = settings()
    object.__setattr__(requested, "brief_name", "<script>alert(1)</script>")
    page = search(requested, tmp_path, trials=3).page.read_text()
    assert page.count("<script>") == 1
    assert "&lt;script&gt;" in page
    assert "http" not in page.replace("http://www.w3.org", "").replace("http-equiv", "")


class Interrupt:
    """Replaces the deadline: calls a function at batch number `batch`."""

    def __init__(self, batch: int, act: Callable[[], None]) -> None:
        self.left, self.act = batch, act

    def __call__(self, facts: BatchMetrics) -> None:
        self.left -= 1
        if not self.left:
            self.act()


def weights(study: Path) -> list[dict[str, np.ndarray]]:
    return [load_file(path) for path in sorted(study.glob("trials/*/model.safetensors"))]


def kill() -> None:
    raise SystemExit(9)


@pytest.mark.usefixtures("usual_signals")
def test_a_killed_or_interrupted_search_ends_with_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requested = settings(epochs=3)
    complete = search(requested, tmp_path / "uninterrupted", trials=3)
    # Five batches an epoch: in the third trial's first epoch, and in the second epoch of the first trial.
    with monkeypatch.context() as patch:
        patch.setattr(Deadline, "on_batch_end", Interrupt(8, kill))
        with pytest.raises(SystemExit):
            search(requested, tmp_path / "cut", trials=3)
    with monkeypatch.context() as patch:
        patch.setattr(Deadline, "on_batch_end", Interrupt(14, lambda: signal.raise_signal(signal.SIGINT)))
        with pytest.raises(StoppedError, match="the state is saved") as caught:
            search(requested, tmp_path / "cut", trials=3)
    assert caught.value.exit_code == 130
    assert "the same command resumes" in str(caught.value)
    assert (tmp_path / "cut" / "search.html").is_file()
    resumed = search(requested, tmp_path / "cut", trials=3)
    assert [row.net for row in resumed.data.trials] == [row.net for row in complete.data.trials]
    assert [row.accuracy for row in resumed.data.trials] == [row.accuracy for row in complete.data.trials]
    pairs = zip(weights(tmp_path / "uninterrupted"), weights(tmp_path / "cut"), strict=True)
    assert all(np.array_equal(one[name], other[name]) for one, other in pairs for name in one)


def test_the_time_limit_stops_a_training_that_can_be_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requested = settings()
    with monkeypatch.context() as patch:

        def expire(deadline: Deadline, facts: BatchMetrics) -> None:
            deadline.stop.signal = ALARM

        patch.setattr(Deadline, "on_batch_end", expire)
        result = search(requested, tmp_path, minutes=5.0)
    assert [row.state for row in result.data.trials] == ["waits"]
    assert search(requested, tmp_path, trials=1).data.trials[0].state == "complete"


def test_a_search_never_sees_test_images(tmp_path: Path, image_folder: Callable[..., Path]) -> None:
    """The result does not depend on the test images."""
    config = DataConfig(source="digits", validation=0.2)
    complete, part = load_data(config), load_training_data(config)
    assert not hasattr(part, "test")
    assert part.validation is not None
    seen = {*image_ids(part.train.images), *image_ids(part.validation.images)}
    digests = {*image_ids(complete.test.images)}
    assert len(seen & digests) == 0
    results = []
    for name, test in (("one", 2), ("two", 9)):
        folder = image_folder({"train": 30, "test": test}, name=name)
        requested = settings("model.net=C4 C8:s2 / G F3", f"data.source={folder}")
        result = search(requested, tmp_path / f"study-{name}", trials=2)
        results.append([row.accuracy for row in result.data.trials])
    assert results[0] == results[1]


@pytest.mark.slow
def test_two_processes_share_a_study(tmp_path: Path) -> None:
    brief = tmp_path / "small.toml"
    brief.write_text("max_parameters = 3_000\n")
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(
        'description = "tiny"\n[data]\nsource = "digits"\n[model]\nnet = "C4 C8:s2 / G F10"\n'
        "[train]\nepochs = 2\nbatch_size = 128\n"
    )
    command = [
        sys.executable,
        "-m",
        "convsmith",
        "search",
        str(brief),
        "--recipe",
        str(recipe),
        "--factor",
        "2",
    ]
    command += ["--trials", "9", "--epochs", "2", "--study", str(tmp_path / "study")]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    lines = [line.split()[:2] for output in outputs for line in output.splitlines() if line.startswith("#")]
    assert len({tuple(line) for line in lines}) == len(lines)
    assert {number for number, _ in lines} == {f"#{number}" for number in range(9)}
    assert ["#0", "2/2"] in lines


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], objective: Objective) -> None:
    (tmp_path / "small.toml").write_text("max_parameters = 20_000\n")
    command = [
        "search",
        str(tmp_path / "small.toml"),
        "--recipe",
        "digits",
        "--study",
        str(tmp_path / "study"),
    ]
    assert run([*command, "--trials", "6", "--epochs", "2"]) == 0
    output = capsys.readouterr().out
    assert "<- starting point" in output
    assert "Report: " in output
    assert run([*command, "--trials", "6", "--epochs", "2", "--json"]) == 0
    captured = capsys.readouterr()
    assert len(json.loads(captured.out)["trials"]) == 6
    assert run([*command, "--trials", "0"]) == 2
    assert "--trials: found 0" in capsys.readouterr().err
    assert run(["search", "nothing", "--recipe", "digits"]) == 2
    assert "unknown brief" in capsys.readouterr().err


def test_without_optuna_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [*sys.modules]:
        if name == "optuna" or name.startswith(("optuna.", "convsmith.nas.")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingExtraError, match="Optuna") as caught:
        cs.search("course-cifar10", load("digits"), study=tmp_path)
    assert "error[E080]" in str(caught.value)
    assert "convsmith[search]" in str(caught.value)


def test_parents_at_higher_rungs_win_tournaments() -> None:
    """Tournaments compare the rung first, then the accuracy."""
    space = search_space(brief=Brief(max_parameters=20_000))
    start = space.starting_point()

    def evaluated(number: int, epochs: int, correct: int) -> EvaluatedCandidate:
        point = ParetoPoint(
            number=number, epochs=epochs, correct=correct, total=100, parameters=100 + number, macs=100
        )
        return EvaluatedCandidate(candidate=start, point=point)

    population = [evaluated(1, 4, 60), evaluated(2, 1, 99), evaluated(3, 4, 50)]
    parents = Counter(
        next_candidate(space, population, [start], seeded(seed)).candidate.parent for seed in range(40)
    )
    assert parents[1] > parents[2]
    assert parents[1] > parents[3]


Damage = Callable[[list[dict[str, Any]]], object]


def candidate_of(journal: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the first candidate in a journal."""
    return next(line["user_attrs"]["candidate"] for line in journal if "user_attrs" in line)


def result_of(journal: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the first result in a journal."""
    return next(line["user_attr"]["trial 0"] for line in journal if "trial 0" in line.get("user_attr", {}))


def score(accuracy: object) -> Damage:
    return lambda journal: result_of(journal)["accuracies"].update({"1": accuracy})


DAMAGES: dict[str, Damage] = {
    "an unknown operation": lambda journal: journal[0].update(op_code=99),
    "no operation": lambda journal: journal[1].pop("op_code"),
    "a trial of no study": lambda journal: journal[1].update(study_id=7),
    "a result of no study": lambda journal: journal[2].update(study_id=7),
    "no study": lambda journal: journal.pop(0),
    "no first trial": lambda journal: journal.pop(1),
    "no last trial": lambda journal: journal.remove([each for each in journal if "user_attrs" in each][-1]),
    "lines in reverse": lambda journal: journal.reverse(),
    "a text for a number": score("high"),
    "no candidate's net": lambda journal: candidate_of(journal).pop("net"),
    "a net that is none": lambda journal: candidate_of(journal).update(net="os.system"),
    "another net": lambda journal: candidate_of(journal).update(net="C8 / G F10"),
    "the number of another trial": lambda journal: candidate_of(journal).update(number=1),
    "fields of text": lambda journal: candidate_of(journal).update(fields={"train.optimizer.lr": "x"}),
    "negative parameters": lambda journal: candidate_of(journal).update(parameters=-1),
    "other parameters": lambda journal: candidate_of(journal).update(parameters=7),
    "other MACs": lambda journal: candidate_of(journal).update(macs=7),
    "a higher score": score(0.99),
    "a score above 1": score(99.0),
    "a score that is no number": score(float("nan")),
    "a score of another epoch": lambda journal: result_of(journal)["accuracies"].update({"77": 0.3}),
    "a result that is none": lambda journal: result_of(journal).update(accuracies=3),
    "an unknown state": lambda journal: result_of(journal).update(state="lost"),
    "a list": lambda journal: journal.insert(2, []),  # type: ignore[arg-type]
    "4,000 digits": lambda journal: journal[1].update(study_id=10**4000),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_journal_is_refused(damage: str, objective: Objective, tmp_path: Path) -> None:
    search(settings(), tmp_path, trials=3)
    path = tmp_path / "journal.log"
    journal = [json.loads(line) for line in path.read_text().splitlines()]
    DAMAGES[damage](journal)
    path.write_text("".join(json.dumps(line) + "\n" for line in journal))
    calls = list(objective.calls)
    with pytest.raises(RunError) as caught:
        search(settings(), tmp_path, trials=6)
    assert caught.value.problems[0].where == str(path)
    assert "start another study" in caught.value.problems[0].fix
    # Nothing was trained on top of it.
    assert objective.calls == calls


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x04 pickle\n",
        b"{}\n",
        b"[1]\n",
        b"null\n",
        b"[" * 100_000 + b"\n",
        b"\xff\n",
        b"9" * 5000 + b"\n",
    ],
)
def test_a_file_that_is_no_journal_is_refused(content: bytes, objective: Objective, tmp_path: Path) -> None:
    search(settings(), tmp_path, trials=1)
    (tmp_path / "journal.log").write_bytes(content)
    with pytest.raises(RunError, match=r"journal\.log: damaged"):
        search(settings(), tmp_path, trials=2)


def test_a_journal_that_is_a_pipe_is_refused(objective: Objective, tmp_path: Path) -> None:
    search(settings(), tmp_path, trials=1)
    (tmp_path / "journal.log").unlink()
    os.mkfifo(tmp_path / "journal.log")
    with pytest.raises(FileError, match="not a regular file"):
        search(settings(), tmp_path, trials=2)


def test_trials_are_compared_by_their_last_epoch(tmp_path: Path) -> None:
    """Early stopping would end them before a rung; class weights and sampling are theirs too."""
    fields = ["train.early_stopping={patience=1, min_delta=9.0}", "data.validation=0.1", "train.monitor=loss"]
    space = search_space(*TINY, *fields, "train.class_weights=balanced", "train.clip_gradient_norm=1.0")
    data = load_training_data(space.recipe.data)
    runner = TrialRunner(folder=tmp_path, space=space, data=data, epochs=4)
    candidate = Candidate(net="C4 / G F10", fields={})
    train = runner.session(candidate, until=3).recipe.train
    assert (train.early_stopping, train.keeps_best, train.class_weights) == (None, False, "balanced")
    assert len(runner.train(1, candidate, 3)) == 3
    # The recipe of a trial can be read, for example to watch it.
    assert RunFolder(path=runner.trial_folder(1)).recipe().train.monitor == "accuracy"
    # What the search recommends is trained as the recipe says.
    assert space.recipe_of(candidate).train.keeps_best


def test_weights_of_other_classes_are_an_error_before_the_first_trial(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="the data has no class 'cat'"):
        search(settings("train.class_weights={cat=2}"), tmp_path, trials=1)
    assert not (tmp_path / "trials").exists()
