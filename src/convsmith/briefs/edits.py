"""Single changes of a notation, as edits of its text."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

from convsmith.net.layers.layer import Layer
from convsmith.net.layers.registry import KINDS
from convsmith.net.spec import Item, Net, Repeat, Residual

# Widths are tried in steps that fill vector lanes.
STEP = 8

Variants = Callable[[Layer], Iterable[Layer]]


@dataclass(frozen=True, order=True)
class Edit:
    """Replace `old` at a position of the text by `new`; one of the two may be empty."""

    start: int
    old: str
    new: str

    def __str__(self) -> str:
        place = f"at character {self.start + 1}"
        if not self.old.strip():
            return f"insert {self.new.strip()} {place}"
        return (
            f"change {self.old} to {self.new.strip()} {place}"
            if self.new.strip()
            else f"remove {self.old} {place}"
        )


Change = tuple[Edit, ...]
Changes = Callable[[Net], Iterable[Change]]


def apply(text: str, change: Change) -> str:
    """Return the text with all edits of a change.

    >>> apply("C16 M2 / F10", (Edit(0, "C16", "C16:s2"), Edit(4, "M2", "")))
    'C16:s2  / F10'
    """
    for edit in sorted(change, reverse=True):
        text = text[: edit.start] + edit.new + text[edit.start + len(edit.old) :]
    return text


def written_layers(net: Net) -> list[Layer]:
    """Return the layers as they are written: those of a repeat once."""
    return [layer for block in net.blocks for layer in _written(block)]


def replacements(variants: Variants) -> Changes:
    """Replace one layer by one of its variants."""

    def changes(net: Net) -> Iterator[Change]:
        for layer in written_layers(net):
            for variant in variants(layer):
                if variant != layer:
                    yield (replacement(net, layer, str(variant)),)

    return changes


def insertions(layers: Callable[[Layer], Iterable[str]]) -> Changes:
    """Insert text after one layer; a layer that is repeated or in parentheses included."""

    def changes(net: Net) -> Iterator[Change]:
        for layer in written_layers(net):
            for text in layers(layer):
                yield (Edit(layer.position + layer.length, "", f" {text}"),)

    return changes


def same_width(letters: str) -> Callable[[Layer], list[str]]:
    """Return the layers of some kinds that are as wide as a convolution."""

    def layers(layer: Layer) -> list[str]:
        if not (layer.kind.convolution and layer.number):
            return []
        return [f"{letter}{layer.number}" for letter in letters]

    return layers


def convolutions_anywhere(*, parts: int = 1) -> Changes:
    """Insert a convolution after one layer, as wide as the convolution before it or a part of that."""

    def changes(net: Net) -> Iterator[Change]:
        width = 0
        for layer in written_layers(net):
            if layer.kind.convolution and layer.number:
                width = layer.number
            end = layer.position + layer.length
            if number := width // parts:
                yield from ((Edit(end, "", f" {letter}{number}"),) for letter in "CP")

    return changes


def removals(matches: Callable[[Layer], bool]) -> Changes:
    """Remove one layer."""

    def changes(net: Net) -> Iterator[Change]:
        for layer in written_layers(net):
            if matches(layer):
                yield (replacement(net, layer, ""),)

    return changes


def any_of(*sources: Changes) -> Changes:
    return lambda net: (change for source in sources for change in source(net))


def replacement(net: Net, layer: Layer, new: str) -> Edit:
    return Edit(layer.position, net.text[layer.position : layer.position + layer.length], new)


def of_kind(layer: Layer, letter: str) -> Layer:
    """Return the layer as another kind, with the options that this kind takes."""
    kind = KINDS[letter]
    groups = layer.groups if "g" in kind.options else 1
    return replace(layer, kind=kind, groups=groups, kernel=kind.kernel if kind.kernel == 1 else layer.kernel)


def dilated(layer: Layer) -> Iterator[Layer]:
    if "d" in layer.kind.options and layer.kind.convolution and layer.kernel > 1 and layer.stride == 1:
        yield from (
            replace(layer, dilation=dilation) for dilation in (2, 3, 4, 6, 8) if dilation != layer.dilation
        )


def strided(layer: Layer) -> Iterator[Layer]:
    if layer.kind.convolution and layer.stride == 1:
        yield replace(layer, stride=2)


def unstrided(layer: Layer) -> Iterator[Layer]:
    if layer.kind.convolution and layer.stride > 1:
        yield replace(layer, stride=1)


def larger_kernels(layer: Layer) -> Iterator[Layer]:
    if layer.kind.convolution and "k" in layer.kind.options:
        yield from (replace(layer, kernel=kernel) for kernel in (3, 5, 7) if kernel > layer.kernel)


def padded(layer: Layer) -> Iterator[Layer]:
    if layer.padding is not None and "p" in layer.kind.options:
        yield replace(layer, padding=None)
        yield replace(layer, padding=layer.padding + 1)


def undilated(layer: Layer) -> Iterator[Layer]:
    if layer.dilation > 1:
        yield replace(layer, dilation=1)


def separable(layer: Layer) -> Iterator[Layer]:
    if layer.kind.letter == "C" and layer.kernel > 1:
        yield of_kind(layer, "S")


def dense(layer: Layer) -> Iterator[Layer]:
    if layer.kind.letter == "S":
        yield of_kind(layer, "C")
    if layer.kind.letter == "P":
        yield replace(of_kind(layer, "C"), kernel=3)


def pointwise(layer: Layer) -> Iterator[Layer]:
    if layer.kind.letter in {"C", "S"}:
        yield replace(of_kind(layer, "P"), dilation=1, padding=None)


def with_dropout(layer: Layer) -> Iterator[Layer]:
    if layer.kind.weighted and not layer.dropout:
        yield replace(layer, dropout=0.05)


def without_dropout(layer: Layer) -> Iterator[Layer]:
    if layer.kind.weighted and layer.dropout != 0:
        yield replace(layer, dropout=0.0)


def dropout_of(probability: float) -> Variants:
    def variants(layer: Layer) -> Iterator[Layer]:
        if layer.kind.weighted and layer.dropout != probability:
            yield replace(layer, dropout=probability)

    return variants


def pool_kind(letter: str) -> Variants:
    def variants(layer: Layer) -> Iterator[Layer]:
        if layer.kind.number == "kernel" and layer.kind.letter != letter:
            yield replace(of_kind(layer, letter), kernel=layer.kernel, dilation=1)

    return variants


def widths(layer: Layer, *, wider: bool) -> list[int]:
    """Return the widths to try, the nearest first: down to a half, or up to twice the present one."""
    if layer.kind.number != "width" or layer.number is None:
        return []
    width, step = layer.number, STEP if layer.number >= 2 * STEP else 1
    if wider:
        first = (width // step + 1) * step
        return list(range(first, 2 * width + step, step))
    return list(range((width - 1) // step * step, max(1, width // 2) - 1, -step))


def pool_to_stride(net: Net) -> Iterator[Change]:
    """Remove a pool, and give the convolution before it the stride of the pool."""
    layers = written_layers(net)
    for before, pool in pairwise(layers):
        if pool.kind.number == "kernel" and before.kind.convolution:
            moved = replace(before, stride=before.stride * pool.stride)
            yield replacement(net, before, str(moved)), replacement(net, pool, "")


def head_changes(net: Net) -> Iterator[Change]:
    """Insert or remove global average pooling before the last layers, and change their kind."""
    layers = written_layers(net)
    for layer in layers[-3:]:
        yield (Edit(layer.position, "", "G "),)
        if layer.kind.letter == "G":
            yield (replacement(net, layer, ""),)
        for letter in {"F": "P", "P": "F", "C": "F"}.get(layer.kind.letter, ""):
            other = f"{letter}{layer.number}"
            yield (replacement(net, layer, other),)
            yield (replacement(net, layer, f"G {other}"),)
            if layers[-1].kind.letter == "G":
                yield replacement(net, layer, ""), replacement(net, layers[-1], f"G {other}")


def residuals(net: Net) -> Iterator[Change]:
    """Put one layer, or two adjacent ones, into a residual."""
    layers = written_layers(net)
    for first, last in [*zip(layers, layers, strict=True), *pairwise(layers)]:
        yield Edit(first.position, "", "+("), Edit(last.position + last.length, "", ")")


def without_residuals(net: Net) -> Iterator[Change]:
    """Write one residual without its +( )."""
    for residual in _residuals([item for block in net.blocks for item in block]):
        end = _closing(net.text, residual.position)
        yield (
            Edit(
                residual.position,
                net.text[residual.position : net.text.index("(", residual.position) + 1],
                "",
            ),
            Edit(end, f"){_sum_activation(net.text[end + 1 :])}", ""),
        )


def block_borders(net: Net) -> Iterator[Change]:
    """Insert or remove one border between blocks."""
    for layer in written_layers(net)[1:]:
        yield (Edit(layer.position, "", "/ "),)
    for position, char in enumerate(net.text):
        if char == "/":
            yield (Edit(position, "/", ""),)


def _written(items: tuple[Item, ...]) -> Iterator[Layer]:
    for item in items:
        if isinstance(item, Layer):
            yield item
        else:
            yield from _written(item.items)


def _residuals(items: Iterable[Item]) -> Iterator[Residual]:
    for item in items:
        if isinstance(item, Residual):
            yield item
        if isinstance(item, Residual | Repeat):
            yield from _residuals(item.items)


def _sum_activation(text: str) -> str:
    """Return the activation of the sum of a residual, which `text` may begin with."""
    match = re.match(r":a[a-z-]+", text)
    return match[0] if match else ""


def _closing(text: str, start: int) -> int:
    """Return the position of the parenthesis that closes the first one after `start`."""
    depth = 0
    for position in range(text.index("(", start), len(text)):
        depth += {"(": 1, ")": -1}.get(text[position], 0)
        if depth == 0:
            return position
    raise ValueError("unbalanced parentheses")
