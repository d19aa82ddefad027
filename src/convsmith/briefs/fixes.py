"""The fix of each failed check: the smallest change of a notation, found by trying, or advice in words."""

from collections.abc import Callable, Iterable, Sequence

from convsmith.briefs import edits
from convsmith.briefs.bounds import Bound, nearest, within
from convsmith.briefs.check import row_labels
from convsmith.briefs.edits import Changes
from convsmith.briefs.kind_rules import KindRule
from convsmith.briefs.remedies import Failing, Remedy
from convsmith.briefs.requirements import BlockPattern
from convsmith.briefs.settings_changes import SettingsChanges, norm_settings, settings_of
from convsmith.briefs.skeleton import Departure, Part, distance, nearest_edit
from convsmith.briefs.structure import (
    LAYER_KINDS,
    NORM_LAYERS,
    LayerKind,
    NormKind,
    blocks,
    count_kind,
    norm_layer,
)
from convsmith.net.analysis import Analysis
from convsmith.net.arithmetic import SpecAnalysis
from convsmith.net.effects import is_dropout
from convsmith.net.rows import Row
from convsmith.text import plural

_INSERT_CONVOLUTION = edits.insertions(edits.same_width("C"))

# The single changes that add a layer of a kind.
_ADDING: dict[LayerKind, Changes] = {
    "depthwise-separable": edits.any_of(
        edits.replacements(edits.separable),
        edits.insertions(lambda layer: [f"S{layer.number}"] if layer.number else []),
    ),
    "dilated": edits.any_of(
        edits.replacements(edits.dilated),
        edits.insertions(
            lambda layer: [f"C{layer.number}:d2"] if layer.kind.convolution and layer.number else []
        ),
    ),
    "strided": edits.replacements(edits.strided),
    "residual": edits.residuals,
    "max-pooling": edits.any_of(
        edits.replacements(edits.pool_kind("M")),
        edits.insertions(lambda layer: ["M2"] if layer.kind.convolution else []),
    ),
    "average-pooling": edits.any_of(
        edits.replacements(edits.pool_kind("A")),
        edits.insertions(lambda layer: ["A2"] if layer.kind.convolution else []),
    ),
    "global-average-pooling": edits.head_changes,
    "fully-connected": edits.head_changes,
    "convolution": _INSERT_CONVOLUTION,
    "pointwise": edits.any_of(
        edits.replacements(edits.pointwise),
        edits.insertions(
            lambda layer: [f"P{layer.number}"] if layer.kind.convolution and layer.number else []
        ),
    ),
    "dropout": edits.replacements(edits.with_dropout),
}

# The single changes that remove one.
_REMOVING: dict[LayerKind, Changes] = {
    "depthwise-separable": edits.any_of(
        edits.replacements(edits.dense), edits.removals(lambda layer: layer.kind.letter == "D")
    ),
    "dilated": edits.replacements(edits.undilated),
    "strided": edits.replacements(edits.unstrided),
    "residual": edits.without_residuals,
    "max-pooling": edits.any_of(
        edits.replacements(edits.pool_kind("A")),
        edits.pool_to_stride,
        edits.removals(lambda layer: layer.kind.letter == "M"),
    ),
    "average-pooling": edits.any_of(
        edits.replacements(edits.pool_kind("M")),
        edits.pool_to_stride,
        edits.removals(lambda layer: layer.kind.letter == "A"),
    ),
    "global-average-pooling": edits.head_changes,
    "fully-connected": edits.head_changes,
    "convolution": edits.removals(lambda layer: layer.kind.convolution),
    "pointwise": edits.any_of(
        edits.replacements(edits.dense), edits.removals(lambda layer: layer.kind.letter == "P")
    ),
    "dropout": edits.replacements(edits.without_dropout),
}
# The single changes towards a skeleton.
_SKELETON = edits.any_of(
    edits.replacements(edits.pointwise),
    edits.replacements(edits.dense),
    edits.convolutions_anywhere(),
    edits.insertions(lambda layer: ["M2", "A2"] if layer.kind.convolution else []),
    edits.removals(bool),
    edits.replacements(edits.pool_kind("M")),
    edits.replacements(edits.pool_kind("A")),
    edits.head_changes,
)


class Fixes:
    """The fixes of one net. For a module, which cannot be changed by trying, they are advice in words."""

    def __init__(self, analysis: Analysis, failing: Failing) -> None:
        """Prepare the fixes.

        Args:
            analysis: The analysis of the net.
            failing: Returns the titles of the failed checks of another net.
        """
        self._analysis = analysis
        self._failing = failing

    def smaller(self, title: str, excess: int, attribute: str) -> str:
        """Return how to reduce a sum over the rows: by how much, the largest rows, and a change."""
        layers = [(row.layer or row.name, getattr(row, attribute) or 0, "") for row in self._analysis.rows]
        layers += _unused(self._analysis) if attribute == "parameters" else []
        largest = sorted(filter(lambda layer: layer[1], layers), key=lambda layer: -layer[1])[:3]
        names = ", ".join(f"{name} ({count:,}{remark})" for name, count, remark in largest)
        text = f"{excess:,} over; the largest layers are {names}"
        change = self._narrower(title)
        return f"{text}; {change}" if change else text

    def narrower(self, title: str, advice: str) -> str:
        """Return how to narrow layers until the check passes."""
        return self._narrower(title) or advice

    def wider(self, title: str, missing: int) -> str:
        remedy = self._remedy(title)
        change = remedy.resize_one(wider=True) if remedy else ""
        return f"{missing:,} too few; {change or 'widen layers, or add some'}"

    def less_memory(self, title: str) -> str:
        """Return how to reduce the memory of the activations, by width if that is enough."""
        return self._narrower(title) or self._smallest(
            title,
            edits.replacements(edits.strided),
            lambda other: other.peak_activation_bytes,
            advice="stride earlier, or narrow the layers on large maps",
        )

    def larger_field(self, title: str) -> str:
        variants = (edits.dilated, edits.strided, edits.larger_kernels)
        return self._smallest(
            title,
            edits.any_of(*map(edits.replacements, variants)),
            lambda other: -(other.receptive_field or 0),
            advice="dilate 3x3 convolutions, stride earlier, or add layers",
        )

    def covering(self, title: str) -> str:
        variants = (edits.padded, edits.larger_kernels, edits.unstrided, edits.undilated)
        return self._smallest(
            title,
            edits.any_of(*map(edits.replacements, variants)),
            lambda other: sum(other.uncovered or (0,)),
            advice="keep strides within kernels, and add padding if the last pixels are cut off",
        )

    def with_kinds(self, title: str, rule: KindRule) -> str:
        """Return how to get the number of layers of some kinds."""

        def excess(other: Analysis) -> int:
            return rule.excess(sum(count_kind(other.rows, kind) for kind in rule.kinds))

        too_few = sum(count_kind(self._analysis.rows, kind) for kind in rule.kinds) < rule.least
        table = _ADDING if too_few else _REMOVING
        changes = edits.any_of(*(table[kind] for kind in rule.kinds if kind in table))
        kind = next(filter(_ADDING.get, rule.kinds), rule.kinds[0])
        words = LAYER_KINDS[kind].adding if too_few else LAYER_KINDS[kind].replacing
        if not too_few and rule.most:
            many = excess(self._analysis)
            words = f"{plural(many, 'layer')} too many: leave {'it' if many == 1 else 'them'} out"
        settings = self._with_settings(title, [*map(settings_of, rule.kinds)] if too_few else [])
        return settings or self._smallest(title, changes, excess, advice=self._advice(kind, words))

    def with_norm(self, title: str, kind: NormKind, others: Sequence[Row]) -> str:
        """Return how to make every norm one of a kind, in place of others."""
        advice = LAYER_KINDS[NORM_LAYERS[kind]].adding
        if others:
            widths = {row.in_shape[0] for row in others}
            layer = norm_layer(kind, widths.pop() if len(widths) == 1 else "channels")
            advice = f"replace {row_labels(others)} by {layer}"
        return self._with_settings(title, [norm_settings(kind)]) or advice

    def with_dropout(self, title: str, bound: Bound, others: Sequence[Row]) -> str:
        """Return how to bring the probability of every dropout within a bound, where others are outside."""
        present = [row.probability for row in others if row.probability is not None]
        value = nearest(present[0] if present else 0.0, bound)
        advice = f"give {row_labels(others)} p={value:g}" if others else f"add a Dropout({value:g})"
        return self._with_settings(title, [[{"dropout": value}]]) or self._smallest(
            title,
            edits.replacements(edits.dropout_of(value)),
            lambda other: sum(not within(row.probability, bound) for row in other.rows if is_dropout(row)),
            advice=advice,
        )

    def with_skeleton(self, title: str, skeleton: tuple[Part, ...], first: Departure) -> str:
        """Return how to get the layers of a skeleton, in its order."""

        def value(other: Analysis) -> int:
            return distance(other, skeleton)

        narrow = edits.any_of(_SKELETON, edits.convolutions_anywhere(parts=2))
        advice = nearest_edit(self._analysis, skeleton, first)
        # Narrow convolutions only where wide ones break another check.
        wide = self._smallest(title, _SKELETON, value, advice="")
        return wide or self._smallest(title, narrow, value, advice=advice)

    def without_kind(self, title: str, kind: LayerKind) -> str:
        return self._smallest(
            title,
            _REMOVING.get(kind, edits.any_of()),
            lambda other: count_kind(other.rows, kind),
            advice=self._advice(kind, LAYER_KINDS[kind].replacing),
        )

    def block_count(self, title: str, pattern: BlockPattern) -> str:
        return self._smallest(
            title,
            edits.block_borders,
            lambda other: abs(len(blocks(other.rows)) - pattern.count),
            advice=self._borders_advice(),
        )

    def block_lengths(self, title: str, pattern: BlockPattern, wrong: list[str]) -> str:
        each = pattern.convolutions or 0
        return self._smallest(
            title,
            edits.any_of(
                edits.block_borders, _INSERT_CONVOLUTION, edits.removals(lambda layer: layer.kind.convolution)
            ),
            lambda other: sum(abs(len(block.convolutions) - each) for block in blocks(other.rows)),
            advice=f"give {each} to {', '.join(wrong)}" if wrong else self._borders_advice(),
        )

    def block_ends(self, title: str, pattern: BlockPattern, plain: list[str]) -> str:
        least = min(pattern.count, 2)
        shrinking = edits.any_of(edits.replacements(edits.dilated), edits.replacements(edits.strided))
        return self._smallest(
            title,
            shrinking if plain else edits.any_of(edits.block_borders, shrinking),
            # A new block adds at most one plain end, so that it is worth more.
            lambda other: len(plain_block_ends(other)) + 2 * max(least - len(blocks(other.rows)), 0),
            advice=f"give a stride or a dilation to the last convolution of {', '.join(plain)}"
            if plain
            else self._borders_advice(),
        )

    def _borders_advice(self) -> str:
        if isinstance(self._analysis, SpecAnalysis):
            return "separate blocks of convolutions by '/'"
        return "make each block of convolutions a child module of the net, for example an nn.Sequential"

    def _narrower(self, title: str) -> str:
        remedy = self._remedy(title)
        return (remedy.resize_one() or remedy.narrow_all()) if remedy else ""

    def _smallest(
        self, title: str, changes: Changes, value: Callable[[Analysis], float], *, advice: str
    ) -> str:
        """Return the smallest change that passes the check, or advice if there is none."""
        remedy = self._remedy(title)
        return (remedy.smallest(changes, value) if remedy else "") or advice

    def _with_settings(self, title: str, candidates: Iterable[SettingsChanges]) -> str:
        """Return the first change of the net's settings that passes the check; empty if there is none."""
        remedy = self._remedy(title)
        changes = (change for each in candidates for change in each) if remedy else ()
        return remedy.settings(changes) if remedy else ""

    def _remedy(self, title: str) -> Remedy | None:
        analysis = self._analysis
        return Remedy(analysis, title, self._failing) if isinstance(analysis, SpecAnalysis) else None

    def _advice(self, kind: LayerKind, in_pytorch: str) -> str:
        if not isinstance(self._analysis, SpecAnalysis):
            return in_pytorch
        if kind in _ADDING:
            return "no change of up to eight layers was found"
        return f"the notation has no {kind} layers; in PyTorch, {in_pytorch}"


def _unused(analysis: Analysis) -> list[tuple[str, int, str]]:
    """Return layers that are never called and other weights without a use: name, size, and a remark."""
    idle = {each.name: each.parameters for each in analysis.idle}
    others = [(name, size) for name, size in analysis.unused if name.rpartition(".")[0] not in idle]
    return [
        *((name, size, ", never called") for name, size in idle.items()),
        *((name, size, ", never used") for name, size in others),
    ]


def plain_block_ends(analysis: Analysis) -> list[str]:
    """Return the blocks, but the last, whose last convolution has neither a stride nor a dilation."""
    return [block.name for block in blocks(analysis.rows)[:-1] if not block.ends_strided_or_dilated]
