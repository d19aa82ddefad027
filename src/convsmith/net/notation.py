"""From text to spec: the parser of the notation, with errors that point at the character.

    net      = block { "/" block }
    block    = item { item }
    item     = ( layer | "(" block ")" | "+(" block ")" [ ":a" value ] ) [ "*" times ]
    layer    = KIND [ number ] { ":" option value }
    value    = number, for o a decimal number, for a the name of an activation

>>> net = parse("C16 +(C16)*2 / C32:s2 / G F10")
>>> len(net.blocks), str(net.blocks[0][1])
(3, '+(C16)*2')
"""

import re

from convsmith.errors import NotationError, suggest
from convsmith.net.layers.layer import MAX_NUMBER, OPTIONS, Kind, Layer
from convsmith.net.layers.registry import ACTIVATIONS, KINDS
from convsmith.net.spec import Item, Net, Repeat, Residual, caret

# Far above any small net; they limit the memory for untrusted input.
MAX_TEXT = 10_000
MAX_TIMES = 256
MAX_DEPTH = 16
MAX_LAYERS = 4_096

_NUMBER = re.compile(r"[0-9]+")
_NAME = re.compile(r"[a-z-]+")
_VALUE = re.compile(r"[0-9]+(\.[0-9]+)?")


def parse(text: str) -> Net:
    """Parse the notation of a net.

    Args:
        text: For example `"C16 C16 C16:s2 / G F10"`.

    Raises:
        NotationError: With the position, the expected input and a suggestion.
    """
    if len(text) > MAX_TEXT:
        raise NotationError(f"the notation has {len(text):,} characters, at most {MAX_TEXT:,} are allowed")
    return _Reader(text).net()


class _Reader:
    """A cursor over the text. Each method parses one rule of the grammar above."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.num_layers = 0

    def net(self) -> Net:
        blocks = [self.block(depth=0)]
        while self.peek() == "/":
            self.at += 1
            blocks.append(self.block(depth=0))
        if self.at < len(self.text):
            raise self.error(
                "this parenthesis was never opened", fix="remove it, or open it with '(' or '+('"
            )
        return Net(blocks=tuple(blocks), text=self.text)

    def block(self, *, depth: int) -> tuple[Item, ...]:
        items: list[Item] = []
        while (char := self.peek()) and char not in "/)":
            items += self.item(depth=depth)
        if not items:
            raise self.error(f"expected a layer, found {_quoted(char)}", fix=_kinds_sentence())
        return tuple(items)

    def item(self, *, depth: int) -> tuple[Item, ...]:
        before, start = self.num_layers, self.at
        items = self.group(depth=depth) if self.peek() in {"(", "+"} else (self.layer(),)
        if self.peek() == "*":
            self.at += 1
            times = self.number("a number of repeats", minimum=1, maximum=MAX_TIMES)
            self.num_layers = before + (self.num_layers - before) * times
            items = (Repeat(items=items, times=times),) if times > 1 else items
        if self.num_layers > MAX_LAYERS:
            raise self.error(f"the net has more than {MAX_LAYERS:,} layers", at=start)
        return items

    def group(self, *, depth: int) -> tuple[Item, ...]:
        start = self.at
        residual = self.text[self.at] == "+"
        if depth >= MAX_DEPTH:
            raise self.error(f"parentheses are more than {MAX_DEPTH} deep")
        if residual:
            self.at += 1
            if self.peek() != "(":
                raise self.error("expected '(' after '+'", fix="a residual is written +(C16 C16)")
        self.at += 1
        inner = self.block(depth=depth + 1)
        if self.peek() == "/":
            raise self.error("a block cannot end inside parentheses", fix="close the parenthesis before '/'")
        if self.peek() != ")":
            raise self.error("this parenthesis is never closed", at=start, fix="close it with ')'")
        self.at += 1
        if not residual:
            return inner
        return (Residual(items=inner, activation=self.sum_activation(), position=start),)

    def sum_activation(self) -> str:
        """The activation of the sum of a residual, its only option."""
        if self.char() != ":":
            return ""
        self.at += 1
        if self.char() != "a":
            raise self.error(
                f"expected an option of a residual, found {_quoted(self.char())}",
                fix="a residual takes a (activation), which follows the sum: +(C16 C16:anone):arelu",
            )
        self.at += 1
        name = self.activation()
        self.layer_end()
        return "" if name == "none" else name

    def layer(self) -> Layer:
        start = self.at
        letter = self.text[start]
        kind = KINDS.get(letter)
        if kind is None:
            hint = KINDS.get(letter.upper())
            fix = f"write {hint.letter} for {hint.name}" if hint else _kinds_sentence()
            raise self.error(f"unknown layer kind {letter!r}", fix=fix)
        self.at += 1
        number = self.layer_number(kind)
        values = self.options(kind)
        self.layer_end()
        self.num_layers += 1
        return kind.layer(number, values, position=start, length=self.at - start)

    def layer_number(self, kind: Kind) -> int | None:
        if kind.number == "none":
            if self.char().isdigit():
                raise self.error(f"{kind.letter} ({kind.name}) takes no number", fix=f"write {kind.letter}")
            return None
        what = {"width": "channels", "kernel": "a kernel size", "factor": "a factor"}[kind.number]
        minimum = 2 if kind.number == "factor" else 1
        return self.number(f"{what} after {kind.letter} ({kind.name})", minimum=minimum, maximum=MAX_NUMBER)

    def options(self, kind: Kind) -> dict[str, float | str]:
        values: dict[str, float | str] = {}
        while self.char() == ":":
            self.at += 1
            letter = self.char()
            allowed = ", ".join(f"{o} ({OPTIONS[o].name})" for o in kind.options) or "no options"
            if letter not in OPTIONS or letter not in kind.options:
                raise self.error(
                    f"expected an option of {kind.letter}, found {_quoted(letter)}",
                    fix=f"{kind.letter} ({kind.name}) takes {allowed}",
                )
            if letter in values:
                raise self.error(f"option {letter!r} appears twice")
            self.at += 1
            values[letter] = self.option_value(letter)
        return values

    def option_value(self, letter: str) -> float | str:
        option = OPTIONS[letter]
        if letter == "o":
            return self.probability()
        if letter == "a":
            return self.activation()
        return self.number(f"a value for {option.name}", minimum=option.minimum, maximum=option.maximum)

    def activation(self) -> str:
        match = _NAME.match(self.text, self.at)
        name, names = match[0] if match else "", [*ACTIVATIONS, "none"]
        if name not in names:
            actual = _quoted(name or self.char())
            raise self.error(f"expected the name of an activation, found {actual}", fix=suggest(name, names))
        self.at += len(name)
        return name

    def probability(self) -> float:
        start, match = self.at, _VALUE.match(self.text, self.at)
        if match is None or float(match[0]) >= 1:
            raise self.error(
                "expected a dropout probability from 0 up to, not including, 1", fix="write :o0.1"
            )
        self.at = match.end()
        if self.char() == ".":
            raise self.error("expected one decimal number", at=start)
        return float(match[0])

    def layer_end(self) -> None:
        char = self.char()
        if char and not char.isspace() and char not in "/)*":
            raise self.error(
                f"expected a space, ':', '*' or '/', found {char!r}",
                fix="separate layers by a space and blocks by '/'",
            )

    def number(self, what: str, *, minimum: int, maximum: int) -> int:
        match = _NUMBER.match(self.text, self.at)
        if match is None:
            raise self.error(f"expected {what}, found {_quoted(self.char())}")
        # Length first: int() of a very long text is slow.
        if len(match[0]) > 9 or not minimum <= int(match[0]) <= maximum:
            raise self.error(f"expected {what} from {minimum} to {maximum:,}, found {match[0][:20]}")
        self.at = match.end()
        return int(match[0])

    def char(self) -> str:
        return self.text[self.at : self.at + 1]

    def peek(self) -> str:
        while self.char().isspace():
            self.at += 1
        return self.char()

    def error(self, what: str, *, fix: str = "", at: int | None = None) -> NotationError:
        at = self.at if at is None else at
        return NotationError(what, where=f"net, character {at + 1}", context=caret(self.text, at), fix=fix)


def _quoted(text: str) -> str:
    return repr(text) if text else "the end of the text"


def _kinds_sentence() -> str:
    return "the kinds are " + ", ".join(f"{kind.letter} ({kind.name})" for kind in KINDS.values())
