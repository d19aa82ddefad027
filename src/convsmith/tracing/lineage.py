"""How a traced tensor derives from the image: the axes of its dimensions, and its receptive field."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from math import prod

from convsmith.net import coverage
from convsmith.net.coverage import Masks
from convsmith.net.rows import FULL_AXIS, AxisReceptiveField, ReceptiveField
from convsmith.tracing import grid
from convsmith.tracing.grid import MIXED, Atom, Dims, axes_of, plain, plain_dims, size_of
from convsmith.tracing.spans import Reach, Span, Windows


@dataclass(frozen=True, kw_only=True)
class AxisLineage:
    """The receptive field along one axis: of all paths, of the narrowest path, and as exact masks."""

    wide: Reach
    narrow: Reach
    masks: Masks

    @classmethod
    def of_image(cls, size: int) -> "AxisLineage":
        reach = Reach((Span(),), size)
        return cls(wide=reach, narrow=reach, masks=coverage.image_masks(size))

    @property
    def count(self) -> int:
        """The positions of the map along this axis."""
        return len(self.masks)

    def through(self, windows: Windows, count: int) -> "AxisLineage":
        read = windows.real or windows.inputs
        return AxisLineage(
            wide=self.wide.through(windows, count),
            narrow=self.narrow.through(windows, count),
            masks=coverage.through(self.masks, [list(read(output)) for output in range(count)]),
        )

    def combine(self, other: "AxisLineage") -> "AxisLineage":
        return AxisLineage(
            wide=self.wide.combine(other.wide),
            narrow=min(self.narrow, other.narrow, key=lambda reach: reach.size),
            masks=coverage.union(self.masks, other.masks),
        )

    @property
    def receptive_field(self) -> AxisReceptiveField:
        return AxisReceptiveField(
            size=self.wide.size, jump=self.wide.jump, start=self.wide.start, min_size=self.narrow.size
        )


@dataclass(frozen=True, kw_only=True)
class Lineage:
    """The lineage of a tensor that depends on the image.

    Attributes:
        dims: The atoms of each dimension.
        axes: One lineage for each axis of the image; None if every value depends on all of the axis.
        unknown: Why the receptive field is unknown; empty if it is known.
        rows: The numbers of the rows that computed it.
    """

    dims: Dims
    axes: tuple[AxisLineage | None, ...] = ()
    unknown: str = ""
    rows: frozenset[int] = frozenset()

    @classmethod
    def of_image(cls, shape: Sequence[int]) -> "Lineage":
        """Return the lineage of the input `(N, C, H, W)`."""
        batch, channels, *sizes = shape
        maps = ((Atom(axis, size),) for axis, size in enumerate(sizes))
        return cls(
            dims=(plain(batch), plain(channels), *maps),
            axes=tuple(map(AxisLineage.of_image, sizes)),
            rows=frozenset({-1}),
        )

    @property
    def receptive_field(self) -> ReceptiveField:
        if self.unknown:
            return ReceptiveField(unknown=self.unknown)
        if self.is_global:
            return ReceptiveField()
        return ReceptiveField(
            axes=tuple(FULL_AXIS if state is None else state.receptive_field for state in self.axes)
        )

    @property
    def is_global(self) -> bool:
        """Whether every value depends on the full image."""
        return not self.unknown and all(state is None for state in self.axes)

    def resize(self, place: int, size: int) -> "Lineage":
        """Replace a dimension by one of another size that is no axis of the image."""
        mixed = self.mix([place])
        return replace(mixed, dims=(*mixed.dims[:place], plain(size), *mixed.dims[place + 1 :]))

    def reshape(self, shape: Sequence[int]) -> "Lineage":
        dims = grid.regroup(self.dims, shape)
        if dims is None:
            if axes_of(self.dims):
                return self.as_unknown(
                    shape, "a reshape splits rows of the map at other places than their ends"
                )
            dims = plain_dims(shape)
        return replace(self, dims=dims)

    def permute(self, order: Sequence[int]) -> "Lineage":
        return replace(self, dims=tuple(self.dims[place] for place in order))

    def as_unknown(self, shape: Sequence[int], reason: str) -> "Lineage":
        """Return the lineage of an output whose receptive field is unknown, unless it is global anyway."""
        if self.is_global:
            return replace(self, dims=plain_dims(shape))
        return replace(
            self, dims=plain_dims(shape), axes=(None,) * len(self.axes), unknown=self.unknown or reason
        )

    def as_global(self, shape: Sequence[int]) -> "Lineage":
        return replace(self, dims=plain_dims(shape), axes=(None,) * len(self.axes))

    def mix(self, places: Iterable[int]) -> "Lineage":
        """Let every value depend on all values along some dimensions, which keep their sizes."""
        places = sorted({place for place in places if place < len(self.dims)})
        result = self
        for axis in dict.fromkeys(axes_of(self.dims[place] for place in places)):
            result = result._mix_axis(axis, places)
        dims = list(result.dims)
        for place in places:
            dims[place] = plain(size_of(dims[place]))
        return replace(result, dims=tuple(dims))

    def _mix_axis(self, axis: int, places: Sequence[int]) -> "Lineage":
        if axis == MIXED:
            result = self
            for each in range(len(self.axes)):
                result = result.with_axis(each, None, {})
            return result
        state = self.axes[axis]
        if state is None:
            return self
        atoms = [(place, atom) for place, dim in enumerate(self.dims) for atom in dim if atom.axis == axis]
        kept = sorted((atom for place, atom in atoms if place not in places), key=lambda each: -each.stride)
        if prod(atom.size for atom in kept) == 1:
            return self.with_axis(axis, None, {})
        dropped = [atom for place, atom in atoms if place in places]
        return self.rearrange(axis, state, kept, dropped)

    def rearrange(
        self, axis: int, state: AxisLineage, kept: Sequence[Atom], dropped: Sequence[Atom] = ()
    ) -> "Lineage":
        """Renumber the positions of an axis by the digits `kept`, which must be different atoms."""
        windows = grid.rearranged(kept, dropped, state.count)
        count = prod(atom.size for atom in kept)
        strides = [prod(atom.size for atom in kept[index + 1 :]) for index in range(len(kept))]
        new = {id(atom): Atom(axis, atom.size, stride) for atom, stride in zip(kept, strides, strict=True)}
        return self.with_axis(axis, state.through(windows, count), new)

    def with_axis(self, axis: int, state: AxisLineage | None, new: dict[int, Atom]) -> "Lineage":
        """Replace the state of an axis, and its atoms; those without a new one lose their axis."""
        dims = tuple(
            grid.simplify(
                tuple(new.get(id(atom), Atom(None, atom.size) if atom.axis == axis else atom) for atom in dim)
            )
            for dim in self.dims
        )
        axes = tuple(state if index == axis else each for index, each in enumerate(self.axes))
        return replace(self, dims=dims, axes=axes)

    def reduce(self, places: Iterable[int], *, keep: bool = False) -> "Lineage":
        """Reduce some dimensions; with `keep` they stay with size 1."""
        places = set(places) & set(range(len(self.dims)))
        rest = self.mix(places)
        dims = [
            plain(1) if place in places else dim
            for place, dim in enumerate(rest.dims)
            if keep or place not in places
        ]
        return replace(rest, dims=tuple(dims))

    def through(
        self,
        windows: Sequence[Windows],
        places: Sequence[int],
        shape: Sequence[int],
        *,
        pooling: bool = False,
    ) -> "Lineage":
        """Move windows over some dimensions, one for each.

        With `pooling`, a window over all positions is a global pool.
        """
        result = self
        for place, window in zip(places, windows, strict=True):
            result = result._through(place, window, shape[place], pooling=pooling)
        return replace(
            result,
            dims=tuple(
                dim if size_of(dim) == size else plain(size)
                for dim, size in zip(result.dims, shape, strict=True)
            ),
        )

    def _through(self, place: int, window: Windows, count: int, *, pooling: bool) -> "Lineage":
        size = size_of(self.dims[place])
        if (
            axes_of([self.dims[place]])
            and pooling
            and count == 1
            and set(range(size)) <= set(window.inputs(0))
        ):
            return self.mix([place])
        whole = self.as_axis(place)
        (atom, *others) = whole.dims[place]
        if others or atom.axis == MIXED:
            shape = [count if index == place else size_of(dim) for index, dim in enumerate(self.dims)]
            return self.as_unknown(shape, "a window moves along a dimension that joins several axes or maps")
        state = None if atom.axis is None else whole.axes[atom.axis]
        if atom.axis is None or state is None:
            return whole
        inner = atom.stride
        new = {id(each): each for dim in whole.dims for each in dim if each.axis == atom.axis}
        new[id(atom)] = Atom(atom.axis, count, inner)
        return whole.with_axis(atom.axis, state.through(grid.lifted(window, inner), count * inner), new)

    def as_axis(self, place: int) -> "Lineage":
        """Renumber the positions of an axis so that a dimension of it is their outermost digit."""
        dim = self.dims[place]
        axes = set(axes_of([dim])) - {MIXED}
        if len(axes) != 1 or MIXED in axes_of([dim]):
            return self
        (axis,) = axes
        state = self.axes[axis]
        first = dim[0]
        if state is None or (len(dim) == 1 and first.stride * first.size == state.count):
            return self
        fresh = tuple(Atom(*atom) for atom in dim)
        renewed = replace(self, dims=(*self.dims[:place], fresh, *self.dims[place + 1 :]))
        others = [
            atom
            for index, each in enumerate(self.dims)
            for atom in each
            if index != place and atom.axis == axis
        ]
        return renewed.rearrange(axis, state, [*fresh, *sorted(others, key=lambda each: -each.stride)])

    def repeat(self, place: int, times: int) -> "Lineage":
        """Repeat a dimension, the copies one after the other."""
        dim = grid.simplify((Atom(None, times), *self.dims[place]))
        return replace(self, dims=(*self.dims[:place], dim, *self.dims[place + 1 :]))


def map_windows(
    lineage: Lineage,
    out_shape: Sequence[int],
    make: Callable[[int, int, int], Windows],
    *,
    num_axes: int | None = None,
    pooling: bool = False,
) -> Lineage:
    """Move windows over the last dimensions, `make(index, in size, out size)` for each of them."""
    num = max(len(out_shape) - 2, 0) if num_axes is None else num_axes
    places = range(len(out_shape) - num, len(out_shape))
    windows = [
        make(index, size_of(lineage.dims[place]), out_shape[place]) for index, place in enumerate(places)
    ]
    return lineage.through(windows, places, out_shape, pooling=pooling)
