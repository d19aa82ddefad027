from itertools import permutations, product

import numpy as np
import pytest

from convsmith.evaluation.field_effects import FieldEffect, field_effects

Runs = list[tuple[dict[str, str], float]]


def runs_of(table: np.ndarray) -> Runs:
    """Rows are seeds, columns are values of a field."""
    return [
        ({"lr": str(column), "seed": str(row)}, float(table[row, column]))
        for row, column in product(*map(range, table.shape))
    ]


def effect_of_lr(table: np.ndarray) -> FieldEffect:
    return next(each for each in field_effects(runs_of(table)) if each.field == "lr")


@pytest.mark.parametrize(("rows", "columns"), [(3, 2), (5, 2), (3, 3), (2, 4)])
def test_p_is_the_share_of_all_permutations(rows: int, columns: int) -> None:
    """The oracle tries every permutation within every row."""
    table = np.random.default_rng(rows).normal(0.9, 0.01, (rows, columns))
    observed = table.mean(axis=0).var()
    statistics = [
        np.array(rows_of).mean(axis=0).var() for rows_of in product(*(permutations(row) for row in table))
    ]
    share = np.mean([each >= observed - 1e-12 for each in statistics])
    assert effect_of_lr(table).p_value == pytest.approx(share)


def test_a_shift_of_every_block_is_no_effect() -> None:
    """Seeds differ much and learning rates little, but always: five blocks give 2 of 32 permutations."""
    table = np.array([[0.5, 0.51], [0.6, 0.61], [0.7, 0.71], [0.8, 0.81], [0.9, 0.91]])
    effect = effect_of_lr(table)
    assert effect.p_value == pytest.approx(2 / 32)
    assert [each.difference for each in effect.values] == pytest.approx([-0.005, 0.005])
    assert [each.spread.mean for each in effect.values] == pytest.approx([0.7, 0.71])


def test_blocks_that_lack_a_value_are_left_out_of_differences() -> None:
    runs = runs_of(np.array([[0.5, 0.6], [0.5, 0.6], [0.1, 0.9]]))[:-1]
    effect = field_effects(runs)[0]
    assert effect.blocks == 2
    assert [each.difference for each in effect.values] == pytest.approx([-0.05, 0.05])
    assert [each.spread.count for each in effect.values] == [3, 2]


def test_too_few_runs_have_no_p() -> None:
    assert effect_of_lr(np.array([[0.5, 0.6]])).p_value is None
    scattered: Runs = [({"lr": "1", "seed": "0"}, 0.5), ({"lr": "2", "seed": "1"}, 0.6)]
    assert [(each.blocks, each.p_value) for each in field_effects(scattered)] == [(0, None), (0, None)]
    assert all(value.difference is None for each in field_effects(scattered) for value in each.values)


def test_fields_with_one_value_are_left_out() -> None:
    assert field_effects([({"epochs": "3"}, 0.5), ({"epochs": "3"}, 0.5)]) == ()
    assert field_effects([]) == ()
