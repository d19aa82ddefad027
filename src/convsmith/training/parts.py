"""The head of a net and the blocks below it: which of them are frozen, and their learning rates.

Everything follows from the names of the layers in the order in which they run, so that a net in the notation
needs no torch.

- The head is the last convolution or linear layer that runs, with the layers after it that have weights.
- A block is a direct part of the net, as `block2` or `layer3`. A part that is a list of parts with layers of
  their own counts as these, as `layer3.0` and `layer3.1`. A net inside a wrapper has the parts of the inner
  one. A single norm belongs to the block before it.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from convsmith.errors import RecipeError, suggest
from convsmith.text import in_line, join_first, plural
from convsmith.training.config import Layers, TrainConfig

# Names of parts in recipes that are no names of layers.
BODY, HEAD = "body", "head"
_MAX_LISTED = 8


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The layers of a net with weights or running statistics, by their names.

    Attributes:
        blocks: The layers of each block, from the input to the head.
        head: The layers of the head.
    """

    blocks: tuple[tuple[str, ...], ...]
    head: tuple[str, ...]

    @property
    def body(self) -> tuple[str, ...]:
        """All layers below the head."""
        return tuple(name for block in self.blocks for name in block)

    def select(self, layers: Layers, where: str) -> frozenset[str]:
        """Return the layers that a field of a recipe names.

        Args:
            layers: "body", "head", the name or pattern of a layer or of a part with layers, a list of these,
                or a number of blocks from the input.
            where: The field, for errors.

        Raises:
            RecipeError: A name matches nothing, or there are fewer blocks.

        Example:
            >>> parts = parts_of(["block1.conv1", "block1.norm1", "block2.conv1", "block3.linear1"])
            >>> sorted(parts.select(("block1.conv*", "head"), "train.freeze"))
            ['block1.conv1', 'block3.linear1']
            >>> sorted(parts.select(1, "train.freeze"))
            ['block1.conv1', 'block1.norm1']
        """
        if isinstance(layers, int):
            return self._first(layers, where)
        names = (layers,) if isinstance(layers, str) else layers
        return frozenset(layer for name in names for layer in self._matching(name, where))

    def _first(self, count: int, where: str) -> frozenset[str]:
        if count > len(self.blocks):
            raise RecipeError(
                f"found {count} blocks, expected at most {len(self.blocks)}, those below the head: "
                f"{_listed([_common(block) for block in self.blocks])}",
                where=where,
                fix=f'write {where}="{BODY}" for all but the head',
            )
        return frozenset(name for block in self.blocks[:count] for name in block)

    def _matching(self, pattern: str, where: str) -> Collection[str]:
        if pattern in {BODY, HEAD}:
            return self.body if pattern == BODY else self.head
        layers = (*self.body, *self.head)
        found = [name for name in layers if any(fnmatchcase(each, pattern) for each in _paths(name))]
        if not found:
            names = dict.fromkeys(path for name in layers for path in _paths(name))
            near = suggest(pattern, [BODY, HEAD, *names])
            raise RecipeError(
                f"no layer with weights is called {in_line(pattern)!r}",
                where=where,
                fix=near
                if near.startswith("did you mean")
                else f"name {BODY!r}, {HEAD!r}, a part or a layer: {_listed(self._names())}",
            )
        return found

    def _names(self) -> list[str]:
        return [*(_common(block) for block in self.blocks), *self.head]

    def factors(self, config: TrainConfig) -> dict[str, float]:
        """Return the factor on the learning rate of each layer whose factor is not 1.

        `train.layer_decay` counts once for the last block, twice for the one before it, and so on. The last
        entry of `train.layer_rates` that names a layer counts besides.

        Raises:
            RecipeError: An entry names no layer.

        Example:
            >>> parts = parts_of(["block1.conv1", "block2.conv1", "block3.linear1"])
            >>> parts.factors(TrainConfig(epochs=1, layer_decay=0.5))
            {'block1.conv1': 0.25, 'block2.conv1': 0.5}
        """
        factors = dict.fromkeys((*self.body, *self.head), 1.0)
        for depth, block in enumerate(reversed(self.blocks), start=1):
            factors |= dict.fromkeys(block, (config.layer_decay or 1.0) ** depth)
        rates = dict.fromkeys(factors, 1.0)
        for number, entry in enumerate(config.layer_rates or ()):
            chosen = self.select(entry.layers, f"train.layer_rates.{number}.layers")
            rates |= dict.fromkeys(chosen, entry.factor)
        return {name: factors[name] * rates[name] for name in factors if factors[name] * rates[name] != 1}

    def frozen(self, config: TrainConfig) -> frozenset[str]:
        """Return the layers that `train.freeze` names, for the whole training or its first epochs.

        Raises:
            RecipeError: It names no layer, or leaves none to be trained, if only in the first epochs.
        """
        if config.freeze is None:
            return frozenset()
        chosen = self.select(config.freeze, "train.freeze")
        if chosen >= {*self.body, *self.head}:
            raise nothing_left(config)
        return chosen


def nothing_left(config: TrainConfig, what: str = "layer") -> RecipeError:
    """Return the error for a freeze that leaves no layer, or no weight, to be trained."""
    when = " in the first epochs" if config.freeze_epochs else ""
    return RecipeError(
        f"every {what} is frozen, so that nothing is trained{when}",
        where="train.freeze",
        fix=f'freeze all but the head: train.freeze="{BODY}"',
    )


def parts_of(
    layers: Sequence[str], head: Collection[str] | None = None, *, norms: Collection[str] = ()
) -> Parts:
    """Divide a net into blocks and the head.

    Args:
        layers: The names of all layers with weights or running statistics, in the order in which they run.
        head: The layers of the head; by default the last one.
        norms: Which layers are norms.

    Example:
        >>> layers = ["conv1", "bn1", "layer1.0.conv1", "layer1.0.bn1", "layer1.1.conv1", "fc"]
        >>> parts = parts_of(layers, norms={"bn1"})
        >>> parts.blocks
        (('conv1', 'bn1'), ('layer1.0.conv1', 'layer1.0.bn1'), ('layer1.1.conv1',))
        >>> parts.head
        ('fc',)
    """
    head = set(layers[-1:] if head is None else head)
    below = [name for name in layers if name not in head]
    blocks: list[tuple[str, ...]] = []
    for part in _split(_unwrapped([*layers]), layers):
        block = tuple(name for name in below if name in part)
        if blocks and len(block) == 1 and block[0] in norms:
            blocks[-1] = (*blocks[-1], *block)
        elif block:
            blocks.append(block)
    return Parts(blocks=tuple(blocks), head=tuple(name for name in layers if name in head))


def _unwrapped(layers: Sequence[str]) -> str:
    """Return the path of the part that holds all layers and has several parts; "" is the net itself."""
    path = ""
    while True:
        inside = {_next(name, path) for name in layers}
        if len(inside) != 1 or path in layers or inside <= set(layers):
            return path
        (path,) = inside


def _split(path: str, layers: Sequence[str]) -> Iterator[Collection[str]]:
    """Yield the layers of each part of a part, lists of parts divided into theirs."""
    groups: dict[str, list[str]] = {}
    for name in layers:
        groups.setdefault(_next(name, path), []).append(name)
    for part, names in groups.items():
        inner = {_next(name, part) for name in names}
        numbers = all(each.rpartition(".")[2].isdecimal() for each in inner)
        is_list = numbers and not inner & set(names)
        # A part that only wraps another one.
        is_wrapper = len(inner) == 1 and not inner & set(names)
        if part not in names and (is_list or is_wrapper):
            yield from _split(part, names)
        else:
            yield names


def _next(name: str, path: str) -> str:
    """Return the path of the part of `path` that a layer is in; the layer's own if it is `path` itself."""
    rest = name[len(path) + 1 if path else 0 :]
    return ".".join(filter(None, (path, rest.partition(".")[0])))


def _paths(name: str) -> list[str]:
    """Return a name and those of all parts that it is in.

    >>> _paths("layer1.0.conv1")
    ['layer1', 'layer1.0', 'layer1.0.conv1']
    """
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts) + 1)]


def _common(block: Sequence[str]) -> str:
    """Return the longest path that all layers of a block are in; the first layer if there is none."""
    shared = [path for path in _paths(block[0]) if all(path in _paths(name) for name in block)]
    return shared[-1] if shared else block[0]


def _listed(names: Sequence[str]) -> str:
    return join_first(map(in_line, names), _MAX_LISTED)


def describe(config: TrainConfig) -> Iterator[str]:
    """Yield what is frozen and which layers learn slower, in sentences without a full stop.

    Example:
        >>> for line in describe(TrainConfig(epochs=5, freeze="body", freeze_epochs=2, layer_decay=0.5)):
        ...     print(line)
        all layers but the head are frozen for the first 2 epochs, with their running statistics
        the learning rate of each block is 0.5 times that of the next one, from the head down
    """
    if config.freeze is not None:
        span = f" for the first {plural(config.freeze_epochs, 'epoch')}" if config.freeze_epochs else ""
        if config.freeze_epochs == 1:
            span = " for the first epoch"
        yield f"{_named(config.freeze)} are frozen{span}, with their running statistics"
    if config.layer_decay is not None:
        yield (
            f"the learning rate of each block is {config.layer_decay:g} times that of the next one, from the "
            "head down"
        )
    for entry in config.layer_rates or ():
        yield f"the learning rate of {_named(entry.layers)} is multiplied by {entry.factor:g}"


def _named(layers: Layers) -> str:
    if isinstance(layers, int):
        return "the layers of the first block" if layers == 1 else f"the layers of the first {layers} blocks"
    if layers in (BODY, (BODY,)):
        return "all layers but the head"
    return f"the layers {_listed([layers] if isinstance(layers, str) else layers)}"
