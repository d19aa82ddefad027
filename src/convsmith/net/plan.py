"""From spec to plan: every operation of the net with all its values and shapes resolved.

The arithmetic, the PyTorch module and the source text all derive from the plan, so they cannot disagree about
the meaning of the notation.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from convsmith.errors import ShapeError
from convsmith.net.layers.activations import Dropout
from convsmith.net.layers.convolution import Conv2d
from convsmith.net.layers.dense import Flatten
from convsmith.net.layers.layer import Layer
from convsmith.net.layers.operation import MisfitError, Operation, WeightedOperation
from convsmith.net.layers.registry import ACTIVATIONS, NORMS
from convsmith.net.rows import Shape
from convsmith.net.settings import NetSettings
from convsmith.net.spec import Item, Net, Repeat, Residual, caret


@dataclass(frozen=True, kw_only=True)
class Branch:
    """A residual: the output of the body plus the input, projected by `projection` if the shapes differ."""

    name: str
    layer: str
    body: tuple["Step", ...]
    projection: tuple[Operation, ...]
    in_shape: Shape
    out_shape: Shape


Step = Operation | Branch


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A net for one input shape `(C, H, W)`: blocks of steps that end in `(num_classes,)` logits."""

    net: Net
    settings: NetSettings
    input_shape: Shape
    blocks: tuple[tuple[Step, ...], ...]

    def operations(self) -> Iterator[Operation]:
        """Yield all operations in the order of execution, the projection of a residual before its body."""
        for block in self.blocks:
            yield from _operations(block)

    def weighted_operations(self) -> tuple[WeightedOperation, ...]:
        """Return the convolutions and fully connected layers in the order of execution."""
        return tuple(each for each in self.operations() if isinstance(each, WeightedOperation))

    @property
    def num_classes(self) -> int:
        return self.blocks[-1][-1].out_shape[0]


def _operations(steps: Iterable[Step]) -> Iterator[Operation]:
    for step in steps:
        if isinstance(step, Branch):
            yield from step.projection
            yield from _operations(step.body)
        else:
            yield step


def plan(net: Net, input_shape: Shape, settings: NetSettings | None = None) -> Plan:
    """Resolve every operation of a net.

    Args:
        net: A parsed notation.
        input_shape: `(C, H, W)` of one image, each at least 1.
        settings: What the notation leaves open.

    Raises:
        ShapeError: A layer does not fit its input, or the net does not end in one value for each class.

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
        self.weighted_left = sum(layer.kind.weighted for layer in net.layers())
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
                dropout = _dropout(shape, self.settings.dropout)
                steps += (self.place(dropout, str(block[-1]), prefix),)
            blocks.append(steps)
        if len(shape) == 3:
            if shape[1:] != (1, 1):
                raise ShapeError(
                    f"the net ends with a map of {_text(shape)}, not with one value for each class",
                    fix="end it with global average pooling, G, or a fully connected layer, F10",
                )
            flatten = Flatten(in_shape=shape, out_shape=(shape[0],))
            blocks[-1] += (self.place(flatten, "", f"block{len(blocks)}"),)
        return Plan(net=self.net, settings=self.settings, input_shape=input_shape, blocks=tuple(blocks))

    def steps(self, items: tuple[Item, ...], shape: Shape, prefix: str) -> tuple[Step, ...]:
        steps: tuple[Step, ...] = ()
        for item in items:
            more: tuple[Step, ...]
            match item:
                case Layer():
                    more = self.layer(item, shape, prefix)
                case Residual():
                    more = self.residual(item, shape, prefix)
                case Repeat():
                    more = self.steps(item.items * item.times, shape, prefix)
            steps += more
            shape = steps[-1].out_shape
        return steps

    def residual(self, item: Residual, shape: Shape, prefix: str) -> tuple[Step, ...]:
        branch = self.branch(item, shape, prefix)
        if not item.activation:
            return (branch,)
        activation = ACTIVATIONS[item.activation](in_shape=branch.out_shape, out_shape=branch.out_shape)
        return (branch, self.place(activation, str(item), prefix))

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

    def projection(self, item: Residual, shape: Shape, target: Shape, prefix: str) -> tuple[Operation, ...]:
        """A 1x1 convolution (and norm) from the shape of the input to that of the body, if they differ."""
        if shape == target:
            return ()
        stride = -(-shape[1] // target[1]) if len(shape) == len(target) == 3 else 0
        if not stride or any(-(-a // stride) != b for a, b in zip(shape[1:], target[1:], strict=True)):
            raise self.error(
                item.position,
                f"a residual adds {_text(shape)} to {_text(target)}, and no 1x1 convolution projects it",
                fix="keep the size of the map inside the residual, or shrink it by a stride",
            )
        layer = str(item)
        normed = self.settings.norm != "none"
        projection = Conv2d(in_shape=shape, out_shape=target, kernel=1, stride=stride)
        operations = [*self.weights((projection,), normed=normed)]
        if normed:
            with self.pointing_at(item.position, len(layer)):
                operations.append(self.norm(layer, target))
        return tuple(self.place(each, layer, prefix) for each in operations)

    def layer(self, layer: Layer, shape: Shape, prefix: str) -> tuple[Operation, ...]:
        kind, text = layer.kind, str(layer)
        self.weighted_left -= kind.weighted
        is_classifier = kind.weighted and not self.weighted_left
        if kind.needs_map and len(shape) == 1:
            raise self.error(
                layer.position,
                f"{kind.name} needs a map, its input is {shape[0]} flat values",
                fix="put it before F",
                length=layer.length,
            )
        normed = self.has_norm(layer, is_classifier=is_classifier)
        with self.pointing_at(layer.position, layer.length):
            core = kind.operations(layer, shape)
        operations = [self.place(each, text, prefix) for each in self.weights(core, normed=normed)]
        if is_classifier and self.settings.dropout_at == "classifier" and self.settings.dropout:
            first = next(at for at, each in enumerate(core) if isinstance(each, WeightedOperation))
            dropout = _dropout(core[first].in_shape, self.settings.dropout)
            operations.insert(first, self.place(dropout, "", prefix))
        if kind.weighted:
            after = self.after(layer, core[-1].out_shape, normed=normed, is_classifier=is_classifier)
            operations += [self.place(each, text, prefix) for each in after]
        return tuple(operations)

    def weights(self, operations: Iterable[Operation], *, normed: bool) -> Iterator[Operation]:
        """Resolve the bias of operations with weights."""
        bias = not normed if self.settings.bias == "auto" else self.settings.bias
        for each in operations:
            if isinstance(each, WeightedOperation):
                yield replace(each, bias=bias, normed=normed)
            else:
                yield each

    def after(
        self, layer: Layer, shape: Shape, *, normed: bool, is_classifier: bool
    ) -> tuple[Operation, ...]:
        """Norm, activation and dropout, in the order of the settings; the classifier has only a norm."""
        settings = self.settings
        norm: tuple[Operation, ...] = ()
        if normed:
            with self.pointing_at(layer.position, layer.length):
                norm = (self.norm(str(layer), shape),)
        if is_classifier:
            return norm
        keyword = layer.activation or settings.activation
        activation: tuple[Operation, ...] = ()
        if keyword != "none":
            activation = (ACTIVATIONS[keyword](in_shape=shape, out_shape=shape),)
        operations = norm + activation if settings.order == "conv-norm-activation" else activation + norm
        default = settings.dropout if settings.dropout_at == "layer" else 0.0
        probability = default if layer.dropout is None else layer.dropout
        return (*operations, _dropout(shape, probability)) if probability else operations

    def norm(self, layer: str, shape: Shape) -> Operation:
        """The norm of the settings; batch norm for `:n1` if they have none."""
        keyword = "batch" if self.settings.norm == "none" else self.settings.norm
        return NORMS[keyword].after(layer, shape, self.settings)

    def has_norm(self, layer: Layer, *, is_classifier: bool) -> bool:
        if not layer.kind.convolution:
            return False
        if layer.norm is not None:
            return layer.norm
        return self.settings.norm != "none" and (not is_classifier or self.settings.classifier_norm)

    def place(self, operation: Operation, layer: str, prefix: str) -> Operation:
        return replace(operation, layer=layer, name=self.name(operation.stem, prefix))

    def name(self, stem: str, prefix: str) -> str:
        self.counts[stem] += 1
        return f"{prefix}.{stem}{self.counts[stem]}"

    @contextmanager
    def pointing_at(self, position: int, length: int) -> Iterator[None]:
        """Report a misfit at a position in the notation."""
        try:
            yield
        except MisfitError as error:
            raise self.error(position, error.what, fix=error.fix, length=length) from None

    def error(self, position: int, what: str, *, fix: str, length: int = 1) -> ShapeError:
        text = self.net.text
        context = caret(text, position, length) if text else ""
        return ShapeError(what, where=f"net, character {position + 1}", context=context, fix=fix)


def _dropout(shape: Shape, probability: float) -> Dropout:
    return Dropout(in_shape=shape, out_shape=shape, probability=probability)


def _text(shape: Shape) -> str:
    return "x".join(map(str, shape))
