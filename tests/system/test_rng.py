"""Global generators."""

import random

import numpy as np
import torch

from convsmith.system.rng import global_draws, own_random_state, seed_everything

CPU = torch.device("cpu")


def draws() -> list[float]:
    return [random.random(), float(np.random.rand()), torch.rand(1).item()]  # noqa: S311, NPY002


def test_one_seed_for_all_global_generators() -> None:
    results = []
    for seed in (7, 7, 8):
        with own_random_state(CPU):
            seed_everything(seed)
            results.append(draws())
    assert results[0] == results[1]
    assert all(one != other for one, other in zip(results[1], results[2], strict=True))


def test_the_state_of_the_caller_is_restored() -> None:
    before = global_draws()
    with own_random_state(CPU):
        draws()
        assert global_draws() != before
    assert global_draws() == before


def test_each_generator_is_observed() -> None:
    for draw in (random.random, np.random.rand, lambda: torch.rand(1)):
        with own_random_state(CPU):
            before = global_draws()
            draw()
            assert global_draws() != before
