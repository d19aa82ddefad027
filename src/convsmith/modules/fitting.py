"""Load weights into a net: by their names, without the prefixes that wrappers of PyTorch add to them."""

import copy
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from convsmith.errors import ModuleError
from convsmith.modules.finite import check_finite
from convsmith.modules.state import is_batch_counter
from convsmith.modules.tensor_names import NameMap, name_maps, prefixes, without
from convsmith.modules.weights import Weights
from convsmith.text import first_lines, one_line, plural

_MAX_LISTED = 5
# What torch.optim.swa_utils.AveragedModel counts.
_COUNTER = "n_averaged"


@dataclass(frozen=True)
class _Difference:
    """What keeps weights from fitting: names of the net, names of the file, and pairs of both.

    Attributes:
        common: The number of names that both have.
    """

    missing: list[str]
    unexpected: list[str]
    shapes: list[tuple[str, str]]
    common: int

    @property
    def size(self) -> int:
        return len(self.missing) + len(self.unexpected) + len(self.shapes)

    def summary(self) -> str:
        counts = {
            "missing in the file": len(self.missing),
            "not in the net": len(self.unexpected),
            "of other shapes": len(self.shapes),
            "that fit": self.common - len(self.shapes),
        }
        return ", ".join(f"{plural(count, 'tensor')} {what}" for what, count in counts.items() if count)


def fit_weights(net: nn.Module, weights: Weights) -> tuple[str, ...]:
    """Load weights into a net in place, all or none.

    Names may differ by what wrappers add to them: `module.` (DataParallel, averaged models), `_orig_mod.`
    (torch.compile), or any other prefix that all but a few names of the file share (`model.` of Lightning).

    Args:
        net: The net, not on the meta device. Its mode and its devices stay as they are.
        weights: As `read_state_dict` returns them.

    Returns:
        Notes on what was removed, converted and left out, each one line.

    Raises:
        ModuleError: Names or shapes differ, or a number is not finite. The net is unchanged.

    Example:
        >>> import tempfile, torch
        >>> from convsmith.modules.weights import read_state_dict
        >>> net, path = nn.Linear(2, 1), tempfile.mkdtemp() + "/net.pth"
        >>> torch.save(nn.DataParallel(net).state_dict(), path)
        >>> fit_weights(nn.Linear(2, 1), read_state_dict(path))
        ("the prefix 'module.' of the names is removed",)
    """
    own = _own_tensors(net, weights)
    tensors = {name: each for name, each in weights.tensors.items() if name != _COUNTER or name in own}
    fit = next(
        (each for each in name_maps(own, tensors) if not _difference(net, own, tensors, each).size), None
    )
    if fit is None:
        notes = _load_by_hooks(net, own, tensors, weights.where)
        if notes is None:
            raise _mismatch(net, own, tensors, weights)
        return notes
    new = {name: _like(own[name], tensors[source]) for source, name in fit.names.items()}
    check_finite(net, own, new, weights.where)
    # Of tensors under two names, the file may have one.
    shared = {id(own[name]): tensor for name, tensor in new.items()}
    complete = {name: new.get(name, shared.get(id(tensor), tensor)) for name, tensor in own.items()}
    _load(net, complete, weights.where)
    return tuple(_notes(fit, tensors, own, new))


def _own_tensors(net: nn.Module, weights: Weights) -> dict[str, Tensor]:
    own = {
        name: tensor
        for name, tensor in nn.Module.state_dict(net, keep_vars=True).items()
        if isinstance(tensor, Tensor)
    }
    if lazy := [name for name, tensor in own.items() if is_lazy(tensor)]:
        raise ModuleError(
            f"the shape of {lazy[0]} is unknown until the net has seen an image",
            where=weights.where,
            fix="run the net once before the weights are loaded, or write the layer without Lazy",
        )
    assert not any(tensor.is_meta for tensor in own.values()), (
        "a net on the meta device has no numbers to set"
    )
    return own


def _difference(
    net: nn.Module, own: Mapping[str, Tensor], tensors: Mapping[str, Tensor], fit: NameMap
) -> _Difference:
    names = {name: source for source, name in fit.names.items()}
    # Of tensors under two names, a file of safetensors has one.
    there = {id(own[name]) for name in names if name in own}
    missing = [
        name
        for name, tensor in own.items()
        if name not in names and id(tensor) not in there and not is_batch_counter(net, name)
    ]
    return _Difference(
        missing=missing,
        unexpected=[source for name, source in names.items() if name not in own],
        shapes=[
            (name, source)
            for name, source in names.items()
            if name in own and not _fits(net, name, own[name], tensors[source])
        ],
        common=sum(name in own for name in names),
    )


def _fits(net: nn.Module, name: str, own: Tensor, tensor: Tensor) -> bool:
    # A simple average of all tensors makes the counters of batch norms floats; evaluation does not use them.
    is_counter = is_batch_counter(net, name) and tensor.numel() == 1
    return is_counter or _same_kind(own, tensor)


def _same_kind(own: Tensor, tensor: Tensor) -> bool:
    """Whether a tensor has the shape, and real numbers, whole numbers or complex ones, as the net's own."""
    kinds = tensor.is_floating_point() == own.is_floating_point() and tensor.is_complex() == own.is_complex()
    # Before PyTorch 0.4, scalars had a dimension.
    return kinds and (tensor.shape == own.shape or (own.dim() == 0 and tensor.shape == (1,)))


# --- Numbers


def _like(own: Tensor, tensor: Tensor) -> Tensor:
    return tensor.reshape(own.shape).to(device=own.device, dtype=own.dtype)


def _load(net: nn.Module, complete: Mapping[str, Tensor], where: str) -> None:
    """Load all tensors of a net. Whatever a hook of the net raises, the net is unchanged."""
    state = nn.Module.state_dict(net)
    before = copy.deepcopy(state)
    try:
        nn.Module.load_state_dict(net, {**state, **complete})
    except Exception as error:
        for name, tensor in nn.Module.state_dict(net).items():
            if isinstance(tensor, Tensor):
                tensor.copy_(before[name])
        raise ModuleError(
            f"a hook of the net fails: {type(error).__name__}: {one_line(str(error))}",
            where=where,
            fix="check the net's _load_from_state_dict and its hooks",
        ) from error


def _load_by_hooks(
    net: nn.Module, own: Mapping[str, Tensor], tensors: Mapping[str, Tensor], where: str
) -> tuple[str, ...] | None:
    """Load weights whose old names the net's layers map to new ones, as weight_norm does; None if none do."""
    for prefix in ["", *prefixes(tensors, len(tensors))]:
        named = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
        # PyTorch would convert a tensor of another kind.
        if own.keys() >= named.keys():
            continue
        try:
            trial = copy.deepcopy(net)
            nn.Module.load_state_dict(trial, named)
        # The names do not fit, or the net cannot be copied.
        except Exception:  # noqa: BLE001, S112
            continue
        new = {name: tensor for name, tensor in nn.Module.state_dict(trial).items() if name in own}
        check_finite(net, own, new, where)
        _load(net, new, where)
        return ("old names in the file are mapped by the net's layers",)
    return None


def _notes(
    fit: NameMap, tensors: Mapping[str, Tensor], own: Mapping[str, Tensor], new: Mapping[str, Tensor]
) -> Iterator[str]:
    if fit.prefix:
        yield f"the prefix {one_line(fit.prefix)!r} of the names is removed"
    if fit.added:
        yield f"the prefix {one_line(fit.added)!r} of the net's names is added"
    inner = [part for name in fit.names for part in without((), name.removeprefix(fit.prefix)).split(".")]
    if parts := [part for part in fit.parts if part in inner]:
        yield f"parts of the names are left out: {', '.join(parts)}"
    if aside := [name for name in fit.aside if name != _COUNTER]:
        more = "" if len(aside) <= _MAX_LISTED else ", ..."
        yield f"without the prefix, left out: {', '.join(map(one_line, aside[:_MAX_LISTED]))}{more}"
    converted = Counter(
        f"{_kind(tensors[source])} to {_kind(new[name])}"
        for source, name in fit.names.items()
        if tensors[source].is_floating_point() and tensors[source].dtype != new[name].dtype
    )
    for kinds, count in sorted(converted.items()):
        yield f"{plural(count, 'tensor')} converted from {kinds}"
    shared = {id(own[name]) for name in new}
    if kept := [name for name, tensor in own.items() if name not in new and id(tensor) not in shared]:
        yield f"{plural(len(kept), 'counter')} of batches not in the file, left as in the net"


def _kind(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


# --- What does not fit


def _mismatch(
    net: nn.Module, own: Mapping[str, Tensor], tensors: Mapping[str, Tensor], weights: Weights
) -> ModuleError:
    """Return the error for weights of another net, compared in the way in which most names are equal."""
    candidates = list(name_maps(own, tensors, partial=True))
    fits = [fit for fit in candidates if fit.aside and not _difference(net, own, tensors, fit).size]
    if whole := list(dict.fromkeys(fit.prefix for fit in fits)):
        choices = ", ".join(f"{weights.path}#{one_line(prefix.rstrip('.'))}" for prefix in whole)
        return ModuleError(
            "most of the tensors are not this net's",
            where=weights.where,
            context="\n".join(f"all that the net needs begins with {one_line(prefix)!r}" for prefix in whole),
            fix=f"choose what is loaded: {choices}",
        )
    best = max(candidates, key=lambda fit: sum(name in own for name in fit.names.values()))
    difference = _difference(net, own, tensors, best)
    return ModuleError(
        f"the weights do not fit the net: {difference.summary()}",
        where=weights.where,
        context=_comparison(difference, best, own, tensors),
        fix=_advice(difference, best, own, tensors),
    )


def _comparison(
    difference: _Difference, fit: NameMap, own: Mapping[str, Tensor], tensors: Mapping[str, Tensor]
) -> str:
    groups = {
        "in the net, not in the file": [f"{name} {_shape(own[name])}" for name in difference.missing],
        "in the file, not in the net": [f"{name} {_shape(tensors[name])}" for name in difference.unexpected],
        "of other shapes": [
            f"{name}: found {found}, expected {expected}"
            for name, source in difference.shapes
            for found, expected in [_shapes(tensors[source], own[name])]
        ],
    }
    lines = []
    if fit.prefix or fit.added:
        change = f"without the prefix {fit.prefix!r}" if fit.prefix else f"with the prefix {fit.added!r}"
        lines.append(f"the names of the file are compared {change}")
    for title, items in groups.items():
        if items:
            lines += [f"{title}:", *(f"  {line}" for line in _listed(items))]
    return "\n".join(lines)


def _shape(tensor: Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape)


def _shapes(found: Tensor, expected: Tensor) -> tuple[str, str]:
    """Return both shapes, or both data types where the shapes are equal."""
    if found.shape == expected.shape:
        return _kind(found), _kind(expected)
    return str(_shape(found)), str(_shape(expected))


def _listed(items: Sequence[str]) -> list[str]:
    return first_lines([one_line(each) for each in items], _MAX_LISTED)


def _advice(
    difference: _Difference, fit: NameMap, own: Mapping[str, Tensor], tensors: Mapping[str, Tensor]
) -> str:
    """Return the fix that the differences suggest."""
    shapes = [(_shape(tensors[source]), _shape(own[name])) for name, source in difference.shapes]
    counts = {(found[0], expected[0]) for found, expected in shapes if found and found[1:] == expected[1:]}
    # Weight and bias of the last layer.
    if difference.size == len(shapes) <= 2 and len(counts) == 1 and _same_inputs(shapes):
        ((found, expected),) = counts
        return (
            f"the file's net has {plural(found, 'output')}, this one {expected:,}: create it as it was "
            f"trained, for example Net(num_classes={found})"
        )
    if fit.added and difference.size == len(difference.missing):
        part = fit.added.rstrip(".")
        return f"the file has the weights of the net's part {part!r} alone: name a file of the whole net"
    if not difference.common:
        return "these are weights of another net: name the class that was trained"
    return "create the net with the arguments that it was trained with"


def _same_inputs(shapes: Sequence[tuple[tuple[int, ...], tuple[int, ...]]]) -> bool:
    return all(found[1:] == expected[1:] for found, expected in shapes)
