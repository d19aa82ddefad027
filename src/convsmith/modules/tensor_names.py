"""Names of tensors in files and nets: how those of a file become those of a net, whatever wraps either."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

# Of prefixes, in parts of a name.
_MAX_PARTS = 4
# Parts of names that wrappers add anywhere, as in `features.module.0.weight`; the smallest change first.
_WRAPPERS: tuple[tuple[str, ...], ...] = ((), ("_orig_mod",), ("_orig_mod", "module"))


@dataclass(frozen=True)
class NameMap:
    """How the names of a file become those of a net.

    Attributes:
        names: Names of the net by those of the file.
        prefix: What is removed from the names of the file.
        added: What is put before them instead, because the net is wrapped.
        parts: Parts that are left out of the names of both.
        aside: Names of the file without the prefix.
    """

    names: dict[str, str]
    prefix: str = ""
    added: str = ""
    parts: tuple[str, ...] = ()
    aside: tuple[str, ...] = ()


def name_maps(
    own: Mapping[str, Tensor], tensors: Mapping[str, Tensor], *, partial: bool = False
) -> Iterator[NameMap]:
    """Yield ways to map the names of a file to those of a net, the smallest change first.

    Args:
        own: The tensors of the net.
        tensors: Those of the file.
        partial: Remove prefixes that any of the file's names has, not only those that most have, and add
            those that any of the net's has.
    """
    for parts in _WRAPPERS:
        theirs, ours = ({without(parts, name): name for name in names} for names in (tensors, own))
        if len(theirs) < len(tensors) or len(ours) < len(own):
            continue
        removed = ["", *prefixes(theirs, 1 if partial else len(theirs) // 2 + 1)]
        added = ["", *prefixes(ours, 1 if partial else len(ours))]
        for prefix in removed:
            inside = {
                name.removeprefix(prefix): each for name, each in theirs.items() if name.startswith(prefix)
            }
            aside = tuple(each for name, each in theirs.items() if not name.startswith(prefix))
            for start in added if not (partial and prefix) else [""]:
                names = {source: ours.get(start + name, start + name) for name, source in inside.items()}
                yield NameMap(names=names, prefix=prefix, added=start, parts=parts, aside=aside)


def without(parts: Sequence[str], name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in parts)


def prefixes(names: Iterable[str], at_least: int) -> list[str]:
    """Return the beginnings, up to a dot, that so many names share; the shortest first."""
    counts: Counter[str] = Counter()
    for name in names:
        parts = name.split(".")[:-1][:_MAX_PARTS]
        counts.update(".".join(parts[:count]) + "." for count in range(1, len(parts) + 1))
    return sorted((prefix for prefix, count in counts.items() if count >= at_least), key=len)
