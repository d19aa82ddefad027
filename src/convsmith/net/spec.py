"""The parsed notation: frozen records of residuals, repeats and nets."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from convsmith.net.layers.layer import Layer


@dataclass(frozen=True, kw_only=True)
class Residual:
    """`+( ... )`: the input plus the output of the layers; the input is projected if the shapes differ.

    Attributes:
        activation: That of the sum, `:arelu`; empty for none.
    """

    items: tuple["Item", ...]
    activation: str = ""
    position: int = field(default=0, compare=False)

    def __str__(self) -> str:
        return f"+({text_of(self.items)}){f':a{self.activation}' if self.activation else ''}"


@dataclass(frozen=True, kw_only=True)
class Repeat:
    """`item*N` or `( ... )*N`: the same layers N times, with separate weights."""

    items: tuple["Item", ...]
    times: int

    def __str__(self) -> str:
        inner = text_of(self.items)
        single = len(self.items) == 1 and not isinstance(self.items[0], Repeat)
        return f"{inner if single else f'({inner})'}*{self.times}"


Item = Layer | Residual | Repeat


@dataclass(frozen=True, kw_only=True)
class Net:
    """A net: blocks of items. `str(net)` is the canonical notation, `text` the original one.

    >>> from convsmith.net.notation import parse
    >>> str(parse("C16:s1  C32:k3:s2/G F10"))
    'C16 C32:s2 / G F10'
    """

    blocks: tuple[tuple[Item, ...], ...]
    text: str = field(default="", compare=False)

    def __str__(self) -> str:
        return " / ".join(text_of(block) for block in self.blocks)

    def layers(self) -> Iterator[Layer]:
        """Yield all layers in the order of execution, repeats unrolled."""
        return (item for item in self.items() if isinstance(item, Layer))

    def items(self) -> Iterator[Layer | Residual]:
        """Yield all layers and residuals, a residual before its items, repeats unrolled."""
        for block in self.blocks:
            yield from _unrolled(block)


def text_of(items: tuple[Item, ...]) -> str:
    return " ".join(map(str, items))


def _unrolled(items: tuple[Item, ...]) -> Iterator[Layer | Residual]:
    for item in items:
        if isinstance(item, Repeat):
            for _ in range(item.times):
                yield from _unrolled(item.items)
        else:
            yield item
            if isinstance(item, Residual):
                yield from _unrolled(item.items)


def caret(text: str, position: int, length: int = 1) -> str:
    """Return the text with a mark under one position; a long text is cut around it.

    >>> print(caret("C16 X32 / G F10", 4))
    C16 X32 / G F10
        ^
    """
    start = max(0, position - 60)
    excerpt = text[start : start + 120]
    line = ("..." if start else "") + excerpt + ("..." if start + 120 < len(text) else "")
    # Tabs and line breaks would displace the mark.
    line = "".join(char if char.isprintable() else " " for char in line)
    offset = position - start + (3 if start else 0)
    return f"{line}\n{' ' * offset}{'^' * max(1, min(length, len(line) - offset))}"
