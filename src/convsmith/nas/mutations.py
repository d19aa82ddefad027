"""Random mutations of a net in the notation; the result may not fit its input or its brief."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random

from convsmith.net.layers.layer import Layer
from convsmith.net.layers.registry import KINDS
from convsmith.net.spec import Item, Net, Repeat, Residual

# Depthwise filters are cheap, so large ones are worthwhile.
_KERNELS = {"C": (3, 5), "S": (3, 5, 7), "D": (3, 5, 7)}
_DILATIONS = (1, 2, 3, 4)
_WIDTH_FACTORS = (0.5, 0.67, 0.75, 0.85, 1.15, 1.25, 1.33, 1.5, 2.0)
_OTHER_KINDS = {"C": "SSP", "S": "CCP", "P": "CS"}
_MIN_CHANNELS, _MAX_CHANNELS = 4, 1024
_MAX_RESIDUAL_LAYERS = 3

Path = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class LayerPosition:
    """A layer and its path: the index of its block, then its index in the block and in each residual."""

    path: Path
    layer: Layer


@dataclass(frozen=True, kw_only=True)
class MutableNet:
    """A net and its layers that may change.

    Attributes:
        net: Without repeats.
        convolutions: Those between the input and the head, except a first layer that is kept.
        resizable: The layers whose width may change: convolutions and hidden layers of the head, never the
            classifier.
    """

    net: Net
    convolutions: tuple[LayerPosition, ...]
    resizable: tuple[LayerPosition, ...]

    @classmethod
    def of(cls, net: Net, *, keep_first: bool) -> "MutableNet":
        """Determine which layers of a net may change.

        Args:
            net: The net.
            keep_first: Whether the first layer is fixed, since it whitens.

        Example:
            >>> from convsmith.net.notation import parse
            >>> mutable = MutableNet.of(parse("C8 +(C16)*2 / G F20 F10"), keep_first=True)
            >>> str(mutable.net), [str(each.layer) for each in mutable.resizable]
            ('C8 +(C16) +(C16) / G F20 F10', ['C16', 'C16', 'F20'])
        """
        net = Net(blocks=tuple(tuple(_unroll(block)) for block in net.blocks))
        positions = tuple(_positions(net))
        weighted = [each for each in positions if each.layer.kind.weighted]
        in_head = (at for at, each in enumerate(positions) if each.layer.kind.letter in "GF")
        head = next(in_head, len(positions))
        fixed = {weighted[-1].path, *([weighted[0].path] if keep_first else [])}
        convolutions = tuple(
            each
            for each in positions[:head]
            if each.layer.kind.convolution and each.path not in fixed
        )  # fmt: skip
        resizable = tuple(
            each
            for each in weighted
            if each.path not in fixed
            and each.layer.number
            and (each in convolutions or each in positions[head:])
        )
        return cls(net=net, convolutions=convolutions, resizable=resizable)


# A net and the description of its mutation.
Mutant = tuple[Net, str]
Mutation = Callable[[MutableNet, Random], Mutant | None]


def widen(mutable: MutableNet, random: Random) -> Mutant | None:
    """Change the width of one layer."""
    position = _choose(mutable.resizable, random)
    if position is None or position.layer.number is None:
        return None
    width = round_width(position.layer.number * random.choice(_WIDTH_FACTORS))
    return _replace_layer(mutable.net, position, f"to {width} channels", number=width)


def scale(mutable: MutableNet, random: Random) -> Mutant | None:
    """Make all layers wider or narrower."""
    factor = random.choice((0.8, 0.9, 1.1, 1.25))
    return scale_widths(mutable, factor), f"all widths times {factor:g}"


def swap_kind(mutable: MutableNet, random: Random) -> Mutant | None:
    """Turn a convolution, depthwise-separable or pointwise layer into another of these kinds."""
    choices = [each for each in mutable.convolutions if each.layer.kind.letter in _OTHER_KINDS]
    position = _choose(choices, random)
    if position is None:
        return None
    letter = random.choice(_OTHER_KINDS[position.layer.kind.letter])
    kernel = 1 if letter == "P" else max(3, position.layer.kernel)
    dilation = 1 if letter == "P" else position.layer.dilation
    kind = KINDS[letter]
    return _replace_layer(
        mutable.net,
        position,
        f"to a {kind.name}",
        kind=kind,
        kernel=kernel,
        dilation=dilation,
        padding=None,
        groups=1,
    )


def change_kernel(mutable: MutableNet, random: Random) -> Mutant | None:
    position = _choose([each for each in mutable.convolutions if each.layer.kind.letter in _KERNELS], random)
    if position is None:
        return None
    kernel = random.choice(_KERNELS[position.layer.kind.letter])
    return _replace_layer(mutable.net, position, f"to {kernel}x{kernel}", kernel=kernel, padding=None)


def change_dilation(mutable: MutableNet, random: Random) -> Mutant | None:
    position = _choose([each for each in mutable.convolutions if each.layer.kind.letter in _KERNELS], random)
    if position is None:
        return None
    dilation = random.choice(_DILATIONS)
    return _replace_layer(mutable.net, position, f"to dilation {dilation}", dilation=dilation, padding=None)


def move_stride(mutable: MutableNet, random: Random) -> Mutant | None:
    """Downsample one or two layers earlier or later."""
    at = [index for index, position in enumerate(mutable.convolutions) if position.layer.stride > 1]
    if not at:
        return None
    index = random.choice(at)
    other = index + random.choice((-2, -1, 1, 2))
    if not 0 <= other < len(mutable.convolutions) or mutable.convolutions[other].layer.stride > 1:
        return None
    source, target = mutable.convolutions[index], mutable.convolutions[other]
    net = _replace_items(mutable.net, source.path, (replace(source.layer, stride=1, padding=None),))
    if net is None:
        return None
    net = _replace_items(net, target.path, (replace(target.layer, stride=source.layer.stride, padding=None),))
    when = "later" if other > index else "earlier"
    return None if net is None else (net, f"the stride of {source.layer} moved {when}")


def deepen(mutable: MutableNet, random: Random) -> Mutant | None:
    """Repeat a layer without its stride, sometimes as a residual."""
    position = _choose(mutable.convolutions, random)
    if position is None:
        return None
    copy: Item = replace(position.layer, stride=1, padding=None)
    if random.random() < 0.3:
        copy = Residual(items=(copy,))
    net = _replace_items(mutable.net, position.path, (position.layer, copy))
    return None if net is None else (net, f"{copy} after {position.layer}")


def shorten(mutable: MutableNet, random: Random) -> Mutant | None:
    """Remove a layer; its stride moves to a neighbour."""
    if len(mutable.convolutions) < 2:
        return None
    index = random.randrange(len(mutable.convolutions))
    position, net = mutable.convolutions[index], mutable.net
    if position.layer.stride > 1:
        neighbour = mutable.convolutions[index - 1 if index else 1]
        if neighbour.layer.stride > 1:
            return None
        strided = replace(neighbour.layer, stride=position.layer.stride, padding=None)
        moved = _replace_items(net, neighbour.path, (strided,))
        net = moved or net
    shorter = _replace_items(net, position.path, ())
    return None if shorter is None else (shorter, f"without {position.layer}")


def add_residual(mutable: MutableNet, random: Random) -> Mutant | None:
    """Add a skip connection over one to three consecutive layers."""
    position = _choose([each for each in mutable.convolutions if len(each.path) == 2], random)
    if position is None:
        return None
    block, start = position.path
    paths = {each.path for each in mutable.convolutions}
    items = mutable.net.blocks[block]
    end = start
    for end in range(start, min(len(items), start + random.randint(1, _MAX_RESIDUAL_LAYERS))):
        item = items[end]
        if (block, end) not in paths or not isinstance(item, Layer) or item.stride > 1:
            break
    else:
        end += 1
    if end == start:
        return None
    inner = tuple(replace(item, padding=None) for item in items[start:end] if isinstance(item, Layer))
    wrapped = Residual(items=inner)
    return _replace_block(
        mutable.net, block, (*items[:start], wrapped, *items[end:])
    ), f"a skip connection: {wrapped}"


def drop_residual(mutable: MutableNet, random: Random) -> Mutant | None:
    """Remove a skip connection."""
    residuals = [
        (number, at, item)
        for number, block in enumerate(mutable.net.blocks)
        for at, item in enumerate(block)
        if isinstance(item, Residual)
    ]
    if not residuals:
        return None
    number, at, item = random.choice(residuals)
    block, items = mutable.net.blocks[number], item.items
    if item.activation and isinstance(items[-1], Layer):
        items = (*items[:-1], replace(items[-1], activation=item.activation))
    return (
        _replace_block(mutable.net, number, (*block[:at], *items, *block[at + 1 :])),
        f"no skip connection over {item}",
    )


# With their relative frequencies.
MUTATIONS: dict[Mutation, int] = {
    widen: 5,
    scale: 1,
    swap_kind: 2,
    change_kernel: 2,
    change_dilation: 2,
    move_stride: 2,
    deepen: 3,
    shorten: 2,
    add_residual: 2,
    drop_residual: 1,
}


def mutate(net: Net, random: Random, *, keep_first: bool) -> Mutant | None:
    """Apply a random mutation; return None if it does not apply to the net.

    Example:
        >>> from convsmith.net.notation import parse
        >>> mutant = mutate(parse("C16 C16:s2 / G F10"), Random(3), keep_first=False)
        >>> mutant is not None and str(mutant[0]) != "C16 C16:s2 / G F10"
        True
    """
    (mutation,) = random.choices(list(MUTATIONS), list(MUTATIONS.values()))
    mutant = mutation(MutableNet.of(net, keep_first=keep_first), random)
    return None if mutant is None or str(mutant[0]) == str(net) else mutant


def scale_widths(mutable: MutableNet, factor: float) -> Net:
    """Multiply all resizable widths by a factor."""
    net = mutable.net
    for position in mutable.resizable:
        assert position.layer.number is not None
        replaced = _replace_items(
            net, position.path, (replace(position.layer, number=round_width(position.layer.number * factor)),)
        )
        net = replaced or net
    return net


def round_width(width: float) -> int:
    """Round a width to a multiple of 2, 4 or 8, which suits vector units; wider layers are rounded coarser.

    >>> round_width(13.2), round_width(27), round_width(75.4)
    (14, 28, 72)
    """
    multiple = 2 if width < 16 else 4 if width < 32 else 8
    return min(_MAX_CHANNELS, max(_MIN_CHANNELS, multiple * round(width / multiple)))


def _choose(positions: Sequence[LayerPosition], random: Random) -> LayerPosition | None:
    return random.choice(positions) if positions else None


def _replace_layer(net: Net, position: LayerPosition, description: str, **values: object) -> Mutant | None:
    replaced = _replace_items(net, position.path, (replace(position.layer, **values),))  # type: ignore[arg-type]
    return None if replaced is None else (replaced, f"{position.layer} {description}")


def _replace_block(net: Net, number: int, items: tuple[Item, ...]) -> Net:
    return Net(blocks=(*net.blocks[:number], items, *net.blocks[number + 1 :]))


def _replace_items(net: Net, path: Path, items: Sequence[Item]) -> Net | None:
    """Replace the item at a path; return None if a block or residual would become empty."""
    block, *inside = path
    items = _replace_in(net.blocks[block], inside, items)
    return _replace_block(net, block, items) if items else None


def _replace_in(items: tuple[Item, ...], path: Sequence[int], new: Sequence[Item]) -> tuple[Item, ...]:
    at, *inside = path
    if inside:
        group = items[at]
        assert isinstance(group, Residual)
        inner = _replace_in(group.items, inside, new)
        new = (replace(group, items=inner),) if inner else ()
    return (*items[:at], *new, *items[at + 1 :])


def _positions(net: Net) -> Iterator[LayerPosition]:
    for number, block in enumerate(net.blocks):
        yield from _positions_in(block, (number,))


def _positions_in(items: Sequence[Item], path: Path) -> Iterator[LayerPosition]:
    for at, item in enumerate(items):
        if isinstance(item, Layer):
            yield LayerPosition(path=(*path, at), layer=item)
        else:
            yield from _positions_in(item.items, (*path, at))


def _unroll(items: Sequence[Item]) -> Iterator[Item]:
    for item in items:
        if isinstance(item, Repeat):
            for _ in range(item.times):
                yield from _unroll(item.items)
        elif isinstance(item, Residual):
            yield replace(item, items=tuple(_unroll(item.items)))
        else:
            yield item
