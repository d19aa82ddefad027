"""The dimensions of a traced tensor as factors of the axes of the image.

A dimension is a product of atoms, so an axis survives when maps are flattened, permuted, turned into tokens
or divided into windows. The positions of an axis are numbers whose digits are its atoms, wherever they are.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from math import prod
from typing import NamedTuple

from convsmith.tracing import spans
from convsmith.tracing.spans import Windows

# The axis of an atom whose positions are those of several maps, as tokens and a class token are.
MIXED = -1


class Atom(NamedTuple):
    """A factor of a dimension.

    Attributes:
        axis: Its axis of the image; None for channels and the like.
        size: Its number of values.
        stride: How far one step moves along the positions of the axis.
        parts: The dimensions that were concatenated, if it is `MIXED`.
    """

    axis: int | None
    size: int
    stride: int = 1
    parts: tuple[tuple["Atom", ...], ...] = ()


Dim = tuple[Atom, ...]
Dims = tuple[Dim, ...]


def size_of(dim: Dim) -> int:
    return prod(atom.size for atom in dim)


def sizes_of(dims: Dims) -> tuple[int, ...]:
    return tuple(map(size_of, dims))


def plain(size: int) -> Dim:
    """Return a dimension that is no axis of the image."""
    return (Atom(None, size),)


def plain_dims(shape: Sequence[int]) -> Dims:
    return tuple(map(plain, shape))


def axes_of(dims: Iterable[Dim]) -> list[int]:
    """Return the axes of the image in some dimensions, `MIXED` for all."""
    return [atom.axis for dim in dims for atom in dim if atom.axis is not None]


def simplify(dim: Dim) -> Dim:
    """Merge neighbouring atoms that are digits of one number.

    >>> simplify((Atom(0, 4, 8), Atom(0, 8, 1)))
    (Atom(axis=0, size=32, stride=1, parts=()),)
    """
    result: list[Atom] = []
    for atom in dim:
        last = result[-1] if result else None
        if last and last.axis == atom.axis != MIXED and atom.axis is None:
            result[-1] = Atom(None, last.size * atom.size)
        elif last and last.axis == atom.axis != MIXED and last.stride == atom.size * atom.stride:
            result[-1] = Atom(atom.axis, last.size * atom.size, atom.stride)
        else:
            result.append(atom)
    ones = [atom for atom in result if atom.size != 1 or atom.axis is not None]
    return tuple(ones) or plain(1)


def regroup(dims: Dims, shape: Sequence[int]) -> Dims | None:
    """Regroup the atoms for another shape of the same size; None if no digits of the positions do it.

    Example:
        >>> map_dims = (plain(1), plain(8), (Atom(0, 4),), (Atom(1, 4),))
        >>> [[(atom.axis, atom.size) for atom in dim] for dim in regroup(map_dims, (1, 128))]
        [[(None, 1)], [(None, 8), (0, 4), (1, 4)]]
        >>> row_dims = (plain(1), plain(4), (Atom(0, 1),), (Atom(1, 2),))
        >>> regroup(row_dims, (1, 4, 1, 2)) == row_dims
        True
    """
    atoms = [atom for dim in dims for atom in dim if atom.size != 1 or atom.axis is not None]
    atoms.reverse()
    result: list[list[Atom]] = []
    for size in shape:
        group: list[Atom] = []
        left = size
        while left > 1:
            if not atoms:
                return None
            atom = atoms.pop()
            if atom.size == 1 and len(result) > 2 and not result[-1]:
                # An axis of size 1 stays the dimension before, as in a map of one row.
                result[-1].append(atom)
            elif atom.size and left % atom.size == 0:
                left //= atom.size
                group.append(atom)
            elif atom.axis != MIXED and atom.size and atom.size % left == 0:
                inner = atom.size // left
                atoms.append(Atom(atom.axis, inner, atom.stride))
                group.append(Atom(atom.axis, left, atom.stride * inner if atom.axis is not None else 1))
                left = 1
            else:
                return None
        result.append(group)
    _place_unit_axes(result, atoms)
    return tuple(simplify(tuple(group)) for group in result) if not atoms else None


def _place_unit_axes(groups: list[list[Atom]], left: list[Atom]) -> None:
    """Assign the remaining axes of size 1 to the last dimensions, as in a map of one value."""
    ones = [group for group in groups[2:] if not group]
    while left and left[-1].size == 1:
        atom = left.pop()
        (ones.pop(0) if ones else groups[-1]).append(atom)


def lifted(windows: Windows, inner: int) -> Windows:
    """Return windows over the outer digit of positions, for each of `inner` values of the rest."""
    if inner == 1:
        return windows

    def move(source: spans.Inputs) -> spans.Inputs:
        return lambda output: [each * inner + output % inner for each in source(output // inner)]

    return Windows(
        inputs=move(windows.inputs),
        input_period=windows.input_period * inner,
        output_period=windows.output_period * inner,
        real=move(windows.real) if windows.real else None,
        bounded=windows.bounded,
    )


def rearranged(kept: Sequence[Atom], dropped: Sequence[Atom], count: int) -> Windows:
    """Return the windows of positions in a new order: the digits `kept`, each with all values of `dropped`.

    Atoms of no axis are new digits, along which the positions repeat.
    """
    offsets = [sum(each) for each in product(*map(_values, dropped))]
    new_count = prod(atom.size for atom in kept)

    def inputs(output: int) -> list[int]:
        turns, rest = divmod(output, new_count)
        place = turns * count
        for atom in reversed(kept):
            rest, digit = divmod(rest, atom.size)
            place += digit * atom.stride if atom.axis is not None else 0
        return [place + offset for offset in offsets]

    first = kept[0]
    # The map continues beyond its borders if the outermost digit stays outermost.
    endless = first.axis is not None and first.stride * first.size == count
    if not endless:
        return spans.table([inputs(output) for output in range(new_count)])
    return Windows(inputs=inputs, input_period=first.stride, output_period=new_count // first.size)


def _values(atom: Atom) -> Iterator[int]:
    return iter(range(0, atom.size * atom.stride, atom.stride))
