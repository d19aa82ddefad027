"""Submissions whose nets are the same under other names.

Three signs, the weakest first: the same structure (operations, settings, shapes, connections), the same
source text but for names and comments, and the same trained weights. The first alone says little where an
assignment leaves one good answer; the last does not come about by chance.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from convsmith.grading.record import Signature, SubmissionRecord
from convsmith.text import join_first

Sign = Literal["same weights", "same source text but for names", "same structure"]
# The strongest first.
_SIGNS: tuple[tuple[Sign, Callable[[Signature], str]], ...] = (
    ("same weights", lambda each: each.weights),
    ("same source text but for names", lambda each: each.source),
    ("same structure", lambda each: each.structure),
)


@dataclass(frozen=True, kw_only=True)
class Sharing:
    """Submissions that share a net.

    Attributes:
        members: The name of each submission, and of its net.
        signs: What agrees between all of them, the strongest first.
    """

    members: tuple[tuple[str, str], ...]
    signs: tuple[Sign, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The submissions, each once."""
        return tuple(dict.fromkeys(name for name, _ in self.members))

    @property
    def is_weak(self) -> bool:
        """Whether the structure alone agrees."""
        return self.signs == ("same structure",)

    def text(self, name: str) -> str:
        """Return what a submission shares with which others.

        >>> pair = Sharing(members=(("ada", "a.py:Net"), ("bob", "b.py:My")), signs=("same structure",))
        >>> pair.text("ada")
        'same structure as bob'
        """
        others = [each for each in self.names if each != name]
        return f"{', '.join(self.signs)} as {join_first(others, 5)}"


def find_sharings(
    records: Sequence[SubmissionRecord], starters: Iterable[SubmissionRecord] = ()
) -> tuple[Sharing, ...]:
    """Find the submissions that share a net, those with the strongest signs first.

    Args:
        records: Of a class.
        starters: Of the code that the teacher handed out: what equals it by a sign is not counted.

    Example:
        >>> from convsmith.grading.record import StepRecord
        >>> def record(name, source):
        ...     signature = Signature(net="a.py:Net", structure="s", source=source)
        ...     step = StepRecord(net="a.py:Net", signature=signature)
        ...     return SubmissionRecord(submission=name, state="judged", steps=(step,))
        >>> [each.text("ada") for each in find_sharings([record("ada", "a"), record("bob", "b")])]
        ['same structure as bob']
    """
    handed_out = [step.signature for record in starters for step in record.steps if step.signature]
    signs_of: dict[tuple[tuple[str, str], ...], list[Sign]] = {}
    for sign, value_of in _SIGNS:
        known = {value_of(each) for each in handed_out}
        groups: dict[str, list[tuple[str, str]]] = {}
        for record in records:
            for step in record.steps:
                value = value_of(step.signature) if step.signature else ""
                if value and value not in known:
                    groups.setdefault(value, []).append((record.submission, step.net))
        for members in groups.values():
            if len({name for name, _ in members}) > 1:
                signs_of.setdefault(tuple(members), []).append(sign)
    sharings = [Sharing(members=members, signs=tuple(signs)) for members, signs in signs_of.items()]
    order = [sign for sign, _ in _SIGNS]
    return tuple(sorted(sharings, key=lambda each: order.index(each.signs[0])))
