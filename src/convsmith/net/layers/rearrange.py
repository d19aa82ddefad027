"""Space-to-depth: pixels become channels."""

from math import gcd

from convsmith.net.layers.layer import Kind, Layer
from convsmith.net.layers.operation import Arguments, MisfitError, Operation, WindowOperation
from convsmith.net.rows import Shape


class PixelUnshuffle(WindowOperation):
    stem = "space_to_depth"

    def arguments(self) -> Arguments:
        return (self.kernel,), {}


class SpaceToDepth(Kind):
    letter = "U"
    name = "space-to-depth"
    number = "factor"

    def operations(self, layer: Layer, shape: Shape) -> tuple[Operation, ...]:
        factor = layer.number or 1
        channels, height, width = shape
        if height % factor or width % factor:
            raise MisfitError(
                f"space-to-depth by {factor} does not divide the {height}x{width} map",
                fix=_factors(height, width),
            )
        operation = PixelUnshuffle(
            in_shape=shape,
            out_shape=(channels * factor**2, height // factor, width // factor),
            kernel=factor,
            stride=factor,
            description=f"space-to-depth by {factor}",
        )
        return (operation,)


def _factors(height: int, width: int) -> str:
    common = gcd(height, width)
    fitting = [factor for factor in range(2, common + 1) if common % factor == 0][:4]
    if not fitting:
        return "leave it out: no factor divides the height and the width"
    return "write " + " or ".join(f"U{factor}" for factor in fitting)
