"""The conditions that a training's weights depend on, and what has changed since a checkpoint."""

import json
from collections.abc import Iterator
from typing import Any

from convsmith.recipes.session import Session
from convsmith.runs.schema import Change, Environment

# Not in the checkpoints of convsmith 0.1.0.
_LATER_FIELDS = {"machine.instructions", "train.l1", "train.sampling", "train.monitor"}
# Conditions of older versions that the weights no longer depend on.
_FORMER_FIELDS = {"machine.torch_threads"}
# Fields of [train] that name files.
_PLACES = {"teacher", "start_from"}


def conditions_of(
    session: Session, teacher_sha256: str | None = None, start_sha256: str | None = None
) -> dict[str, str]:
    """Return the conditions by field: recipe, data, teacher, start, machine and package versions.

    Args:
        session: Within its `threads()`, because the number of threads is a condition.
        teacher_sha256: The hash of the teacher, if the recipe names one.
        start_sha256: The hash of the weights that the training began with, if the recipe names some.
    """
    table = session.resolved_recipe.table()
    # The content of images, teacher and start counts, not the place that they are read from.
    places = {"source", "keep_in", "skip_damaged"}
    data = {key: value for key, value in table["data"].items() if key not in places}
    images = session.data.split_fingerprints()
    machine = {"python", "processor", "instructions", "device", "packages"}
    if not session.recipe.train.is_independent_of_threads:
        machine.add("torch_threads")
    fields = {
        "seed": table["seed"],
        "model": session.architecture.identity(),
        "augment": table["augment"],
        "train": {key: value for key, value in table["train"].items() if key not in _PLACES},
        **({"teacher": {"sha256": teacher_sha256}} if teacher_sha256 else {}),
        **({"start": {"sha256": start_sha256}} if start_sha256 else {}),
        "data": {**data, "fingerprint": {"all": session.data.fingerprint, **images}},
        "machine": Environment.current().model_dump(include=machine),
    }
    return flat_fields(fields)


def changes_of(before: dict[str, str], now: dict[str, str]) -> list[Change]:
    """Return the fields that differ, in the order of the conditions.

    A field that checkpoints of older versions lack cannot be compared.

    >>> [change.line() for change in changes_of({"seed": "1", "a": "2"}, {"seed": "3", "a": "2", "b": "4"})]
    ['seed: was 1, is 3', 'b: was nothing, is 4']
    """
    return [
        Change(field=field, before=before.get(field, "nothing"), now=now.get(field, "nothing"))
        for field in dict.fromkeys([*before, *now])
        if before.get(field) != now.get(field)
        and not (field in _LATER_FIELDS and field not in before)
        and not (field in _FORMER_FIELDS and field not in now)
    ]


def flat_fields(table: dict[str, Any]) -> dict[str, str]:
    """Return the values of nested tables and lists as JSON, by their dotted keys.

    >>> flat_fields({"seed": 0, "data": {"mean": [0.5]}})
    {'seed': '0', 'data.mean.0': '0.5'}
    """
    return dict(_flat("", table))


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, each in items:
            yield from _flat(f"{prefix}.{key}" if prefix else str(key), each)
    else:
        yield prefix, json.dumps(value, ensure_ascii=False)
