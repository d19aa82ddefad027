"""Search for the smallest change of a notation that passes a failed check, by trying changes."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from convsmith.briefs import edits
from convsmith.briefs.bounds import toml_text
from convsmith.briefs.edits import Change, Changes
from convsmith.briefs.settings_changes import with_changes
from convsmith.errors import ConvsmithError
from convsmith.net.analysis import Analysis
from convsmith.net.arithmetic import SpecAnalysis, analyze
from convsmith.net.layers.layer import Layer
from convsmith.net.notation import parse
from convsmith.net.plan import plan
from convsmith.net.settings import NetSettings
from convsmith.net.spec import Net

# More changes than this are no small correction.
_MAX_STEPS = 8
# Widths of all layers are reduced in this many steps.
_PARTS = 64
# Widths that are tried one by one.
_NEAREST = 4

Failing = Callable[[Analysis], frozenset[str]]


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    change: Change
    net: Net
    analysis: SpecAnalysis
    failing: frozenset[str]


class Remedy:
    """The search for a change that passes one check of a brief, and fails none that passes now.

    The smallest change edits the fewest places; among these it leaves the first layer alone if it can, and
    changes the parameters, then the MACs, then the receptive field by the least. If no single change is
    enough, the most effective one is taken, and the search goes on from there.
    """

    def __init__(self, analysis: SpecAnalysis, title: str, failing: Failing) -> None:
        """Prepare a search.

        Args:
            analysis: The analysis of the net.
            title: The title of the failed check.
            failing: Returns the titles of the failed checks of another net.
        """
        self._analysis = analysis
        self._title = title
        self._failing = failing
        self._allowed = failing(analysis)
        self._net = analysis.plan.net if analysis.plan.net.text else parse(str(analysis.plan.net))

    def smallest(self, changes: Changes, value: Callable[[Analysis], float]) -> str:
        """Return the smallest change in words; empty if no change was found.

        Args:
            changes: Yields the single changes of a net.
            value: The number that the check is about; smaller is better.
        """
        net, analysis = self._net, self._analysis
        for step in range(_MAX_STEPS):
            candidates = list(self._candidates(net, changes))
            passing = [each for each in candidates if self._title not in each.failing]
            if passing:
                best = min(passing, key=lambda each: self._cost(each, analysis))
                return _text(best.change) if step == 0 else f'write the net as "{best.net.text}"'
            if not candidates:
                return ""
            best = min(candidates, key=lambda each: (value(each.analysis), self._cost(each, analysis)))
            if value(best.analysis) >= value(analysis):
                return ""
            net, analysis = best.net, best.analysis
        return ""

    def settings(self, changes: Iterable[Mapping[str, Any]]) -> str:
        """Return the first change of the settings of the net that passes; empty if none does."""
        for change in changes:
            try:
                settings = with_changes(self._analysis.plan.settings, change)
            except ValidationError:
                continue
            candidate = self._candidate(self._net, (), settings)
            if candidate is not None and self._title not in candidate.failing:
                return "set " + " ".join(f"model.{name}={toml_text(value)}" for name, value in change.items())
        return ""

    def resize_one(self, *, wider: bool = False) -> str:
        """Return the smallest change of the width of one layer; empty if none is enough."""
        found = []
        for layer in edits.written_layers(self._net)[:-1]:
            widths = edits.widths(layer, wider=wider)
            low, high = 0, len(widths)
            passing = None
            while low < high:  # The further from the present width, the more likely it passes.
                middle = (low + high) // 2
                candidate = self._with_width(layer, widths[middle])
                if candidate is not None and self._title not in candidate.failing:
                    passing, high = candidate, middle
                else:
                    low = middle + 1
            # Within a range, the nearest widths may pass, and those further on may not.
            found += [passing] if passing else self._passing(layer, widths[:_NEAREST])
        best = min(found, key=lambda each: self._cost(each, self._analysis), default=None)
        return "" if best is None else _text(best.change)

    def narrow_all(self) -> str:
        """Return the largest share of the channels that every layer may keep; empty if no share is enough."""
        layers = [layer for layer in edits.written_layers(self._net) if edits.widths(layer, wider=False)][:-1]
        for parts in range(_PARTS - 1, 0, -1):
            change = tuple(
                edits.replacement(
                    self._net, layer, _with_number(layer, max(1, (layer.number or 0) * parts // _PARTS))
                )
                for layer in layers
            )
            candidate = self._candidate(self._net, change)
            if candidate is not None and self._title not in candidate.failing:
                return f'keep {parts}/{_PARTS} of the channels: "{candidate.net.text}"'
        return ""

    def _passing(self, layer: Layer, widths: Sequence[int]) -> list[_Candidate]:
        """Return the nearest width that passes, in a list; an empty list if none does."""
        for width in widths:
            candidate = self._with_width(layer, width)
            if candidate is not None and self._title not in candidate.failing:
                return [candidate]
        return []

    def _with_width(self, layer: Layer, width: int) -> _Candidate | None:
        return self._candidate(self._net, (edits.replacement(self._net, layer, _with_number(layer, width)),))

    def _candidates(self, net: Net, changes: Changes) -> Iterator[_Candidate]:
        for change in changes(net):
            candidate = self._candidate(net, change)
            if candidate is not None:
                yield candidate

    def _candidate(self, net: Net, change: Change, settings: NetSettings | None = None) -> _Candidate | None:
        """Return the changed net; None if it is none, or if it fails a check that passes now."""
        old = self._analysis
        try:
            other = parse(" ".join(edits.apply(net.text, change).split()))
            analysis = analyze(plan(other, old.input_shape, settings or old.plan.settings))
        except ConvsmithError:
            return None
        failing = self._failing(analysis)
        if analysis.num_outputs != old.num_outputs or not failing <= self._allowed:
            return None
        return _Candidate(change=change, net=other, analysis=analysis, failing=failing)

    def _cost(self, candidate: _Candidate, old: Analysis) -> tuple[float, ...]:
        new = candidate.analysis
        first = min(edit.start for edit in candidate.change)
        return (
            len(candidate.change),
            first == 0,
            abs(new.parameters - old.parameters),
            abs(new.known_macs - old.known_macs),
            abs((new.receptive_field or 0) - (old.receptive_field or 0)),
            first,
        )


def _with_number(layer: Layer, number: int) -> str:
    return str(replace(layer, number=number))


def _text(change: Change) -> str:
    return "; ".join(map(str, sorted(change)))
