"""Convolutions: ordinary, depthwise-separable, depthwise and pointwise."""

from dataclasses import dataclass, replace
from math import gcd

from convsmith.net.layers.layer import Kind, Layer
from convsmith.net.layers.operation import (
    Arguments,
    MisfitError,
    Operation,
    WeightedOperation,
    WindowOperation,
    without_defaults,
)
from convsmith.net.rows import Shape, Window

# The class of `net.source` for strided 1x1 convolutions; `training.kernels.convolution` says why.
STRIDED_POINTWISE = "StridedPointwise"


@dataclass(frozen=True, kw_only=True)
class Conv2d(WeightedOperation, WindowOperation):
    stem = "conv"

    groups: int = 1

    @property
    def weights(self) -> int:
        return self.out_shape[0] * (self.in_shape[0] // self.groups) * self.kernel**2

    @property
    def window(self) -> Window:
        channels = self.in_shape[0], self.out_shape[0]
        return replace(super().window, groups=self.groups, bias=self.bias, width=channels)

    def arguments(self) -> Arguments:
        return (self.in_shape[0], self.out_shape[0], self.kernel), without_defaults(
            {
                "stride": (self.stride, 1),
                "padding": (self.padding, 0),
                "dilation": (self.dilation, 1),
                "groups": (self.groups, 1),
                "bias": (self.bias, True),
            }
        )

    def source(self) -> tuple[str, list[str]]:
        function, arguments = super().source()
        strided = self.kernel == 1 and self.stride > 1 and not self.padding
        return STRIDED_POINTWISE if strided else function, arguments


class _ConvolutionKind(Kind):
    options = "ksdpona"
    kernel = 3
    weighted = True
    convolution = True


class Convolution(_ConvolutionKind):
    letter = "C"
    name = "convolution"
    number = "width"
    options = "ksdpgona"

    def operations(self, layer: Layer, shape: Shape) -> tuple[Operation, ...]:
        return (_convolution(layer, shape, prefix="pointwise" if layer.kernel == 1 else ""),)


class SeparableConvolution(_ConvolutionKind):
    letter = "S"
    name = "depthwise-separable convolution"
    number = "width"

    def operations(self, layer: Layer, shape: Shape) -> tuple[Operation, ...]:
        channels = shape[0]
        width = layer.number or channels
        depthwise = _depthwise(layer, shape, description=_description("depthwise-separable", layer, width))
        pointwise = Conv2d(
            in_shape=depthwise.out_shape, out_shape=(width, *depthwise.out_shape[1:]), kernel=1
        )
        return replace(depthwise, part="depthwise" if channels > 1 else ""), pointwise


class DepthwiseConvolution(_ConvolutionKind):
    letter = "D"
    name = "depthwise convolution"
    number = "none"

    def operations(self, layer: Layer, shape: Shape) -> tuple[Operation, ...]:
        return (_depthwise(layer, shape, description=_description("depthwise", layer, shape[0])),)


class PointwiseConvolution(_ConvolutionKind):
    letter = "P"
    name = "pointwise convolution"
    number = "width"
    options = "sgona"
    kernel = 1

    def operations(self, layer: Layer, shape: Shape) -> tuple[Operation, ...]:
        return (_convolution(layer, shape, prefix="pointwise"),)


def _convolution(layer: Layer, shape: Shape, *, prefix: str) -> Conv2d:
    channels, groups = shape[0], layer.groups
    width = layer.number or channels
    operation = _over_map(layer, shape, width=width, description=_description(prefix, layer, width))
    for name, count in (("input", channels), ("output", width)):
        if count % groups:
            raise MisfitError(
                f"{groups} groups do not divide the {count} {name} channels",
                fix=f"write :g{gcd(groups, channels, width)}, or widths that are multiples of {groups}",
            )
    return replace(operation, groups=groups)


def _depthwise(layer: Layer, shape: Shape, *, description: str) -> Conv2d:
    return replace(_over_map(layer, shape, width=shape[0], description=description), groups=shape[0])


def _over_map(layer: Layer, shape: Shape, *, width: int, description: str) -> Conv2d:
    return Conv2d(
        in_shape=shape,
        out_shape=(width, *layer.map_size(shape)),
        kernel=layer.kernel,
        stride=layer.stride,
        dilation=layer.dilation,
        padding=layer.padding_pixels,
        description=description,
    )


def _description(prefix: str, layer: Layer, width: int) -> str:
    options = [
        (layer.stride > 1, f"stride {layer.stride}"),
        (layer.dilation > 1, f"dilation {layer.dilation}"),
        (layer.kernel > 1 and not layer.padding_pixels, "no padding"),
        (layer.groups > 1, f"{layer.groups} groups"),
    ]
    texts = [text for applies, text in options if applies]
    suffix = f" with {' and '.join(texts)}" if texts else ""
    start = f"{prefix} " if prefix else ""
    return f"{start}{layer.kernel}x{layer.kernel} convolution to {width} channels{suffix}"
