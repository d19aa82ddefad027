"""Small changes of a net in the notation, drawn at random; what comes out may still not fit anything."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random

from convsmith.net.layers.layer import Layer
from convsmith.net.layers.registry import KINDS
from convsmith.net.spec import Item, Net, Repeat, Residual

# Depthwise filters are cheap, so that large ones pay.
_KERNELS = {"C": (3, 5), "S": (3, 5, 7), "D": (3, 5, 7)}
_DILATIONS = (1, 2, 3, 4)
_WIDTH_FACTORS = (0.5, 0.67, 0.75, 0.85, 1.15, 1.25, 1.33, 1.5, 2.0)
_OTHER_KINDS = {"C": "SSP", "S": "CCP", "P": "CS"}
_FEWEST_CHANNELS, _MOST_CHANNELS = 4, 1024
_LONGEST_RESIDUAL = 3

Path = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Spot:
    """A layer, and where it is: its block, its place there, and in each residual around it."""

    path: Path
    layer: Layer


@dataclass(frozen=True, kw_only=True)
class Body:
    """The layers of a net that may change.

    Attributes:
        net: Without repeats.
        free: Convolutions between the input and the head; not a first layer that is to stay as it is.
        sized: Those whose width may change: free ones, and hidden layers of the head. Never the classifier.
    """

    net: Net
    free: tuple[Spot, ...]
    sized: tuple[Spot, ...]

    @classmethod
    def of(cls, net: Net, *, keep_first: bool) -> "Body":
        """Find out what may change.

        Args:
            net: Any.
            keep_first: The first layer stays as it is, since it whitens.

        Example:
            >>> from convsmith.net.notation import parse
            >>> body = Body.of(parse("C8 +(C16)*2 / G F20 F10"), keep_first=True)
            >>> free, sized = ([str(spot.layer) for spot in spots] for spots in (body.free, body.sized))
            >>> str(body.net), free, sized
            ('C8 +(C16) +(C16) / G F20 F10', ['C16', 'C16'], ['C16', 'C16', 'F20'])
        """
        net = Net(blocks=tuple(tuple(_unrolled(block)) for block in net.blocks))
        spots = tuple(_spots(net))
        weighted = [spot for spot in spots if spot.layer.kind.weighted]
        head = next((at for at, spot in enumerate(spots) if spot.layer.kind.letter in "GF"), len(spots))
        fixed = {weighted[-1].path, *([weighted[0].path] if keep_first else [])}
        free = tuple(
            spot
            for spot in spots[:head]
            if spot.layer.kind.convolution and spot.path not in fixed
        )  # fmt: skip
        sized = tuple(
            spot
            for spot in weighted
            if spot.path not in fixed and spot.layer.number and (spot in free or spot in spots[head:])
        )
        return cls(net=net, free=free, sized=sized)


Change = tuple[Net, str]
Mutation = Callable[[Body, Random], Change | None]


def widen(body: Body, random: Random) -> Change | None:
    """Another number of channels for one layer."""
    spot = _one(body.sized, random)
    if spot is None or spot.layer.number is None:
        return None
    width = rounded(spot.layer.number * random.choice(_WIDTH_FACTORS))
    return _with(body.net, spot, f"to {width} channels", number=width)


def scale(body: Body, random: Random) -> Change | None:
    """All layers wider, or all narrower."""
    factor = random.choice((0.8, 0.9, 1.1, 1.25))
    return scaled(body, factor), f"all widths times {factor:g}"


def swap_kind(body: Body, random: Random) -> Change | None:
    """Convolution, depthwise-separable or pointwise in each other's place."""
    spot = _one([each for each in body.free if each.layer.kind.letter in _OTHER_KINDS], random)
    if spot is None:
        return None
    letter = random.choice(_OTHER_KINDS[spot.layer.kind.letter])
    kernel = 1 if letter == "P" else max(3, spot.layer.kernel)
    dilation = 1 if letter == "P" else spot.layer.dilation
    kind = KINDS[letter]
    return _with(
        body.net,
        spot,
        f"to a {kind.name}",
        kind=kind,
        kernel=kernel,
        dilation=dilation,
        padding=None,
        groups=1,
    )


def change_kernel(body: Body, random: Random) -> Change | None:
    spot = _one([each for each in body.free if each.layer.kind.letter in _KERNELS], random)
    if spot is None:
        return None
    kernel = random.choice(_KERNELS[spot.layer.kind.letter])
    return _with(body.net, spot, f"to {kernel}x{kernel}", kernel=kernel, padding=None)


def change_dilation(body: Body, random: Random) -> Change | None:
    spot = _one([each for each in body.free if each.layer.kind.letter in _KERNELS], random)
    if spot is None:
        return None
    dilation = random.choice(_DILATIONS)
    return _with(body.net, spot, f"to dilation {dilation}", dilation=dilation, padding=None)


def move_stride(body: Body, random: Random) -> Change | None:
    """Downsample one or two layers sooner or later."""
    at = [index for index, spot in enumerate(body.free) if spot.layer.stride > 1]
    if not at:
        return None
    index = random.choice(at)
    other = index + random.choice((-2, -1, 1, 2))
    if not 0 <= other < len(body.free) or body.free[other].layer.stride > 1:
        return None
    source, target = body.free[index], body.free[other]
    net = _put(body.net, source.path, (replace(source.layer, stride=1, padding=None),))
    if net is None:
        return None
    net = _put(net, target.path, (replace(target.layer, stride=source.layer.stride, padding=None),))
    when = "later" if other > index else "sooner"
    return None if net is None else (net, f"the stride of {source.layer} {when}")


def deepen(body: Body, random: Random) -> Change | None:
    """A layer once more, without its stride; sometimes as a residual."""
    spot = _one(body.free, random)
    if spot is None:
        return None
    again: Item = replace(spot.layer, stride=1, padding=None)
    if random.random() < 0.3:
        again = Residual(items=(again,))
    net = _put(body.net, spot.path, (spot.layer, again))
    return None if net is None else (net, f"{again} after {spot.layer}")


def shorten(body: Body, random: Random) -> Change | None:
    """Without one layer; its stride goes to a neighbour."""
    if len(body.free) < 2:
        return None
    index = random.randrange(len(body.free))
    spot, net = body.free[index], body.net
    if spot.layer.stride > 1:
        heir = body.free[index - 1 if index else 1]
        if heir.layer.stride > 1:
            return None
        left = _put(net, heir.path, (replace(heir.layer, stride=spot.layer.stride, padding=None),))
        net = left or net
    shorter = _put(net, spot.path, ())
    return None if shorter is None else (shorter, f"without {spot.layer}")


def add_residual(body: Body, random: Random) -> Change | None:
    """A skip connection over one to three layers that stand side by side."""
    spot = _one([each for each in body.free if len(each.path) == 2], random)
    if spot is None:
        return None
    block, start = spot.path
    free = {each.path for each in body.free}
    items = body.net.blocks[block]
    end = start
    for end in range(start, min(len(items), start + random.randint(1, _LONGEST_RESIDUAL))):
        item = items[end]
        if (block, end) not in free or not isinstance(item, Layer) or item.stride > 1:
            break
    else:
        end += 1
    if end == start:
        return None
    inner = tuple(replace(item, padding=None) for item in items[start:end] if isinstance(item, Layer))
    wrapped = Residual(items=inner)
    return _with_block(body.net, block, (*items[:start], wrapped, *items[end:])), f"{wrapped}"


def drop_residual(body: Body, random: Random) -> Change | None:
    """The layers of a residual without their skip connection."""
    found = [
        (number, at, item)
        for number, block in enumerate(body.net.blocks)
        for at, item in enumerate(block)
        if isinstance(item, Residual)
    ]
    if not found:
        return None
    number, at, item = random.choice(found)
    block = body.net.blocks[number]
    return (
        _with_block(body.net, number, (*block[:at], *item.items, *block[at + 1 :])),
        f"no skip over {item}",
    )


# With how often each is drawn.
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


def mutate(net: Net, random: Random, *, keep_first: bool) -> Change | None:
    """Change one thing of a net; None where the draw has no place in it.

    Example:
        >>> from convsmith.net.notation import parse
        >>> changed = mutate(parse("C16 C16:s2 / G F10"), Random(3), keep_first=False)
        >>> changed is not None and str(changed[0]) != "C16 C16:s2 / G F10"
        True
    """
    (mutation,) = random.choices(list(MUTATIONS), list(MUTATIONS.values()))
    change = mutation(Body.of(net, keep_first=keep_first), random)
    return None if change is None or str(change[0]) == str(net) else change


def scaled(body: Body, factor: float) -> Net:
    """The net with all widths that may change times a factor."""
    net = body.net
    for spot in body.sized:
        assert spot.layer.number is not None
        put = _put(net, spot.path, (replace(spot.layer, number=rounded(spot.layer.number * factor)),))
        net = put or net
    return net


def rounded(width: float) -> int:
    """To a number of channels that a machine's vectors like: multiples of 2, 4 or 8, the wider the coarser.

    >>> rounded(13.2), rounded(27), rounded(75.4)
    (14, 28, 72)
    """
    grain = 2 if width < 16 else 4 if width < 32 else 8
    return min(_MOST_CHANNELS, max(_FEWEST_CHANNELS, grain * round(width / grain)))


def _one(spots: Sequence[Spot], random: Random) -> Spot | None:
    return random.choice(spots) if spots else None


def _with(net: Net, spot: Spot, how: str, **values: object) -> Change | None:
    put = _put(net, spot.path, (replace(spot.layer, **values),))  # type: ignore[arg-type]
    return None if put is None else (put, f"{spot.layer} {how}")


def _with_block(net: Net, number: int, items: tuple[Item, ...]) -> Net:
    return Net(blocks=(*net.blocks[:number], items, *net.blocks[number + 1 :]))


def _put(net: Net, path: Path, items: Sequence[Item]) -> Net | None:
    """The net with other items at a place; None where a block or residual would be left empty."""
    block, *inside = path
    put = _put_in(net.blocks[block], inside, items)
    return _with_block(net, block, put) if put else None


def _put_in(items: tuple[Item, ...], path: Sequence[int], new: Sequence[Item]) -> tuple[Item, ...]:
    at, *inside = path
    if inside:
        group = items[at]
        assert isinstance(group, Residual)
        inner = _put_in(group.items, inside, new)
        new = (Residual(items=inner),) if inner else ()
    return (*items[:at], *new, *items[at + 1 :])


def _spots(net: Net) -> Iterator[Spot]:
    for number, block in enumerate(net.blocks):
        yield from _spots_of(block, (number,))


def _spots_of(items: Sequence[Item], path: Path) -> Iterator[Spot]:
    for at, item in enumerate(items):
        if isinstance(item, Layer):
            yield Spot(path=(*path, at), layer=item)
        else:
            yield from _spots_of(item.items, (*path, at))


def _unrolled(items: Sequence[Item]) -> Iterator[Item]:
    for item in items:
        if isinstance(item, Repeat):
            for _ in range(item.times):
                yield from _unrolled(item.items)
        elif isinstance(item, Residual):
            yield Residual(items=tuple(_unrolled(item.items)))
        else:
            yield item
