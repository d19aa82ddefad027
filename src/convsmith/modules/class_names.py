"""The names of the classes that a checkpoint holds beside the weights."""

from collections.abc import Mapping
from typing import Any

_KEYS = (
    "class_names",
    "classes",
    "class_to_idx",
    "idx_to_class",
    "idx_to_label",
    "labels",
    "names",
    "CLASSES",
)
# Tables beside the weights, as Lightning and others write them.
_TABLES = ("meta", "hyper_parameters", "config", "args")
_MAX_CLASSES, _MAX_NAME = 100_000, 1000


def find_class_names(checkpoint: Any) -> tuple[str, ...]:
    """Return the names of the classes in the order of the outputs; empty if there are none.

    Args:
        checkpoint: What a file holds: a list of names, names by number, or numbers by name under a usual key.

    Example:
        >>> find_class_names({"net": {}, "class_to_idx": {"dog": 1, "cat": 0}})
        ('cat', 'dog')
        >>> find_class_names({"classes": 10})
        ()
    """
    if not isinstance(checkpoint, Mapping):
        return ()
    tables = [checkpoint, *(checkpoint.get(name) for name in _TABLES)]
    for table in tables:
        if not isinstance(table, Mapping):
            continue
        for key in _KEYS:
            if names := _names(table.get(key)):
                return names
    return ()


def _names(value: Any) -> tuple[str, ...]:
    if isinstance(value, Mapping):
        value = _in_order(value)
    if not isinstance(value, list | tuple) or not 1 < len(value) <= _MAX_CLASSES:
        return ()
    are_names = all(type(each) is str and len(each) <= _MAX_NAME for each in value)
    return tuple(value) if are_names and len(set(value)) == len(value) else ()


def _in_order(table: Mapping[Any, Any]) -> list[Any]:
    """Return the names of a table of numbers by name, or of names by number."""
    by_number = {}
    for key, value in table.items():
        name, number = (key, value) if isinstance(key, str) and isinstance(value, int) else (value, key)
        # JSON has no numbers as keys.
        number = int(number) if isinstance(number, str) and number.isdecimal() and len(number) < 7 else number
        if type(number) is not int:
            return []
        by_number[number] = name
    complete = set(by_number) == set(range(len(table)))
    return [by_number[number] for number in range(len(table))] if complete else []
