"""Ordered work in threads, and the memory that threads share."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from convsmith.system.device import torch_threads
from convsmith.system.parallel import Budget, Interrupted, num_workers, ordered_map


@given(count=st.integers(0, 60), workers=st.integers(1, 6))
def test_results_are_in_the_order_of_the_items(count: int, workers: int) -> None:
    def slow(number: int) -> int:
        time.sleep(0.001 * (number % 3 == 0))
        return number * number

    assert list(ordered_map(slow, range(count), workers=workers)) == [each * each for each in range(count)]


def test_items_are_taken_a_few_ahead() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    with closing(ordered_map(str, items(), workers=2)) as results:
        next(results)
        assert len(taken) <= 10


def test_an_exception_is_that_of_the_first_item() -> None:
    def fail(number: int) -> int:
        if number in {3, 5}:
            raise ValueError(number)
        return number

    with pytest.raises(ValueError, match="3"):
        list(ordered_map(fail, range(9), workers=3))


def test_closing_ends_threads_that_wait() -> None:
    budget = Budget(10)
    budget.acquire(10)

    def wait(_: int) -> None:
        budget.acquire(1)

    results = ordered_map(wait, range(9), workers=2, stop=budget.close)
    threading.Timer(0.05, budget.close).start()
    with pytest.raises(Interrupted):
        next(results)
    assert not [each for each in threading.enumerate() if each.name.startswith("ThreadPool")]


@given(limit=st.integers(1, 50), amounts=st.lists(st.integers(0, 80), max_size=30))
def test_a_budget_is_exceeded_by_single_requests_only(limit: int, amounts: list[int]) -> None:
    budget = Budget(limit)

    def use(amount: int) -> None:
        with budget.hold(amount):
            pass

    list(ordered_map(use, amounts, workers=4))
    assert budget.highest <= max([limit, *amounts])
    budget.acquire(limit)


def test_threads_are_limited_as_those_of_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    for text, expected in (("3", 3), ("2,4", 2), ("", 8), ("many", 8), ("0", 8), ("64", 8)):
        monkeypatch.setenv("OMP_NUM_THREADS", text)
        assert num_workers() == expected
    monkeypatch.undo()
    with torch_threads(1):
        assert num_workers() == 1
