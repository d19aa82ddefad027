"""The notes on each step that an assignment asks for: target, result, analysis."""

import re
from collections.abc import Sequence
from typing import get_args

from convsmith.briefs.schema import Note
from convsmith.grading.lines import Line

_KINDS: tuple[str, ...] = get_args(Note)
_HEADING = re.compile(
    rf"(?i)^[\W_\d]*(?P<kind>{'|'.join(_KINDS)})s?\b(?!\s+(?:set|accuracy|of the)\b)\W*(?P<rest>.*)"
)


def notes_of(lines: Sequence[Line]) -> list[dict[str, str]]:
    """Return the notes of each step in the order in which they stand; none if there is no such heading.

    The first "Target" is that of the first step, the second that of the second, and so on.

    Example:
        >>> text = "## Target", "Fewer parameters", "## Result", "7,624", "Target: dropout"
        >>> lines = [Line(file="README.md", place="line 1", kind="prose", text=each) for each in text]
        >>> notes_of(lines)
        [{'target': 'Fewer parameters', 'result': '7,624'}, {'target': 'dropout'}]
    """
    texts_of: dict[str, list[list[str]]] = {kind: [] for kind in _KINDS}
    current: list[str] | None = None
    for line in lines:
        if line.kind != "prose":
            continue
        if match := _HEADING.match(line.text):
            current = [match["rest"]] if match["rest"] else []
            texts_of[match["kind"].casefold()].append(current)
        elif current is not None:
            current.append(line.text)
    count = max(map(len, texts_of.values()))
    return [
        {kind: " ".join(texts[step])[:2000] for kind, texts in texts_of.items() if step < len(texts)}
        for step in range(count)
    ]
