"""The description of a recipe that was made from another one by changing some of its fields."""

from typing import Any

from convsmith.recipes.schema import Recipe
from convsmith.text import in_line

# Fields that leave the meaning of a measured result: texts, seed, requirements, where the work is done.
_NEUTRAL = (
    "name",
    "description",
    "result",
    "seed",
    "brief.",
    "notes.",
    "data.keep_in",
    "train.device",
    "train.phases.",
)
_PREFIX = "Based on "
_NETS = ("model.net", "model.module")
_MAX_LISTED, _MAX_VALUE = 3, 40


def with_origin(recipe: Recipe, base: Recipe) -> Recipe:
    """Return a recipe whose texts are not those of the recipe that it was made from, if it differs.

    The result of `base` was measured with other settings, so it is removed, as is that of the notes. The
    description names the changes.

    Args:
        recipe: `base` with other values.
        base: The original.

    Example:
        >>> from convsmith.recipes.loader import load
        >>> shorter = load("digits", ["train.epochs=2"])
        >>> shorter.description, shorter.result
        ('Based on digits, with train.epochs = 2 (was 30)', '')
    """
    before, now = _leaves(base.table()), _leaves(recipe.table())
    changed = [
        key
        for key in dict.fromkeys([*before, *now])
        if not key.startswith(_NEUTRAL) and before.get(key) != now.get(key)
    ]
    if type(recipe.model) is not type(base.model):
        # Another kind of net: no field of the other one has a meaning.
        changed = [key for key in changed if not key.startswith("model.") or key in {*_NETS} & {*now}]
    if recipe.is_trained_elsewhere != base.is_trained_elsewhere:
        # One of them has no settings of a training.
        training = ("train.", "augment.")
        changed = [key for key in changed if not key.startswith(training) or key == "train.epochs"]
    if not changed:
        return recipe
    texts: dict[str, Any] = {}
    if recipe.result == base.result:
        texts["result"] = ""
    if recipe.notes.result == base.notes.result:
        texts["notes"] = recipe.notes.model_copy(update={"result": ""})
    # The notes of a run name the epoch that it stops after, which changes when it is resumed.
    named = [key for key in changed if key != "train.stop_after"]
    if named and recipe.description == base.description:
        again = base.description.startswith(_PREFIX)
        origin = f"{base.description}; then" if again else f"{_PREFIX}{base.name}, with"
        texts["description"] = f"{origin} {_changes(named, before, now)}"
    return recipe.model_copy(update=texts)


def _changes(changed: list[str], before: dict[str, Any], now: dict[str, Any]) -> str:
    if len(changed) <= _MAX_LISTED:
        items = [f"{key} = {_value(now, key)} (was {_value(before, key)})" for key in changed]
    else:
        items = list(dict.fromkeys(".".join(key.split(".")[:2]) for key in changed))
    suffix = "" if len(changed) <= _MAX_LISTED else " changed"
    return (", ".join(items[:-1]) + " and " if items[1:] else "") + items[-1] + suffix


def _value(leaves: dict[str, Any], key: str) -> str:
    if key not in leaves:
        return "unset"
    value = leaves[key]
    text = str(value).lower() if isinstance(value, bool) else in_line(str(value))
    return text if len(text) <= _MAX_VALUE else f"{text[: _MAX_VALUE - 3]}..."


def _leaves(value: Any, path: str = "") -> dict[str, Any]:
    """Return the values of nested tables and lists by their dotted keys."""
    if not isinstance(value, dict | list):
        return {path: value}
    items = value.items() if isinstance(value, dict) else enumerate(value)
    leaves: dict[str, Any] = {}
    for key, each in items:
        leaves |= _leaves(each, f"{path}.{key}" if path else str(key))
    return leaves
