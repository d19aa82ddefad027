"""Changes of the code that judges are noticed, and judging itself makes none."""

import sys

import pytest
import torch

from convsmith.briefs import checks
from convsmith.briefs.schema import Brief
from convsmith.grading.integrity import Integrity


def test_a_function_that_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    integrity = Integrity()
    monkeypatch.setattr(checks, "judge", lambda *_: ())
    assert integrity.changes() == ["convsmith.briefs.checks.judge"]


def test_code_that_is_replaced_in_its_function(monkeypatch: pytest.MonkeyPatch) -> None:
    integrity = Integrity()
    monkeypatch.setattr(checks.judge, "__code__", (lambda brief, subject: ()).__code__)
    changes = integrity.changes()
    assert "convsmith.briefs.checks.judge" in changes


def test_methods_and_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    integrity = Integrity()
    monkeypatch.setattr(torch.nn.Module, "parameters", lambda self, recurse=True: iter(()))
    monkeypatch.setattr(Brief, "__str__", lambda self: "")
    assert "torch.nn.Module.parameters" in integrity.changes()


def test_a_trace_function() -> None:
    integrity = Integrity()
    before = sys.gettrace()
    sys.settrace(lambda *_: None)
    try:
        assert "sys.settrace" in integrity.changes()
    finally:
        sys.settrace(before)
    assert integrity.changes() == []
