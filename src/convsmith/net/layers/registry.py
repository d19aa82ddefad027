"""The closed registries of layer kinds, norms and activations, one line each.

Names in files are looked up here, so no file can name an import path.
"""

from convsmith.net.layers import activations, convolution, dense, norms, pooling, rearrange
from convsmith.net.layers.activations import Activation
from convsmith.net.layers.layer import Kind
from convsmith.net.layers.norms import Norm

_KINDS: tuple[Kind, ...] = (
    convolution.Convolution(),
    convolution.SeparableConvolution(),
    convolution.DepthwiseConvolution(),
    convolution.PointwiseConvolution(),
    pooling.MaxPooling(),
    pooling.AveragePooling(),
    pooling.GlobalAveragePooling(),
    dense.FullyConnected(),
    rearrange.SpaceToDepth(),
)

_NORMS: tuple[type[Norm], ...] = (norms.BatchNorm2d, norms.GroupNorm, norms.LayerNorm, norms.InstanceNorm2d)

_ACTIVATIONS: tuple[type[Activation], ...] = (
    activations.ReLU,
    activations.LeakyReLU,
    activations.GELU,
    activations.SiLU,
    activations.Hardswish,
)

# Letter in the notation -> kind.
KINDS: dict[str, Kind] = {kind.letter: kind for kind in _KINDS}
# Name in a recipe -> operation.
NORMS: dict[str, type[Norm]] = {norm.keyword: norm for norm in _NORMS}
# Name in a recipe or after `:a` -> operation.
ACTIVATIONS: dict[str, type[Activation]] = {each.keyword: each for each in _ACTIVATIONS}
