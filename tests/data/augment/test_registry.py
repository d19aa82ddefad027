"""The page of the transforms has each of them, with its settings and what may lose its class."""

import re
from typing import Any

import pytest

from convsmith.data.augment.registry import TRANSFORMS
from convsmith.data.augment.strengths import OPERATIONS
from convsmith.data.augment.transform import Transform
from helpers.paths import ROOT

PAGE = (ROOT / "docs" / "augmentation.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda each: each.__name__)
def test_each_transform_has_a_row_with_its_defaults(transform: type[Transform]) -> None:
    name = transform.__name__
    (row,) = re.findall(rf"^\| `{name}` \| (.*)\|$", PAGE, flags=re.MULTILINE)
    settings, _, risk = row.split("|")
    fields = {key: field.default for key, field in transform.model_fields.items() if key not in {"name", "p"}}
    expected = ", ".join(f"`{key} = {text(value)}`" for key, value in fields.items())
    assert settings.strip() == expected
    label_risk = transform.model_validate({"name": name}).label_risk
    assert risk.strip() == label_risk or (not label_risk and (" if " in risk or not risk.strip()))
    assert transform.__doc__


def text(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(text, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else f"{value:g}" if value == 45 else str(value)


def test_each_operation_has_a_row() -> None:
    table = PAGE.partition("levels apart from Pillow")[2]
    assert set(OPERATIONS) == set(re.findall(r"`(\w+)`", table.partition("\n\n")[0]))
