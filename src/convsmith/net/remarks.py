"""Remarks on the inputs and the members of a module, as lines of text."""

from collections.abc import Iterable, Iterator, Sequence

from convsmith.net.inputs import Input, channels_first, is_channels_last
from convsmith.net.rows import UNUSED, HiddenTensor, IdleLayer, Location, Row, Shape
from convsmith.text import join_first, plural

Weights = tuple[tuple[str, int], ...]

_AXES = {1: ("position",), 2: ("row", "column"), 3: ("slice", "row", "column")}
_SHOWN = 8


def input_remarks(input_shape: Shape, inputs: tuple[Input, ...]) -> Iterator[str]:
    """Yield all inputs, if there are several, and what looks like a mistake."""
    if len(inputs) > 1:
        yield f"Inputs: {', '.join(map(str, inputs))}"
    if is_channels_last(input_shape):
        yield (
            f"The input {'x'.join(map(str, input_shape))} looks like height x width x channels; "
            f"expected channels x height x width, {channels_first(input_shape)}"
        )


def member_remarks(unused: Weights, unregistered: Weights, hidden_methods: tuple[str, ...]) -> Iterator[str]:
    """Yield weights that are not used, or not trained, and attributes in the place of methods."""
    if unused:
        yield f"Parameters that no operation uses: {_sizes(unused)}"
    if unregistered:
        yield (
            f"Unregistered parameters, neither trained nor saved: {_sizes(unregistered)}; "
            "keep layers in nn.ModuleList or nn.ModuleDict, weights in nn.ParameterList"
        )
    for path in hidden_methods:
        name = path.rpartition(".")[2]
        yield f"The attribute {path} hides the method {name} of torch.nn.Module: rename it"


def idle_remarks(idle: tuple[IdleLayer, ...]) -> Iterator[str]:
    """Yield layers that the forward pass never calls."""
    if idle:
        names = join_first((f"{each.name}{_of_place(each.definition)}" for each in idle), _SHOWN)
        yield f"Layers that forward never calls: {names}"


def hidden_remarks(hidden: tuple[HiddenTensor, ...]) -> Iterator[str]:
    """Yield tensors that are neither parameters nor buffers."""
    if hidden:
        sizes = (f"{each.name} ({each.size:,}{_of_place(each.location, ', ')})" for each in hidden)
        names = join_first(sizes, _SHOWN)
        yield (
            f"Hidden tensors, neither parameters nor buffers: {names}; "
            "keep them in nn.Parameter, or in buffers if they are constants"
        )


def inactive_remarks(rows: Sequence[Row]) -> Iterator[str]:
    """Yield operations without an effect, those whose result is unused left out: they have a note."""
    names = [
        f"{row.name}{_of_place(row.location)}: {row.inactive}"
        for row in rows
        if row.inactive not in {"", UNUSED} and row.operation != "Identity"
    ]
    if names:
        yield f"Operations without effect: {join_first(names, _SHOWN, '; ')}"


def _of_place(location: Location | None, before: str = "") -> str:
    if location is None:
        return ""
    return f"{before}{location}" if before else f" ({location})"


def _sizes(weights: Weights) -> str:
    shown = ", ".join(f"{name} ({count:,})" for name, count in weights[:_SHOWN])
    rest = weights[_SHOWN:]
    return f"{shown} and {len(rest):,} more ({sum(count for _, count in rest):,})" if rest else shown


def axis_names(count: int) -> tuple[str, ...]:
    """Return the names of the axes of an image.

    >>> axis_names(2)
    ('height', 'width')
    """
    return {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}.get(
        count, tuple(f"axis {index + 1}" for index in range(count))
    )


def lines_text(counts: Iterable[int]) -> str:
    """Return numbers of rows and columns of the image.

    >>> lines_text((1, 2)), lines_text((0, 1)), lines_text((3,))
    ('1 row and 2 columns', '1 column', '3 positions')
    """
    counts = tuple(counts)
    names = _AXES.get(len(counts), ("value",) * len(counts))
    texts = [plural(count, name) for count, name in zip(counts, names, strict=True) if count]
    return " and ".join(texts)
