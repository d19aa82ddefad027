"""From spec to plan: every operation of the net with all its values and shapes settled.

The arithmetic and the PyTorch modules are both read off the plan, so they cannot disagree about what the
notation means.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import gcd, prod

from convsmith.errors import ShapeError
from convsmith.net.layers import ACTIVATIONS, KINDS, NORMS
from convsmith.net.settings import NetSettings
from convsmith.net.spec import Item, Layer, Net, Repeat, Residual, caret

Shape = tuple[int, ...]

# Stem of the module name of each operation: "block1.conv2" is the second convolution of block 1.
_STEMS = {
    "Conv2d": "conv",
    **dict.fromkeys(NORMS.values(), "norm"),
    "Dropout": "dropout",
    "MaxPool2d": "maxpool",
    "AvgPool2d": "avgpool",
    "GlobalAvgPool2d": "gap",
    "Flatten": "flatten",
    "Linear": "linear",
    "PixelUnshuffle": "space_to_depth",
}


@dataclass(frozen=True, kw_only=True)
class Op:
    """One operation. Shapes are `(C, H, W)` or `(features,)`, without the batch.

    `normed` says of a convolution that a norm follows it, so that the scale of its weights does not matter.
    """

    operation: str
    name: str
    layer: str
    in_shape: Shape
    out_shape: Shape
    kernel: int = 1
    stride: int = 1
    dilation: int = 1
    padding: int = 0
    groups: int = 1
    bias: bool = False
    normed: bool = False
    probability: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Branch:
    """A residual: the body's output plus the input, projected by `projection` where the shapes differ."""

    name: str
    layer: str
    body: tuple["Step", ...]
    projection: tuple[Op, ...]
    in_shape: Shape
    out_shape: Shape


Step = Op | Branch


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A net for one input shape `(C, H, W)`: blocks of steps that end in `(num_classes,)` logits."""

    net: Net
    settings: NetSettings
    input_shape: Shape
    blocks: tuple[tuple[Step, ...], ...]

    def operations(self) -> Iterator[Op]:
        """All operations in the order of execution, a residual's projection before its body."""
        for block in self.blocks:
            yield from _operations(block)

    @property
    def num_classes(self) -> int:
        return self.blocks[-1][-1].out_shape[0]


def _operations(steps: tuple[Step, ...]) -> Iterator[Op]:
    for step in steps:
        if isinstance(step, Branch):
            yield from step.projection
            yield from _operations(step.body)
        else:
            yield step


def plan(net: Net, input_shape: Shape, settings: NetSettings | None = None) -> Plan:
    """Settle every operation of a net.

    Args:
        net: A parsed notation.
        input_shape: `(C, H, W)` of one image, each at least 1.
        settings: What the notation leaves open.

    Raises:
        ShapeError: A layer does not fit its input, or the net does not end in one value a class.

    Example:
        >>> from convsmith.net.notation import parse
        >>> [op.operation for op in plan(parse("C8:s2 / G F10"), (3, 32, 32)).blocks[0]]
        ['Conv2d', 'BatchNorm2d', 'ReLU']
    """
    return _Planner(net, settings or NetSettings()).plan(input_shape)


class _Planner:
    """Walks the spec once, in the order of execution."""

    def __init__(self, net: Net, settings: NetSettings) -> None:
        self.net = net
        self.settings = settings
        self.weighted_left = sum(KINDS[layer.kind].weighted for layer in net.layers())
        self.counts: Counter[str] = Counter()

    def plan(self, input_shape: Shape) -> Plan:
        if not self.weighted_left:
            raise ShapeError("the net has no layer with weights", fix="end it with a classifier: G F10")
        shape = input_shape
        blocks = []
        for number, block in enumerate(self.net.blocks, start=1):
            self.counts.clear()
            prefix = f"block{number}"
            steps = self.steps(block, shape, prefix)
            shape = steps[-1].out_shape
            if self.settings.dropout_at == "block" and self.weighted_left and self.settings.dropout:
                steps += (self.dropout(str(block[-1]), shape, self.settings.dropout, prefix),)
            blocks.append(steps)
        if len(shape) == 3:
            if shape[1:] != (1, 1):
                raise ShapeError(
                    f"the net ends with a map of {_text(shape)}, not with one value a class",
                    fix="end it with global average pooling, G, or a fully connected layer, F10",
                )
            blocks[-1] += (self.op("Flatten", "", shape, (shape[0],), "block" + str(len(blocks))),)
        return Plan(net=self.net, settings=self.settings, input_shape=input_shape, blocks=tuple(blocks))

    def steps(self, items: tuple[Item, ...], shape: Shape, prefix: str) -> tuple[Step, ...]:
        steps: tuple[Step, ...] = ()
        for item in items:
            more: tuple[Step, ...]
            match item:
                case Layer():
                    more = self.layer_ops(item, shape, prefix)
                case Residual():
                    more = (self.branch(item, shape, prefix),)
                case Repeat():
                    more = self.repeated(item, shape, prefix)
            steps += more
            shape = steps[-1].out_shape
        return steps

    def repeated(self, item: Repeat, shape: Shape, prefix: str) -> tuple[Step, ...]:
        steps: tuple[Step, ...] = ()
        for _ in range(item.times):
            steps += self.steps(item.items, shape, prefix)
            shape = steps[-1].out_shape
        return steps

    def branch(self, item: Residual, shape: Shape, prefix: str) -> Branch:
        name = self.name("residual", prefix)
        outer, self.counts = self.counts, Counter()
        body = self.steps(item.items, shape, f"{name}.body")
        self.counts.clear()
        projection = self.projection(item, shape, body[-1].out_shape, f"{name}.projection")
        self.counts = outer
        return Branch(
            name=name,
            layer=str(item),
            body=body,
            projection=projection,
            in_shape=shape,
            out_shape=body[-1].out_shape,
        )

    def projection(self, item: Residual, shape: Shape, target: Shape, prefix: str) -> tuple[Op, ...]:
        """A 1x1 convolution (and norm) that brings the input to the body's shape; nothing where it has it."""
        if shape == target:
            return ()
        stride = -(-shape[1] // target[1]) if len(shape) == len(target) == 3 else 0
        if not stride or any(-(-a // stride) != b for a, b in zip(shape[1:], target[1:], strict=True)):
            raise self.error(
                item.position,
                f"a residual adds {_text(shape)} to {_text(target)}, and no 1x1 convolution makes them equal",
                fix="keep the map's size inside the residual, or shrink it by a stride",
            )
        layer = str(item)
        norm = self.settings.norm != "none"
        values = {"bias": self.bias(norm=norm), "normed": norm}
        ops = [self.op("Conv2d", layer, shape, target, prefix, stride=stride, **values)]
        if norm:
            ops.append(self.norm_op(layer, target, prefix, item.position, len(layer)))
        return tuple(ops)

    def layer_ops(self, layer: Layer, shape: Shape, prefix: str) -> tuple[Op, ...]:
        kind = KINDS[layer.kind]
        self.weighted_left -= kind.weighted
        is_classifier = kind.weighted and not self.weighted_left
        if layer.kind != "F" and len(shape) == 1:
            raise self.layer_error(
                layer, f"{kind.name} needs a map, its input is {shape[0]} flat values", fix="put it before F"
            )
        if layer.kind == "F":
            core = self.linear(layer, shape, prefix, is_classifier=is_classifier)
        elif kind.convolution:
            core = self.convolution(layer, shape, prefix, is_classifier=is_classifier)
        else:
            return (self.pool(layer, shape, prefix),)
        shape = core[-1].out_shape
        if not is_classifier:
            return core + self.after(layer, shape, prefix)
        return core + self.norm(layer, shape, prefix, is_classifier=True)

    def after(self, layer: Layer, shape: Shape, prefix: str) -> tuple[Op, ...]:
        """Norm, activation and dropout, in the order that the settings say."""
        text, settings = str(layer), self.settings
        norm = self.norm(layer, shape, prefix, is_classifier=False)
        activation: tuple[Op, ...] = ()
        named = layer.activation or settings.activation
        if named != "none":
            activation = (self.op(ACTIVATIONS[named], text, shape, shape, prefix),)
        ops = norm + activation if settings.order == "conv-norm-activation" else activation + norm
        default = settings.dropout if settings.dropout_at == "layer" else 0.0
        probability = default if layer.dropout is None else layer.dropout
        if probability:
            ops += (self.dropout(text, shape, probability, prefix),)
        return ops

    def norm(self, layer: Layer, shape: Shape, prefix: str, *, is_classifier: bool) -> tuple[Op, ...]:
        if not self.has_norm(layer, is_classifier=is_classifier):
            return ()
        return (self.norm_op(str(layer), shape, prefix, layer.position, layer.length),)

    def norm_op(self, text: str, shape: Shape, prefix: str, position: int, length: int) -> Op:
        """The settings' norm; a layer that asks for one where they have none gets a batch norm."""
        kind = "batch" if self.settings.norm == "none" else self.settings.norm
        groups = self.settings.norm_groups if kind == "group" else 1
        if shape[0] % groups == 0 and self.norm_values(kind, shape) == 1:
            raise self.error(
                position,
                f"the {kind} norm has one value to normalise, its input is {_text(shape)}",
                fix=f"write {text}:n0, or put the layer before the pool",
                length=length,
            )
        if shape[0] % groups:
            raise self.error(
                position,
                f"the norm's {groups} groups do not divide its {shape[0]} channels",
                fix=f"set norm_groups={gcd(groups, shape[0])}, or give it a multiple of {groups} channels",
                length=length,
            )
        return self.op(NORMS[kind], text, shape, shape, prefix, groups=groups)

    def norm_values(self, kind: str, shape: Shape) -> int:
        """How many values of one image share a mean; 0 for a batch norm, whose are of all images."""
        channels = {"batch": 0, "instance": 1, "group": shape[0] // self.settings.norm_groups}
        return channels[kind] * prod(shape[1:])

    def has_norm(self, layer: Layer, *, is_classifier: bool) -> bool:
        if not KINDS[layer.kind].convolution:
            return False
        if layer.norm is not None:
            return layer.norm
        return self.settings.norm != "none" and (not is_classifier or self.settings.classifier_norm)

    def convolution(self, layer: Layer, shape: Shape, prefix: str, *, is_classifier: bool) -> tuple[Op, ...]:
        channels, text = shape[0], str(layer)
        norm = self.has_norm(layer, is_classifier=is_classifier)
        out = (layer.number or channels, *self.map_after(layer, shape))
        groups = channels if layer.kind == "D" else layer.groups
        window = {
            "kernel": layer.kernel,
            "stride": layer.stride,
            "dilation": layer.dilation,
            "padding": layer.padding_pixels,
        }
        values = {"bias": self.bias(norm=norm), "normed": norm}
        dropout = self.classifier_dropout(shape, prefix, is_classifier=is_classifier)
        if layer.kind == "S":
            middle = (channels, *out[1:])
            depthwise = self.op("Conv2d", text, shape, middle, prefix, groups=channels, **values, **window)
            return (*dropout, depthwise, self.op("Conv2d", text, middle, out, prefix, **values))
        for name, count in (("input", channels), ("output", out[0])):
            if count % groups:
                raise self.layer_error(
                    layer,
                    f"{groups} groups do not divide the {count} {name} channels",
                    fix=f"write :g{gcd(groups, channels, out[0])}, or widths that are multiples of {groups}",
                )
        return (
            *dropout,
            self.op("Conv2d", text, shape, out, prefix, groups=groups, **values, **window),
        )

    def linear(self, layer: Layer, shape: Shape, prefix: str, *, is_classifier: bool) -> tuple[Op, ...]:
        text, flat = str(layer), (prod(shape),)
        assert layer.number is not None, "the parser gives every F its width"
        flatten = (self.op("Flatten", text, shape, flat, prefix),) if len(shape) == 3 else ()
        dropout = self.classifier_dropout(flat, prefix, is_classifier=is_classifier)
        linear = self.op("Linear", text, flat, (layer.number,), prefix, bias=self.bias(norm=False))
        return (*flatten, *dropout, linear)

    def pool(self, layer: Layer, shape: Shape, prefix: str) -> Op:
        text = str(layer)
        if layer.kind == "G":
            return self.op("GlobalAvgPool2d", text, shape, (shape[0], 1, 1), prefix)
        if layer.kind == "U":
            factor = layer.number or 1
            if shape[1] % factor or shape[2] % factor:
                raise self.layer_error(
                    layer,
                    f"space-to-depth by {factor} does not divide the {shape[1]}x{shape[2]} map",
                    fix=_factors(shape),
                )
            out = (shape[0] * factor**2, shape[1] // factor, shape[2] // factor)
            return self.op("PixelUnshuffle", text, shape, out, prefix, kernel=factor, stride=factor)
        if layer.padding_pixels > layer.kernel // 2:
            raise self.layer_error(
                layer,
                f"pooling by {layer.kernel} takes at most {layer.kernel // 2} pixels of padding, "
                f"found {layer.padding_pixels}",
                fix=f"write :p{layer.kernel // 2}",
            )
        return self.op(
            "MaxPool2d" if layer.kind == "M" else "AvgPool2d",
            text,
            shape,
            (shape[0], *self.map_after(layer, shape)),
            prefix,
            kernel=layer.kernel,
            stride=layer.stride,
            dilation=layer.dilation,
            padding=layer.padding_pixels,
        )

    def map_after(self, layer: Layer, shape: Shape) -> tuple[int, int]:
        """Height and width after a window has moved over the map."""
        extent = layer.dilation * (layer.kernel - 1) + 1
        padding = layer.padding_pixels
        height, width = ((size + 2 * padding - extent) // layer.stride + 1 for size in shape[1:])
        room = min(shape[1:]) + 2 * padding
        if room < extent:
            raise self.layer_error(
                layer,
                f"a {extent}x{extent} window does not fit its {_text(shape[1:])} input, padding {padding}",
                fix=_smaller(layer, room, extent),
            )
        return height, width

    def bias(self, *, norm: bool) -> bool:
        return not norm if self.settings.bias == "auto" else self.settings.bias

    def classifier_dropout(self, shape: Shape, prefix: str, *, is_classifier: bool) -> tuple[Op, ...]:
        if is_classifier and self.settings.dropout_at == "classifier" and self.settings.dropout:
            return (self.dropout("", shape, self.settings.dropout, prefix),)
        return ()

    def dropout(self, text: str, shape: Shape, probability: float, prefix: str) -> Op:
        return self.op("Dropout", text, shape, shape, prefix, probability=probability)

    def op(
        self, operation: str, layer: str, in_shape: Shape, out_shape: Shape, prefix: str, **values: float
    ) -> Op:
        name = self.name(_STEMS.get(operation, "activation"), prefix)
        return Op(
            operation=operation,
            name=name,
            layer=layer,
            in_shape=in_shape,
            out_shape=out_shape,
            **values,  # type: ignore[arg-type]
        )

    def name(self, stem: str, prefix: str) -> str:
        self.counts[stem] += 1
        return f"{prefix}.{stem}{self.counts[stem]}"

    def layer_error(self, layer: Layer, what: str, *, fix: str) -> ShapeError:
        return self.error(layer.position, what, fix=fix, length=layer.length)

    def error(self, position: int, what: str, *, fix: str, length: int = 1) -> ShapeError:
        text = self.net.text
        context = caret(text, position, length) if text else ""
        return ShapeError(what, where=f"net, character {position + 1}", context=context, fix=fix)


def _smaller(layer: Layer, room: int, extent: int) -> str:
    """The least change of a layer whose window is larger than its input."""
    kernel = (room - 1) // layer.dilation + 1
    more = layer.padding_pixels + -(-(extent - room) // 2)
    if KINDS[layer.kind].number == "kernel":
        smaller = replace(layer, number=kernel, kernel=kernel, stride=min(layer.stride, kernel))
        fits = f"write {smaller}" if kernel > 1 else "leave it out"
        return f"{fits}, or use fewer strides before it"
    smaller = replace(layer, kernel=kernel)
    return f"write {smaller} or {replace(layer, padding=more)}, or use fewer strides before it"


def _factors(shape: Shape) -> str:
    common = gcd(*shape[1:])
    fitting = [factor for factor in range(2, common + 1) if common % factor == 0][:4]
    if not fitting:
        return "leave it out: no factor divides the height and the width"
    return "write " + " or ".join(f"U{factor}" for factor in fitting)


def _text(shape: Shape) -> str:
    return "x".join(map(str, shape))
