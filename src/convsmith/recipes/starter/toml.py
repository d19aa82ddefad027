"""TOML with comments."""

import textwrap
from collections.abc import Mapping
from typing import Any

import tomli_w

from convsmith.text import in_line

_WIDTH = 100


class CommentedToml:
    """Collects the lines of a TOML file; foreign text in comments is made printable.

    Example:
        >>> toml = CommentedToml()
        >>> toml.comment("Images.")
        >>> toml.table("data")
        >>> toml.values({"source": "digits", "resize": 32})
        >>> print(toml.text(), end="")
        # Images.
        <BLANKLINE>
        [data]
        source = "digits"
        resize = 32
    """

    def __init__(self) -> None:
        self.lines: list[str] = []

    def comment(self, text: str) -> None:
        """Add a comment, wrapped."""
        for line in textwrap.wrap(in_line(text), _WIDTH, break_long_words=False, break_on_hyphens=False):
            self.lines.append(f"# {line}")

    def unused(self, table: Mapping[str, Any]) -> None:
        """Add values as comments, to be used by removing the mark."""
        self.lines += [f"# {line}" for line in _lines(table)]

    def table(self, name: str, *, many: bool = False) -> None:
        """Begin a table, or an item of an array of tables."""
        header = f"[[{name}]]" if many else f"[{name}]"
        self.lines += ["", header]

    def values(self, table: Mapping[str, Any]) -> None:
        """Add values; tables in it become inline tables."""
        self.lines += _lines(table)

    def text(self) -> str:
        """Return the file."""
        return "\n".join(self.lines) + "\n"


def _lines(table: Mapping[str, Any]) -> list[str]:
    lines = []
    for key, value in table.items():
        if isinstance(value, Mapping):
            lines.append(f"{key} = {{ {', '.join(_lines(value))} }}")
        elif isinstance(value, int) and not isinstance(value, bool) and value >= 10_000:
            lines.append(f"{key} = {value:_}")
        else:
            lines.append(" ".join(tomli_w.dumps({key: value}, multiline_strings=False).split("\n")).strip())
    return lines
