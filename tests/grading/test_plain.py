"""Where a system has neither namespaces nor limits, time and output are still limited."""

import sys
from pathlib import Path

import pytest

from convsmith.grading import plain
from convsmith.grading.outcome import Limits, outcome_of
from convsmith.grading.sandbox import Sandbox

LIMITS = Limits(time=20, output=2**16, record=100)


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sandbox, "_keep", lambda self, specification, limits: plain.run(specification))


@pytest.mark.parametrize(
    ("code", "kind", "output"),
    [
        ("open('record/RECORD.json', 'w').write('{}'); print('x')", "ok", "x"),
        ("raise SystemExit(4)", "crash", ""),
        ("import time; print('x' * 10**7, flush=True); time.sleep(30)", "output", "xxx"),
        ("open('record/RECORD.json', 'w').write(' ' * 200)", "no record", ""),
        ("import os; os.mkdir('record/RECORD.json')", "no record", ""),
        ("import os; os._exit(0)", "no record", ""),
    ],
)
def test_a_command(code: str, kind: str, output: str) -> None:
    with Sandbox() as sandbox:
        outcome = sandbox.run([sys.executable, "-c", code], LIMITS)
    assert (outcome.kind, outcome.output[:3]) == (kind, output[:1] + ("\n" if kind == "ok" else output[1:]))
    assert len(outcome.output) <= 2**16


def test_time(tmp_path: Path) -> None:
    with Sandbox() as sandbox:
        outcome = sandbox.run([sys.executable, "-c", "while True: pass"], Limits(time=1))
    assert (outcome.kind, outcome.detail) == ("time", "stopped after 1 seconds")


def test_the_result_is_that_of_a_keeper() -> None:
    assert outcome_of({"limit": "", "exit_code": 0, "record": True, "seconds": 1}, LIMITS).kind == "ok"
