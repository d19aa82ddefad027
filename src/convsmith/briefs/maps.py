"""The map that a class-activation map can be taken of."""

from convsmith.briefs.structure import is_active, is_convolution
from convsmith.net.analysis import Analysis
from convsmith.net.rows import Row


def map_row(analysis: Analysis, size: int) -> Row | None:
    """Return the last convolution before the head with a map of at least `size` pixels a side.

    Returns None if there is none.

    Grad-CAM and class-activation maps can be computed at any convolution; the last one has the features of
    the classes.

    Example:
        >>> from convsmith.net.arithmetic import analyze_notation
        >>> net = analyze_notation("C8 C8:s2 C8:s4 / G F10", (3, 32, 32))
        >>> map_row(net, 5).layer, map_row(net, 4).layer, map_row(net, 33)
        ('C8:s2', 'C8:s4', None)
    """
    last = None
    for row in analysis.rows:
        local = len(row.out_shape) > 1 and not row.in_field.is_global
        if local and is_convolution(row) and is_active(row) and min(row.out_shape[1:]) >= size:
            last = row
    return last
