"""Convolutions of many shapes in fp32, each in a process of its own, with gradients compared with fp64.

`python tests/helpers/convolution_sweep.py 100` tries 100 shapes, chosen by a seed, under the guard of the
training loop; `all` tries all of them. `--unguarded` tries PyTorch's own convolutions. Exit code 1 if a shape
is bad. A shape whose backward pass writes past its memory is run several times with small allocations
between, so that the C library notices.
"""

import argparse
import os
import random
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import product

import torch
from torch import nn

from convsmith.training.kernels.backward import backward_workarounds

LARGEST_ERROR = 1e-4
IMAGES, SIZE, REPETITIONS = 128, 8, 8


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A square convolution over maps of 8x8 pixels."""

    in_channels: int
    out_channels: int
    kernel: int
    stride: int = 1
    dilation: int = 1
    groups: int = 1
    channels_last: bool = True


def shapes() -> Iterator[Shape]:
    """Those that nets of the notation have: dense and depthwise, with stride or dilation."""
    dense = [(1, 1, 1), (1, 2, 1), (1, 3, 1), (3, 1, 1), (3, 2, 1), (3, 1, 2), (5, 1, 1), (2, 2, 1)]
    inputs, outputs = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32), (4, 8, 12, 16, 24, 32)
    for channels_in, channels_out, (kernel, stride, dilation) in product(inputs, outputs, dense):
        yield Shape(
            in_channels=channels_in,
            out_channels=channels_out,
            kernel=kernel,
            stride=stride,
            dilation=dilation,
        )
    depthwise = [(3, 1, 1), (3, 2, 1), (3, 1, 2), (5, 1, 1), (5, 2, 1), (7, 1, 1)]
    for channels, (kernel, stride, dilation) in product((3, 4, 6, 8, 10, 12, 16, 20, 24, 32, 48), depthwise):
        yield Shape(
            in_channels=channels,
            out_channels=channels,
            kernel=kernel,
            stride=stride,
            dilation=dilation,
            groups=channels,
        )


def known_bad() -> list[Shape]:
    """The class of shapes that corrupts memory on CPUs with AVX2 alone."""
    return [
        shape for shape in shapes() if (shape.kernel, shape.stride) == (1, 2) and 2 <= shape.in_channels <= 6
    ]


def error_of(shape: Shape, guard: AbstractContextManager[object]) -> float:
    """The largest relative error of the gradients of images and filters."""
    torch.manual_seed(0)
    padding = shape.dilation * (shape.kernel - 1) // 2
    layer = nn.Conv2d(
        shape.in_channels,
        shape.out_channels,
        shape.kernel,
        shape.stride,
        padding,
        shape.dilation,
        shape.groups,
        bias=False,
    )
    images = torch.randn(IMAGES, shape.in_channels, SIZE, SIZE)
    if shape.channels_last:
        layer = layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        images = images.contiguous(memory_format=torch.channels_last)
    images.requires_grad_()
    gradients: tuple[torch.Tensor, ...] = ()
    for repetition in range(REPETITIONS):
        with guard:
            made = layer(images)
        gradients = torch.autograd.grad(made.square().sum(), [images, layer.weight])
        _ = [torch.randn(97 + repetition * 13) for _ in range(30)]
    exact_images = images.detach().double().requires_grad_()
    exact_layer = layer.double()
    exact = torch.autograd.grad(exact_layer(exact_images).square().sum(), [exact_images, exact_layer.weight])
    return max(
        float((found.double() - right).norm() / right.norm())
        for found, right in zip(gradients, exact, strict=True)
    )


def in_own_process(shape: Shape, guard: AbstractContextManager[object]) -> str:
    """What is wrong with a shape: the signal its process died of, or its error; empty if nothing is."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            # What the C library says of its damaged memory.
            os.close(2)
            os.write(writer, f"{error_of(shape, guard):.1e}".encode())
        finally:
            os._exit(0)
    os.close(writer)
    _, status = os.waitpid(child, 0)
    with os.fdopen(reader) as pipe:
        error = pipe.read()
    if status or not error:
        return f"died of signal {status & 127}"
    return "" if float(error) <= LARGEST_ERROR else f"relative error {error}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", help="how many shapes, or 'all'")
    parser.add_argument("--unguarded", action="store_true", help="try PyTorch's own convolutions")
    given = parser.parse_args()
    # One thread: a process that forks has to have no others.
    torch.set_num_threads(1)
    guard = nullcontext() if given.unguarded else backward_workarounds(torch.device("cpu"), torch.float32)
    known, everything = known_bad(), list(shapes())
    random.Random(0).shuffle(everything)  # noqa: S311 - a choice of tests
    # The known class comes first: a short sweep sees some of it.
    some = [*known[::5], *(shape for shape in everything if shape not in known[::5])]
    chosen = some if given.count == "all" else some[: int(given.count)]
    bad = 0
    for shape in chosen:
        if wrong := in_own_process(shape, guard):
            bad += 1
            print(shape, wrong, flush=True)  # noqa: T201
    print(f"{len(chosen)} shapes tried on {torch.backends.cpu.get_cpu_capability()}, {bad} bad")  # noqa: T201
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
