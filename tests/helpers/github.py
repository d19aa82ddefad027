"""What the runner of GitHub Actions does with the output of a step: it reads workflow commands."""

import re
from dataclasses import dataclass, field

# The runner takes them back in this order, the percent sign last.
_DATA = (("%0D", "\r"), ("%0A", "\n"), ("%25", "%"))
_PROPERTY = (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%"))
_LEVELS = {"error", "warning", "notice"}


@dataclass(frozen=True)
class Command:
    """A workflow command."""

    name: str
    message: str
    properties: dict[str, str] = field(default_factory=dict)


def commands(output: str) -> list[Command]:
    """Return the workflow commands in the output of a step."""
    return [parsed for line in output.splitlines() if (parsed := parse(line)) is not None]


def annotations(output: str) -> list[Command]:
    return [each for each in commands(output) if each.name in _LEVELS]


def parse(line: str) -> Command | None:
    """Parse a line as the runner does; None for ordinary output."""
    match = re.match(r"\s*::(?P<head>.*?)::(?P<data>.*)$", line, re.DOTALL)
    if match is None:
        return None
    name, _, text = match["head"].partition(" ")
    properties = {}
    for pair in filter(None, text.strip().split(",")):
        key, _, value = pair.partition("=")
        properties[key.strip()] = _unescaped(value, _PROPERTY)
    return Command(name, _unescaped(match["data"], _DATA), properties)


def _unescaped(text: str, escapes: tuple[tuple[str, str], ...]) -> str:
    for escape, char in escapes:
        text = text.replace(escape, char)
    return text
