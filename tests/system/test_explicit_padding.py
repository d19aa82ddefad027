"""Convolutions in bf16 whose windows miss the map: PyTorch 2.13 ends the process on CPUs with AVX-512."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from convsmith.system.device import autocast
from convsmith.system.explicit_padding import ExplicitPadding
from helpers.markers import needs_bf16

CPU = torch.device("cpu")
# Channels in and out, groups, kernel, stride, dilation, padding, height, width: each ended the process.
CRASHES: list[tuple[Any, ...]] = [
    (16, 32, 16, 4, 2, 4, 5, 3, 35),
    (3, 8, 1, 2, 1, 4, 2, 2, 35),
    (3, 8, 1, 2, 1, 4, "same", 2, 35),
    (16, 32, 1, 3, 3, 4, 6, 1, 39),
    (24, 24, 1, 2, 1, 4, 3, 1, 10),
    (16, 24, 4, 5, 2, 2, 7, 1, 3),
]


@needs_bf16
@pytest.mark.parametrize("shape", CRASHES)
def test_a_window_without_a_pixel(shape: tuple[Any, ...]) -> None:
    inputs, outputs, groups, kernel, stride, dilation, padding, *size = shape
    images = torch.randn(2, inputs, *size).contiguous(memory_format=torch.channels_last)
    filters = torch.randn(outputs, inputs // groups, kernel, kernel)
    arguments = (stride, padding, dilation, groups)
    with autocast(CPU, torch.bfloat16):
        made = functional.conv2d(images, filters, None, *arguments)
    right = functional.conv2d(images.bfloat16().float(), filters.bfloat16().float(), None, *arguments)
    torch.testing.assert_close(made.float(), right, rtol=0.01, atol=0.05)


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@given(
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=st.integers(1, 3),
    dilation=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    padding=st.one_of(st.integers(0, 9), st.tuples(st.integers(0, 9), st.integers(0, 9)), st.just("valid")),
    size=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    same=st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_the_result_is_that_of_padding_inside(
    kernel: tuple[int, int],
    stride: int,
    dilation: tuple[int, int],
    padding: int | tuple[int, int] | str,
    size: tuple[int, int],
    same: bool,
) -> None:
    images, filters = torch.randn(1, 2, *size), torch.randn(3, 2, *kernel)
    options = (
        {"padding": "same", "dilation": dilation}
        if same
        else {
            "padding": padding,
            "dilation": dilation,
            "stride": stride,
        }
    )
    try:
        right = functional.conv2d(images, filters, **options)
    except RuntimeError:
        return
    with ExplicitPadding():
        made = functional.conv2d(images, filters, **options)
    torch.testing.assert_close(made, right)


@given(
    kernel=st.integers(1, 5), dilation=st.integers(1, 9), padding=st.integers(0, 12), size=st.integers(1, 8)
)
def test_every_window_without_a_pixel_is_padded(kernel: int, dilation: int, padding: int, size: int) -> None:
    reach = dilation * (kernel - 1)
    starts = range(-padding, size + padding - reach)
    misses = any(not any(0 <= start + dilation * tap < size for tap in range(kernel)) for start in starts)
    if not misses:
        return
    pads = []

    class Recorded(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func is functional.pad:
                pads.append(args)
            return func(*args, **(kwargs or {}))

    with Recorded(), ExplicitPadding():
        functional.conv2d(
            torch.ones(1, 1, size, size), torch.ones(1, 1, kernel, kernel), padding=padding, dilation=dilation
        )
    assert pads
