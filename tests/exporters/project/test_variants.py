"""Versions of a module in one file do what each did alone."""

import re
from pathlib import Path
from typing import Any

import pytest

from convsmith.exporters.project.variants import Version, merge_versions
from helpers.projects import lint

BASE = '''\
"""A module."""

import math

from torch.nn import functional as F

# ---------------------------------------------------------------- constants

RATE = {rate}
SIZES, NAMES = (1, 2), ("a",)


def scale(x: int) -> float:
    """Return the product."""
    return RATE * x


def same(x: int) -> int:
    return x + len(SIZES) * (F is not None)


@staticmethod
def total(x: int) -> float:
    return scale(x) + same(x) + {total}


class Pair:
    """A pair."""

    def first(self) -> float:
        return total(1)


def recursive(n: int) -> int:
    return recursive_too(n - 1) if n else 0


def recursive_too(n: int) -> int:
    return recursive(n - 1) + 1 if n else math.floor(1)


if __name__ == "__main__":
    print(total(1), NAMES)
'''


def scope(text: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(compile(text, "merged", "exec"), names)  # noqa: S102 - the modules above
    return names


def test_each_version_computes_what_it_did_alone(tmp_path: Path) -> None:
    texts = [BASE.format(rate=rate, total=total) for rate, total in ((2, 5), (3, 5), (2, 7), (2, 5))]
    merged = merge_versions([Version(text) for text in texts], "All.")
    (tmp_path / "merged.py").write_text(merged.text)
    lint(tmp_path)
    together = scope(merged.text)
    for text, names in zip(texts, merged.names, strict=True):
        alone = scope(text)
        for name in ("scale", "same", "total", "recursive"):
            assert together[names[name]](3) == alone[name](3)
        assert together[names["Pair"]]().first() == alone["Pair"]().first()
    # What is equal, cycles of functions included, is there once.
    assert len(re.findall("def same|def recursive|def recursive_too", merged.text)) == 3
    assert merged.names[0] == merged.names[3]
    assert len({each["scale"] for each in merged.names}) == 2
    assert len({each["total"] for each in merged.names}) == 3
    assert "__main__" not in merged.text


def test_versions_without_a_difference_are_one() -> None:
    text = BASE.format(rate=1, total=1)
    merged = merge_versions([Version(text)] * 3, "All.")
    assert all(name == new for names in merged.names for name, new in names.items())
    assert merged.text.count("\nclass ") == 1


def test_new_names_leave_those_of_the_user_alone() -> None:
    """The net of step 1 is the user's own `Model_2`, and the other way round."""
    text = "class Model_1:\n    x = 1\nclass Model_2:\n    x = 2\nclass Both(Model_1, Model_2):\n    y = 3\n"
    roots = ("Model_2", "Model_1", "Both")
    versions = [
        Version(text, roots=frozenset({root}), new={root: f"Model_{number}"})
        for number, root in enumerate(roots, start=1)
    ]
    merged = merge_versions(versions, "All.")
    names = scope(merged.text)
    assert [names[f"Model_{number}"].x for number in (1, 2)] == [2, 1]
    assert [each.x for each in names["Model_3"].__mro__[1:3]] == [1, 2]


def test_what_no_root_uses_is_left_out() -> None:
    text = "import abc\nimport re\nA = 1\nB = re\ndef f():\n    return A\ndef g():\n    return abc\n"
    merged = merge_versions([Version(text, roots=frozenset({"f"}))], "All.")
    assert set(scope(merged.text)) == {"A", "f", "__builtins__", "__doc__"}


def test_imports_of_one_name_for_two_things() -> None:
    versions = [
        Version(f"from math import {name} as h\n\n\ndef f(x):\n    return h(x)\n")
        for name in ("floor", "ceil")
    ]
    merged = merge_versions(versions, "All.")
    names = scope(merged.text)
    assert [names[each["f"]](1.5) for each in merged.names] == [1, 2]


@pytest.mark.parametrize(
    "text", ["a = 1; b = a\n", "a = 1\na += 1\nb = a\n", "if True:\n    a = 1\nelse:\n    a = 2\n"]
)
def test_statements_of_one_line_or_name_stay_in_their_order(text: str) -> None:
    other = text.replace("1", "3")
    merged = merge_versions([Version(text), Version(other)], "All.")
    names = scope(merged.text)
    for version, of_version in zip((text, other), merged.names, strict=True):
        alone = scope(version)
        assert {each: names[new] for each, new in of_version.items()} == {
            name: alone[name] for name in of_version
        }


NET = """\
from torch import nn

{lines}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, {width})
"""


@pytest.mark.parametrize(
    ("lines", "others", "width"),
    [
        ('SIZES = {"w": 2}\nSIZES["w"] = 3', 'SIZES = {"w": 2}\nSIZES["w"] = 5', 'SIZES["w"]'),
        ("SIZES = []\nSIZES.append(4)\nSIZES.append(4)", "SIZES = []\nSIZES.append(4)", "sum(SIZES)"),
        ("A = 1\nB = [1]\nB.append(A)", "A = 2\nB = [1]\nB.append(A)", "sum(B)"),
        ("from math import *", "from math import *\nfrom cmath import *", "int(pi)"),
        (
            "try:\n    from torch.nn import GELU\nexcept ImportError:\n    GELU = None",
            "try:\n    from torch.nn import GELU\nexcept OSError:\n    GELU = None\nW = 3",
            "4 if GELU else 5",
        ),
        ('NAME = "a\u2028b"\n# A comment.\nW = len(NAME)', "W = 5", "W"),
    ],
)
def test_nets_keep_their_sizes(lines: str, others: str, width: str) -> None:
    """What changes a value without defining a name is a part of it."""
    texts = [NET.format(lines=each, width=width) for each in (lines, others)]
    versions = [
        Version(text, roots=frozenset({"Net"}), new={"Net": f"Model_{number}"})
        for number, text in enumerate(texts, start=1)
    ]
    merged = merge_versions(versions, "Both.")
    together = scope(merged.text)
    for text, names in zip(texts, merged.names, strict=True):
        alone = scope(text)["Net"]()
        assert together[names["Net"]]().layer.out_features == alone.layer.out_features


def test_private_attributes_keep_the_names_of_their_weights() -> None:
    text = (
        "from torch import nn\n\n\nclass Net(nn.Module):\n    def __init__(self):\n"
        "        super().__init__()\n        self.__layer = self.__made()\n\n"
        "    def __made(self):\n        return nn.Linear(1, 2)\n"
    )
    merged = merge_versions([Version(text, roots=frozenset({"Net"}), new={"Net": "Model_1"})], "One.")
    weights = scope(merged.text)["Model_1"]().state_dict()
    assert list(weights) == list(scope(text)["Net"]().state_dict())
