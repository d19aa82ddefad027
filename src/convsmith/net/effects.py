"""Operations that are there and change nothing: why, by their rows, for notation and modules alike."""

import re
from collections.abc import Collection, Sequence
from dataclasses import replace

from convsmith.net.rows import UNUSED, ZERO, Row

_POOL = re.compile(r"(Adaptive)?(Avg|Max)Pool[123]d")
_GLOBAL = {"GlobalAvgPool2d", "mean", "amax"}
# Activations that leave values of zero or more as they are, and what returns no others.
_RECTIFIERS = {"ReLU", "LeakyReLU", "abs"}
_NOT_NEGATIVE = {
    "ReLU",
    "ReLU6",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Hardsigmoid",
    "abs",
    "softmax",
    "softplus",
}
# Operations whose outputs are not negative if no input is.
_KEEPING = {"Identity", "Flatten", "Add", "Concat", "mean", "amax", "GlobalAvgPool2d"}
# Operations that change nothing the second time.
_IDEMPOTENT = {"ReLU6"}
DROPOUT = re.compile(r"(Feature)?(Alpha)?Dropout[123]?d?")


def is_dropout(row: Row) -> bool:
    """Return whether an operation is a dropout of any kind, a layer or a function.

    Its probability may be 0, see `Row.inactive`.

    Example:
        >>> from convsmith.net.arithmetic import analyze_notation
        >>> rows = analyze_notation("C8:o0.1 / G F10", (3, 8, 8)).rows
        >>> [row.probability for row in rows if is_dropout(row)]
        [0.1]
    """
    return DROPOUT.fullmatch(row.operation) is not None


def with_effects(rows: Sequence[Row], unused: Collection[int] = ()) -> tuple[Row, ...]:
    """Return rows with the reasons why some of them have no effect; a reason that a row has stays.

    Args:
        rows: In the order of execution.
        unused: The numbers of those that no output depends on.

    Example:
        >>> from convsmith.net.arithmetic import analyze_notation
        >>> rows = analyze_notation("C8 A1 / G A1 F10", (3, 8, 8)).rows
        >>> [row.inactive for row in rows if row.operation == "AvgPool2d"]
        ['its window is 1x1', 'its map is 1x1 already']
    """
    done: list[Row] = []
    for index, row in enumerate(rows):
        reason = row.inactive or (UNUSED if index in unused else "") or _reason(done, row)
        done.append(replace(row, inactive=reason) if reason != row.inactive else row)
    return tuple(done)


def origins(rows: Sequence[Row], index: int) -> frozenset[int]:
    """Return the rows that a row's value is from: a row without an effect returns the value before it.

    Of a sum these are its own sources' rows, so that `x + x` has one.
    """
    return frozenset(_origin(rows, source) for source in rows[index].sources)


def _origin(rows: Sequence[Row], index: int) -> int:
    while index >= 0 and rows[index].inactive not in {"", ZERO} and len(rows[index].sources) == 1:
        (index,) = rows[index].sources
    return index


def joins_two_paths(rows: Sequence[Row], index: int) -> bool:
    """Return whether a row combines two different values that depend on the image.

    Example:
        >>> from convsmith.net.arithmetic import analyze_notation
        >>> rows = analyze_notation("C8 +(C8) / G F10", (3, 8, 8)).rows
        >>> [row.operation for index, row in enumerate(rows) if joins_two_paths(rows, index)]
        ['Add']
    """
    paths = [each for each in origins(rows, index) if each < 0 or _has_values(rows[each])]
    return len(paths) > 1


def _has_values(row: Row) -> bool:
    """Whether a row's values depend on the image."""
    return not row.out_field.constant and row.inactive != ZERO


def _reason(before: Sequence[Row], row: Row) -> str:
    if is_dropout(row):
        return _dropout_reason(row.probability)
    if row.operation == "Identity":
        return "it returns its input"
    if _POOL.fullmatch(row.operation) or row.operation in _GLOBAL:
        return _pool_reason(row)
    if row.operation == "Upsample" and row.in_shape == row.out_shape:
        return "its output is as large as its input"
    if row.operation in _IDEMPOTENT and len(row.sources) == 1 and row.sources[0] >= 0:
        source = before[row.sources[0]]
        same = source.operation == row.operation
        return f"its input went through {source.name or source.operation} already" if same else ""
    if row.operation in _RECTIFIERS and row.sources:
        return _rectifier_reason(before, row)
    return ""


def _dropout_reason(probability: float | None) -> str:
    if probability == 0:
        return "p is 0"
    return "p is 1: in training it drops everything" if probability == 1 else ""


def _pool_reason(row: Row) -> str:
    sizes = row.in_shape[1:]
    if row.operation not in _GLOBAL and row.in_shape != row.out_shape:
        return ""
    if row.operation.startswith("AvgPool") and any(row.padding):
        # The mean over the window counts the zeros of the padding.
        return ""
    if sizes and set(sizes) == {1}:
        return f"its map is {'x'.join(map(str, sizes))} already"
    if row.operation in _GLOBAL or not sizes:
        return ""
    if row.kernel and set(row.kernel) == {1} and set(row.stride) == {1}:
        return f"its window is {'x'.join(map(str, row.kernel))}"
    return ""


def _rectifier_reason(before: Sequence[Row], row: Row) -> str:
    if all(_is_not_negative(before, source) for source in row.sources):
        source = before[row.sources[0]]
        return f"its input is not negative, after {source.name or source.operation}"
    return ""


def _is_not_negative(rows: Sequence[Row], index: int) -> bool:
    """Whether the outputs of a row are known to be zero or more."""
    pending, seen = [index], set()
    while pending:
        number = pending.pop()
        if number < 0:
            return False
        row = rows[number]
        if number in seen or row.operation in _NOT_NEGATIVE:
            continue
        seen.add(number)
        keeps = row.operation in _KEEPING or _POOL.fullmatch(row.operation) or is_dropout(row)
        # One source of a sum: the other is a constant, which may be negative.
        joins = row.operation not in {"Add", "Concat"} or len(row.sources) > 1
        if not (keeps and joins and row.sources) or "Alpha" in row.operation:
            return False
        pending += row.sources
    return True
