"""Several models judged by one brief: each of them, the variants, their number, and their notes."""

from collections.abc import Mapping
from typing import Any

import pytest

from convsmith.briefs.checks import judge
from convsmith.briefs.hand_in import HandInVerdicts, judge_all
from convsmith.briefs.loader import load_brief
from convsmith.briefs.metrics import RunMetrics
from convsmith.briefs.schema import Brief
from convsmith.briefs.subject import Subject
from convsmith.net.arithmetic import analyze_notation
from convsmith.recipes.loader import load, load_settings

NOTES = {"target": "Fewer parameters.", "result": "7,000.", "analysis": "It is enough."}


def subject(
    net: str = "C8 C8 / G F10", *settings: str, accuracy: float | None = None, **values: Any
) -> Subject:
    return Subject(
        analysis=analyze_notation(net, (1, 28, 28), load_settings(settings)),
        metrics=None if accuracy is None else RunMetrics(accuracy=accuracy),
        **values,
    )


def failed(verdicts: HandInVerdicts) -> list[str]:
    return [check.title for check in verdicts.checks if check.verdict == "fail"]


def hand_in(brief: Mapping[str, Any], *subjects: Subject) -> HandInVerdicts:
    named = {f"Model_{number}": each for number, each in enumerate(subjects, start=1)}
    return judge_all(Brief.model_validate(brief), named)


NORMS = {"variants": {name: {"norm": name} for name in ("group", "layer", "batch")}}
BY_NORM = {name: subject("C8 C8 / G F10", f"norm={name}") for name in ("group", "layer", "batch", "instance")}


def test_each_variant_is_met_by_one_model() -> None:
    verdicts = hand_in(NORMS, BY_NORM["batch"], BY_NORM["group"], BY_NORM["layer"])
    assert verdicts.passed
    assert [(check.title, check.actual) for check in verdicts.whole] == [
        ("variant group", "Model_2"),
        ("variant layer", "Model_3"),
        ("variant batch", "Model_1"),
    ]


def test_a_variant_that_no_model_meets_names_the_nearest() -> None:
    verdicts = hand_in(NORMS, BY_NORM["batch"], BY_NORM["group"], BY_NORM["instance"])
    assert failed(verdicts) == ["variant layer"]
    (check,) = [check for check in verdicts.checks if check.verdict == "fail"]
    assert check.actual == "none; the nearest is Model_1, kind of norm: 2 batch"
    assert check.required == "layer norm only"
    assert check.fix == 'add a model, such as Model_1 with this change: set model.norm="layer"'


def test_what_is_not_known_of_the_model_that_meets_a_variant_is_named() -> None:
    variants = {"batch": {"norm": "batch", "l1": True}, "long": {"epochs": 20}}
    known, unknown = hand_in({"variants": variants}, BY_NORM["batch"]).whole
    assert (known.verdict, known.actual) == ("pass", "Model_1; not known: L1 penalty")
    assert (unknown.verdict, unknown.actual) == ("not applicable", "not known: epochs")
    # A model that is known to keep the rule is the one.
    training = load("digits", ["train.l1=0.001"]).train
    verdicts = hand_in({"variants": variants}, BY_NORM["batch"], subject(training=training))
    assert verdicts.whole[0].actual == "Model_2"


def test_every_model_must_meet_what_no_variant_changes() -> None:
    brief = {
        "max_parameters": 1000,
        "norm": "batch",
        "variants": {"group": {"norm": "group", "max_parameters": 500}},
    }
    # The fields of the variant are those of the variant alone.
    verdicts = hand_in({**brief, "forbid": ["strided"]}, BY_NORM["group"], subject("C64 C64:s2 / G F10"))
    assert failed(verdicts) == ["variant group", "Model_2: no strided"]


def test_the_number_of_models() -> None:
    for count, passed in ((1, False), (2, True), (3, True), (4, False)):
        verdicts = hand_in({"steps": [2, 3]}, *[subject()] * count)
        assert verdicts.passed == passed
        assert (verdicts.whole[0].actual, verdicts.whole[0].required) == (str(count), "2 to 3")
        assert bool(verdicts.whole[0].fix) == (not passed)


def test_steps_before_the_last_need_not_reach_the_goal() -> None:
    large, small = subject("C64 C64 / G F10", accuracy=0.99), subject(accuracy=0.995)
    brief = {"max_parameters": 7_999, "min_accuracy": 0.994}
    assert failed(hand_in(brief, large, small)) == ["Model_1: parameters", "Model_1: test accuracy"]
    steps = hand_in({**brief, "goal": "last"}, large, small)
    assert steps.passed
    first = steps.models["Model_1"][0]
    assert (first.verdict, first.actual, first.fix) == (
        "not applicable",
        "38,346; a step before the last",
        "",
    )
    assert failed(hand_in({**brief, "goal": "last"}, small, large)) == [
        "Model_2: parameters",
        "Model_2: test accuracy",
    ]


def test_each_model_has_its_notes_even_the_steps() -> None:
    brief = {"notes": ["target", "analysis"], "goal": "last"}
    complete = subject(notes=NOTES)
    assert hand_in(brief, complete, complete).passed
    verdicts = hand_in(brief, subject(notes={**NOTES, "analysis": " \n"}), subject(notes={}))
    assert failed(verdicts) == ["Model_1: note: analysis", "Model_2: note: target", "Model_2: note: analysis"]
    assert 'analysis = "..."' in verdicts.models["Model_1"][1].fix
    # A net alone has none that could be read.
    assert {check.verdict for check in hand_in(brief, subject()).checks} == {"not applicable"}


def test_a_hand_in_has_a_model() -> None:
    with pytest.raises(ValueError, match="one model or more"):
        judge_all(Brief(), {})


@pytest.mark.parametrize("norm", ["group", "layer", "batch"])
def test_a_single_model_meets_one_of_the_variants(norm: str) -> None:
    first, second = judge(Brief.model_validate(NORMS), BY_NORM[norm])
    assert (first.title, first.verdict, first.actual) == ("variant", "pass", norm)
    assert (second.verdict, second.required) == ("pass", f"{norm} norm only")


def test_a_single_model_that_meets_none() -> None:
    first, second = judge(Brief.model_validate(NORMS), BY_NORM["instance"])
    assert (first.verdict, first.actual) == ("fail", "none; the nearest is group")
    assert first.required == "one of group, layer, batch"
    assert first.fix == 'kind of norm: set model.norm="group"'
    assert second.verdict == "fail"


def test_a_variant_lifts_a_field() -> None:
    brief = Brief.model_validate(
        {"max_parameters": 10, "variants": {"large": {"max_parameters": False, "norm": "batch"}}}
    )
    assert [check.title for check in judge(brief, BY_NORM["batch"])] == ["variant", "kind of norm"]


def test_the_assignment_with_steps() -> None:
    """A4: three models, the last of which reaches the goal."""
    brief = load_brief("course-a4-mnist-8k")
    steps = [subject("C64 C64 / G F10", notes=NOTES), subject(notes=NOTES), subject(notes=NOTES)]
    named = {f"Model_{number}": each for number, each in enumerate(steps, start=1)}
    verdicts = judge_all(brief, named)
    assert verdicts.passed
    assert {check.title for check in verdicts.models["Model_3"] if check.verdict == "pass"} == {
        *("parameters", "note: target", "note: result", "note: analysis")
    }
    assert failed(judge_all(brief, dict(list(named.items())[:2]))) == ["models of the hand-in"]
