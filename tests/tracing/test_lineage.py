"""Random nets of branches with different jumps, against interval arithmetic by hand and against gradients."""

from dataclasses import dataclass, field
from functools import cache

import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from convsmith.tracing.trace import trace
from helpers.nets import examples

SIZE = 61


@dataclass(frozen=True)
class Node:
    """A map of a random net: a window over one map, or a join of two that are cropped to equal sizes."""

    kind: str
    inputs: tuple[int, ...]
    kernel: int = 1
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    size: int = 0
    crops: tuple[int, ...] = field(default=())


@st.composite
def graphs(draw: st.DrawFn) -> list[Node]:
    """Draw maps, the first of which is the image."""
    nodes = [Node("image", (), size=SIZE)]
    for _ in range(draw(st.integers(2, 7))):
        kind = draw(
            st.sampled_from(["conv", "conv", "conv", "pool", "up", "transposed", "add", "cat", "roll"])
        )
        source = draw(st.integers(max(0, len(nodes) - 3), len(nodes) - 1))
        size = nodes[source].size
        kernel, stride = draw(st.integers(1, 5)), draw(st.integers(1, 3))
        padding, dilation = draw(st.integers(0, 3)), draw(st.integers(1, 2))
        if kind == "conv":
            out = (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
            node = Node(kind, (source,), kernel, stride, padding, dilation, out)
        elif kind == "pool":
            padding = min(padding, kernel // 2)
            node = Node(
                kind, (source,), kernel, stride, padding, 1, (size + 2 * padding - kernel) // stride + 1
            )
        elif kind == "up":
            node = Node(kind, (source,), stride=stride, size=size * stride)
        elif kind == "transposed":
            out = (size - 1) * stride - 2 * padding + dilation * (kernel - 1) + 1
            node = Node(kind, (source,), kernel, stride, padding, dilation, out)
        elif kind == "roll":
            node = Node(kind, (source,), stride=stride, size=size)
        else:
            other = draw(st.integers(0, len(nodes) - 1))
            out = min(size, nodes[other].size)
            crops = tuple(draw(st.integers(0, nodes[each].size - out)) for each in (source, other))
            node = Node(kind, (source, other), size=out, crops=crops)
        if 2 <= node.size <= 130:
            nodes.append(node)
    assume(len(nodes) > 2)
    return nodes


class Graph(nn.Module):
    """The net of a graph, with one axis and positive weights."""

    def __init__(self, nodes: list[Node]) -> None:
        super().__init__()
        self.nodes = nodes
        self.layers = nn.ModuleDict()
        channels = [1]
        for index, node in enumerate(nodes[1:], start=1):
            source = channels[node.inputs[0]]
            if node.kind in {"conv", "transposed"}:
                make = nn.Conv1d if node.kind == "conv" else nn.ConvTranspose1d
                self.layers[str(index)] = make(
                    source, 1, node.kernel, stride=node.stride, padding=node.padding, dilation=node.dilation,
                    bias=False,
                )  # fmt: skip
                channels.append(1)
            elif node.kind == "cat":
                channels.append(source + channels[node.inputs[1]])
            elif node.kind == "add":
                channels.append(1)
            else:
                channels.append(source)
        for parameter in self.parameters():
            nn.init.constant_(parameter, 0.5)

    def forward(self, images: Tensor) -> Tensor:
        maps = [images]
        for index, node in enumerate(self.nodes[1:], start=1):
            maps.append(self.apply_node(index, node, [maps[each] for each in node.inputs]))
        return maps[-1]

    def apply_node(self, index: int, node: Node, inputs: list[Tensor]) -> Tensor:
        if node.kind in {"conv", "transposed"}:
            output: Tensor = self.layers[str(index)](inputs[0])
            return output
        if node.kind == "pool":
            return functional.avg_pool1d(inputs[0], node.kernel, node.stride, node.padding)
        if node.kind == "up":
            return functional.interpolate(inputs[0], scale_factor=node.stride)
        if node.kind == "roll":
            return inputs[0].roll(node.stride, 2)
        first, second = (
            each[:, :, start : start + node.size] for each, start in zip(inputs, node.crops, strict=True)
        )
        if node.kind == "cat":
            return torch.cat([first, second], 1)
        return first.sum(1, keepdim=True) + second.sum(1, keepdim=True)


def reads(node: Node, sizes: tuple[int, ...], output: int) -> list[tuple[int, int]]:
    """Return what one output reads, as pairs of an input and a position, padding included."""
    taps = range(node.kernel)
    (source, *_) = node.inputs
    if node.kind in {"conv", "pool"}:
        return [(source, output * node.stride - node.padding + tap * node.dilation) for tap in taps]
    if node.kind == "transposed":
        places = [output + node.padding - tap * node.dilation for tap in taps]
        return [(source, place // node.stride) for place in places if place % node.stride == 0]
    if node.kind == "up":
        return [(source, output // node.stride)]
    if node.kind == "roll":
        inside = 0 <= output < sizes[0]
        return [(source, (output - node.stride) % sizes[0])] if inside else []
    return [(each, output + start) for each, start in zip(node.inputs, node.crops, strict=True)]


def extents(nodes: list[Node]) -> list[tuple[int, int, bool] | None]:
    """Return the first and last pixel of each output, and whether any padding lies on a path to it."""

    @cache
    def extent(index: int, output: int) -> tuple[int, int, bool] | None:
        node = nodes[index]
        padded = not 0 <= output < node.size
        if node.kind == "image":
            return output, output, padded
        sizes = tuple(nodes[each].size for each in node.inputs)
        found = [each for each in (extent(*read) for read in reads(node, sizes, output)) if each]
        if not found:
            return None
        return min(e[0] for e in found), max(e[1] for e in found), padded or any(e[2] for e in found)

    return [extent(len(nodes) - 1, output) for output in range(nodes[-1].size)]


@settings(max_examples=examples(240), deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(graphs())
def test_random_graphs(nodes: list[Node]) -> None:
    found = extents(nodes)
    assume(any(found))
    if any(node.kind == "roll" for node in nodes):
        # Beyond the ends of a map that was rolled there is nothing that an output could see.
        sizes = [(each[1] - each[0] + 1, each[2]) for each in found if each]
        assume(max(sizes)[0] == max((size for size, padded in sizes if not padded), default=0))
    net = Graph(nodes).double()
    analysis = trace(net, (1, SIZE))
    assert analysis.receptive_field == max(each[1] - each[0] + 1 for each in found if each)
    images = torch.ones(1, 1, SIZE, dtype=torch.float64, requires_grad=True)
    outputs = net(images).sum((0, 1))
    each = torch.eye(len(outputs), dtype=torch.float64)
    (gradients,) = torch.autograd.grad(outputs, images, each, is_grads_batched=True)
    masks = []
    for gradient, expected in zip(gradients, found, strict=True):
        pixels = gradient.ravel().nonzero().ravel().tolist()
        masks.append(set(pixels))
        if expected and pixels:
            low, high, padded = expected
            assert low <= pixels[0] <= pixels[-1] <= high
            assert padded or (pixels[0], pixels[-1]) == (low, high)
    assert analysis.uncovered == (SIZE - len(set().union(*masks)),)
