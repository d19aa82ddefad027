"""Take the weights of a net for another one, layer by layer: what fits by name and shape."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import torch
from torch import Tensor, nn

from convsmith.errors import ModuleError
from convsmith.modules.finite import check_finite
from convsmith.modules.state import is_batch_counter
from convsmith.modules.tensor_names import NameMap, name_maps
from convsmith.text import first_lines, markdown_table, one_line, plural

# Of the numbers below the head; with fewer, the weights are those of another net.
MIN_SHARE = 0.5
_MAX_LISTED = 5
_ANY_NET = "name the net that was trained, with its arguments"
# Numbers of channels of images.
_GREY, _COLOUR = 1, 3
_TAKEN, _NEW, _LEFT = "from the start", "new", "left there"


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A layer of the net, or of the start alone, and where its weights come from.

    Attributes:
        name: Its path.
        size: Its number of values, running statistics included.
        origin: "from the start", "new" or "left there".
        reason: Why it is new or left.
    """

    name: str
    size: int
    origin: str
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """What was taken from weights for a net.

    Attributes:
        layers: Those of the net in its order, then those that were left.
        notes: What was removed from names, converted and adapted, a sentence each.
    """

    layers: tuple[Layer, ...]
    notes: tuple[str, ...] = ()

    def of(self, origin: str) -> tuple[Layer, ...]:
        """Return the layers of an origin."""
        return tuple(each for each in self.layers if each.origin == origin)

    def counts(self) -> str:
        """Count layers and values by their origin.

        >>> layers = [Layer(name="a", size=9, origin="from the start"), Layer(name="b", size=2, origin="new")]
        >>> Transfer(layers=tuple(layers)).counts()
        '1 layer (9 values) from the start, 1 layer (2 values) new'
        """
        return ", ".join(
            f"{plural(len(layers), 'layer')} ({sum(each.size for each in layers):,} values) {origin}"
            for origin in (_TAKEN, _NEW, _LEFT)
            if (layers := self.of(origin))
        )

    def table(self) -> str:
        """Return a row for neighbouring layers of one part with one origin, as Markdown."""
        rows = []
        for (part, origin, reason), group in groupby(self.layers, key=_row):
            layers = list(group)
            name = part if len(layers) > 1 else layers[0].name
            size = sum(each.size for each in layers)
            rows.append(
                [one_line(name), origin + (f": {reason}" if reason else ""), f"{len(layers):,}", f"{size:,}"]
            )
        return markdown_table(["part", "weights", "layers", "values"], rows, left=2)


def _row(layer: Layer) -> tuple[str, str, str]:
    return layer.name.partition(".")[0], layer.origin, layer.reason


@dataclass(frozen=True, kw_only=True)
class _Match:
    """The layers of a net that tensors of a file fit.

    Attributes:
        sources: The names in the file by those of the net.
        fitting: The layers that fit.
        reasons: Why each other layer does not.
    """

    names: NameMap
    sources: dict[str, str]
    fitting: set[str]
    reasons: dict[str, str] = field(default_factory=dict)


def take_weights(
    net: nn.Module,
    tensors: Mapping[str, Tensor],
    *,
    head: Collection[str] = (),
    reason: str = "",
    where: str,
    net_of_start: str = "",
) -> Transfer:
    """Load the tensors that fit into a net in place, whole layers only.

    A layer is taken if all of its parameters and buffers have tensors of their names and shapes; the counters
    of batch norms may be missing. Names may differ by prefixes, as `fit_weights` allows.

    The first convolution may come from grey images and get colour, or the other way round: for colour, each
    channel gets a third of the weights of grey, and for grey the sum of those of the channels. A grey image
    then gives the same outputs as before.

    Args:
        net: The net with its initial weights, on the CPU.
        tensors: Those of the start, by name.
        head: Layers that keep their initial weights.
        reason: Why they do.
        where: The start, for errors.
        net_of_start: Its net, for the fix of an error; empty if it is not known.

    Raises:
        ModuleError: Less than half of the values below the head fit, several parts of the file fit, or a
            number is not finite. The net is unchanged.

    Example:
        >>> one, other = (nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(144, n)) for n in (10, 3))
        >>> transfer = take_weights(other, one.state_dict(), head=["2"], reason="3 classes", where="a.pth")
        >>> torch.equal(one[0].weight, other[0].weight)
        True
        >>> transfer.counts()
        '1 layer (40 values) from the start, 1 layer (435 values) new, 1 layer (1,450 values) left there'
    """
    own = {
        name: each
        for name, each in nn.Module.state_dict(net, keep_vars=True).items()
        if isinstance(each, Tensor)
    }
    match = _best(net, own, tensors, where)
    layers = _layers_of(own)
    body = [name for name in layers if name not in head]
    taken = [name for name in body if name in match.fitting]
    sizes = {name: sum(own[each].numel() for each in names) for name, names in layers.items()}
    share = sum(sizes[name] for name in taken) / max(sum(sizes[name] for name in body), 1)
    if share < MIN_SHARE:
        fix = f"use its net: {net_of_start}" if net_of_start else _ANY_NET
        raise ModuleError(_too_little(share), where=where, context=_comparison(match, body, tensors), fix=fix)
    new, notes = _values(net, own, tensors, match, [name for layer in taken for name in layers[layer]])
    check_finite(net, own, new, where)
    with torch.no_grad():
        for name, value in new.items():
            own[name].copy_(value)
    rows = [
        Layer(name=name, size=sizes[name], origin=_TAKEN)
        if name in taken
        else Layer(
            name=name,
            size=sizes[name],
            origin=_NEW,
            reason=reason if name in head else match.reasons.get(name, ""),
        )
        for name in layers
    ]
    used = {match.sources[name] for name in new}
    return Transfer(layers=(*rows, *_left(tensors, used)), notes=(*_name_notes(match.names), *notes))


def _layers_of(names: Collection[str]) -> dict[str, list[str]]:
    """Return the tensors of each layer, by the layer's name."""
    layers: dict[str, list[str]] = {}
    for name in names:
        layers.setdefault(name.rpartition(".")[0], []).append(name)
    return layers


def _left(tensors: Mapping[str, Tensor], used: Collection[str]) -> list[Layer]:
    rest = _layers_of([name for name in tensors if name not in used])
    return [
        Layer(name=layer, size=size, origin=_LEFT)
        for layer, names in rest.items()
        # A counter of batches of a layer that was taken is no layer.
        if (size := sum(tensors[each].numel() for each in names)) > 1
    ]


def _best(net: nn.Module, own: Mapping[str, Tensor], tensors: Mapping[str, Tensor], where: str) -> _Match:
    """Return the match of the most values among all ways to map the names.

    Raises:
        ModuleError: Several parts of the file match equally well.
    """
    best: dict[frozenset[tuple[str, str]], _Match] = {}
    score = -1
    for names in name_maps(own, tensors, partial=True):
        match = _match(net, own, tensors, names)
        layers = _layers_of(own)
        found = sum(own[each].numel() for layer in match.fitting for each in layers[layer])
        if found > score:
            score, best = found, {}
        if found == score:
            fitting = {
                name: source for name, source in match.sources.items() if _parent(name) in match.fitting
            }
            best.setdefault(frozenset(fitting.items()), match)
    matches = list(best.values())
    if score > 0 and len(matches) > 1:
        prefixes = [each.names.prefix.rstrip(".") for each in matches]
        choices = ", ".join(f"{where}#{one_line(each)}" for each in prefixes if each)
        raise ModuleError(
            f"the file has {plural(len(matches), 'set')} of weights that fit this net equally well: "
            f"{', '.join(map(one_line, filter(None, prefixes)))}",
            where=where,
            fix=f"choose one: {choices}" if choices else "name a file with the weights of one net",
        )
    return matches[0]


def _parent(name: str) -> str:
    return name.rpartition(".")[0]


def _match(
    net: nn.Module, own: Mapping[str, Tensor], tensors: Mapping[str, Tensor], names: NameMap
) -> _Match:
    sources = {name: source for source, name in names.names.items() if name in own}
    fitting, reasons = set[str](), dict[str, str]()
    for layer, members in _layers_of(own).items():
        problem = next(
            (
                text
                for name in members
                if (text := _problem(net, name, own[name], tensors.get(sources.get(name, ""))))
            ),
            "",
        )
        if problem:
            reasons[layer] = problem
        elif any(name in sources for name in members):
            fitting.add(layer)
    return _Match(names=names, sources=sources, fitting=fitting, reasons=reasons)


def _problem(net: nn.Module, name: str, own: Tensor, tensor: Tensor | None) -> str:
    """Return why a tensor is not taken; empty if it fits, or is the counter of a batch norm."""
    if is_batch_counter(net, name):
        return ""
    if tensor is None:
        return "not in the start"
    if tensor.is_floating_point() != own.is_floating_point() or tensor.is_complex() != own.is_complex():
        return f"{_kind(tensor)} there, {_kind(own)} here"
    if tensor.shape == own.shape or _is_first_filter(net, name, own, tensor):
        return ""
    return f"{_shape(tensor)} there, {_shape(own)} here"


def _is_first_filter(net: nn.Module, name: str, own: Tensor, tensor: Tensor) -> bool:
    """Whether a tensor has the filters of the first convolution, for grey images instead of colour ones."""
    path, _, last = name.rpartition(".")
    conv = next((each for each in net.modules() if isinstance(each, nn.Conv2d)), None)
    return (
        last == "weight"
        and conv is net.get_submodule(path)
        and conv.groups == 1
        and {own.shape[1], tensor.dim() == own.dim() and tensor.shape[1]} == {_GREY, _COLOUR}
        and tensor.shape[2:] == own.shape[2:]
        and tensor.shape[0] == own.shape[0]
    )


def _values(
    net: nn.Module,
    own: Mapping[str, Tensor],
    tensors: Mapping[str, Tensor],
    match: _Match,
    names: Sequence[str],
) -> tuple[dict[str, Tensor], list[str]]:
    """Return the values of tensors that fit, and notes on what was converted."""
    values, notes, converted = {}, [], dict[str, int]()
    for name in names:
        if name not in match.sources:
            continue
        value, target = tensors[match.sources[name]], own[name]
        if value.is_floating_point() and value.dtype != target.dtype:
            kinds = f"{_kind(value)} to {_kind(target)}"
            converted[kinds] = converted.get(kinds, 0) + 1
        value = value.to(target.dtype)
        if value.shape != target.shape and not is_batch_counter(net, name):
            value, note = _adapted(value)
            notes.append(f"{one_line(name)}: {note}")
        values[name] = value.reshape(target.shape)
    notes += [
        f"{plural(count, 'tensor')} converted from {kinds}" for kinds, count in sorted(converted.items())
    ]
    return values, notes


def _adapted(filters: Tensor) -> tuple[Tensor, str]:
    """Return filters for colour images from those for grey ones, or the other way round, with a note."""
    if filters.shape[1] == _GREY:
        return filters.repeat(1, _COLOUR, 1, 1) / _COLOUR, (
            "the start was trained on grey images; each channel gets a third of its filters"
        )
    return filters.sum(1, keepdim=True), (
        "the start was trained on colour images; grey ones get the sum of its filters over the channels"
    )


def _name_notes(names: NameMap) -> list[str]:
    if names.prefix:
        return [f"the prefix {one_line(names.prefix)!r} of the names is removed"]
    if names.added:
        return [f"the prefix {one_line(names.added)!r} of the net's names is added"]
    return []


def _too_little(share: float) -> str:
    what = "nothing fits" if not share else f"{100 * share:.1f} % of the values below the head fit"
    return f"these are weights of another net: {what}, expected at least {100 * MIN_SHARE:.0f} %"


def _comparison(match: _Match, body: Sequence[str], tensors: Mapping[str, Tensor]) -> str:
    """Name the first layers that differ, and the first tensors that no layer takes."""
    differing = [f"{one_line(name)}: {match.reasons[name]}" for name in body if name in match.reasons]
    used = set(match.sources.values())
    others = [f"{one_line(name)} {_shape(each)}" for name, each in tensors.items() if name not in used]
    context = ["layers of the net that differ:", *_indented(differing)]
    if others:
        context += ["in the start, not in the net:", *_indented(others)]
    return "\n".join(context)


def _indented(items: Sequence[str]) -> list[str]:
    return [f"  {line}" for line in first_lines(items, _MAX_LISTED)]


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"


def _kind(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
