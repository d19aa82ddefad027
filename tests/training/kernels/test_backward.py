"""Gradients of convolutions, against PyTorch's in fp64."""

import copy
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

import convsmith as cs
from convsmith.net.arithmetic import analyze_notation
from convsmith.net.module import build
from convsmith.net.settings import NetSettings
from convsmith.recipes.loader import load
from convsmith.system.device import autocast
from convsmith.training.kernels.backward import backward_workarounds
from helpers.markers import needs_bf16
from helpers.paths import HELPERS

CPU = torch.device("cpu")
# The relative error of bf16 is at most 1/256; that of sums is smaller.
ROUNDING = 0.01


def gradients(layer: nn.Conv2d, images: Tensor, gradient: Tensor) -> list[Tensor]:
    images = images.detach().requires_grad_()
    with autocast(CPU, torch.bfloat16), backward_workarounds(CPU, torch.bfloat16):
        made = layer(images)
    return list(torch.autograd.grad(made, [images, *layer.parameters()], gradient.to(made.dtype)))


def expected(layer: nn.Conv2d, images: Tensor, gradient: Tensor) -> list[Tensor]:
    """From the same rounded values."""
    rounded = images.bfloat16().double().requires_grad_()
    numbers = [each.bfloat16().double().requires_grad_() for each in layer.parameters()]
    exact = nn.functional.conv2d(
        rounded,
        numbers[0],
        numbers[1] if len(numbers) == 2 else None,
        layer.stride,
        layer.padding,
        layer.dilation,
        layer.groups,
    )
    return list(torch.autograd.grad(exact, [rounded, *numbers], gradient.bfloat16().double()))


def check(layer: nn.Conv2d, images: Tensor) -> None:
    layer = layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = images.contiguous(memory_format=torch.channels_last)
    gradient = torch.randn(layer(images).shape)
    for found, right in zip(
        gradients(layer, images, gradient), expected(layer, images, gradient), strict=True
    ):
        assert found.shape == right.shape
        assert (found.double() - right).norm() <= ROUNDING * right.norm()


@given(
    channels=st.sampled_from(
        [(3, 8, 1), (24, 24, 1), (16, 32, 1), (8, 8, 8), (24, 24, 24), (16, 32, 16), (16, 24, 4)]
    ),
    kernel=st.integers(1, 7),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 4),
    padding=st.integers(0, 8),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    bias=st.booleans(),
    seed=st.integers(0, 2**16),
)
# The backward pass of a window without any pixel ended the process.
@example(
    channels=(3, 8, 1), kernel=4, stride=1, dilation=4, padding=6, size=(2, 3), bias=True, seed=0
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_gradients_are_right(
    channels: tuple[int, int, int],
    kernel: int,
    stride: int,
    dilation: int,
    padding: int,
    size: tuple[int, int],
    bias: bool,
    seed: int,
) -> None:
    reach = dilation * (kernel - 1)
    padding = min(padding, reach)
    if min(size) + 2 * padding <= reach:
        return
    torch.manual_seed(seed)
    layer = nn.Conv2d(*channels[:2], kernel, stride, padding, dilation, channels[2], bias=bias)
    check(layer, torch.randn(2, channels[0], *size))


@pytest.mark.parametrize("width", [8, 16, 31, 32, 33, 48])
@pytest.mark.parametrize(
    ("kernel", "dilation", "stride"), [(3, 2, 1), (3, 3, 1), (5, 2, 1), (3, 1, 2), (7, 1, 2)]
)
@pytest.mark.parametrize("groups", [1, 24])
def test_gradients_of_wide_maps_are_right(
    width: int, kernel: int, dilation: int, stride: int, groups: int
) -> None:
    """PyTorch's gradients of dilated filters are not, from 31 pixels on."""
    layer = nn.Conv2d(24, 24, kernel, stride, dilation * (kernel // 2), dilation, groups, bias=False)
    check(layer, torch.randn(4, 24, width, width))


@pytest.mark.parametrize(("kernel", "padding"), [(2, 1), (3, 1), (5, 2)])
@pytest.mark.parametrize("channels", [(3, 8, 1), (16, 32, 1), (16, 24, 4), (24, 24, 24), (16, 32, 16)])
def test_columns_that_never_see_the_image_get_no_gradient(
    channels: tuple[int, int, int], kernel: int, padding: int
) -> None:
    """PyTorch leaves that memory uninitialized."""
    layer = nn.Conv2d(*channels[:2], kernel, 2, padding, groups=channels[2], bias=False)
    for height in (1, 2, 3, 8):
        left_behind = [torch.full((size,), float("nan")) for size in (64, 256, 1024, 4096, 16384)]
        del left_behind
        check(layer, torch.randn(2, channels[0], height, 1))


def test_other_convolutions_are_pytorchs() -> None:
    """Windows that are not square, padding by name, other types, and inputs without gradients."""
    images = torch.randn(2, 8, 9, 9)
    for layer in (
        nn.Conv2d(8, 8, (3, 1), groups=8),
        nn.Conv2d(8, 8, 3, padding="same", dilation=2, groups=8),
        nn.Conv2d(8, 8, 3, padding=(1, 2), dilation=2, groups=8),
        nn.Conv2d(8, 8, 3, stride=(1, 2), groups=8),
    ):
        with backward_workarounds(CPU, torch.bfloat16):
            assert name_of(layer(images)) == "ConvolutionBackward0"
    layer = nn.Conv2d(8, 8, 3, dilation=2, groups=8)
    with backward_workarounds(CPU, torch.float32):
        assert name_of(layer(images)) == "ConvolutionBackward0"
    with backward_workarounds(CPU, torch.bfloat16):
        assert name_of(layer(images)) == "_ConvolutionBackward"
        with torch.no_grad():
            assert name_of(layer(images)) == "NoneType"


def name_of(made: Tensor) -> str:
    return type(made.grad_fn).__name__


class Memory(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records the operations whose input has the channels first."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen, self.channels_first = 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (
            torch.ops.aten.threshold_backward.default,
            torch.ops.aten.native_batch_norm_backward.default,
        ):
            self.seen += 1
            maps = [each for each in args if isinstance(each, Tensor) and each.dim() == 4]
            self.channels_first += not all(
                each.is_contiguous(memory_format=torch.channels_last) for each in maps
            )
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("net", ["C8 +(C8 C8) / G F10", "C8 S8:s2 / F10"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_all_gradients_have_their_channels_last(net: str, dtype: torch.dtype) -> None:
    layers = build(analyze_notation(net, (3, 8, 8), NetSettings(norm="batch")).plan).to(
        memory_format=torch.channels_last
    )  # type: ignore[call-overload]
    images = torch.randn(4, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype, enabled=dtype == torch.bfloat16), backward_workarounds(CPU, dtype):
        loss = layers(images).float().square().sum()
    with Memory() as memory:
        loss.backward()
    assert memory.seen >= 4
    assert memory.channels_first == 0


@needs_bf16
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_group_norm_in_bf16_has_the_gradients_of_fp64(groups: int) -> None:
    """Of several groups it is computed with the channels first, and returned with the channels last."""
    layer = nn.GroupNorm(groups, 8)
    nn.init.normal_(layer.weight)
    exact = copy.deepcopy(layer).double()
    maps, gradient = (
        torch.randn(3, 8, 5, 6).to(torch.bfloat16).contiguous(memory_format=torch.channels_last)
        for _ in range(2)
    )
    maps.requires_grad_()
    reference = maps.detach().double().requires_grad_()
    exact(reference).backward(gradient.double())
    with torch.autocast("cpu", torch.bfloat16), backward_workarounds(CPU, torch.bfloat16):
        output = layer(maps)
    assert output.is_contiguous(memory_format=torch.channels_last)
    output.backward(gradient.to(output.dtype))
    pairs = [(output, exact(reference)), (maps.grad, reference.grad)]
    pairs += [(layer.weight.grad, exact.weight.grad), (layer.bias.grad, exact.bias.grad)]
    for actual, expected in pairs:
        assert actual is not None
        assert expected is not None
        torch.testing.assert_close(actual.double(), expected, rtol=0.02, atol=0.02)
    assert maps.grad is not None
    assert maps.grad.is_contiguous(memory_format=torch.channels_last)


@needs_bf16
def test_a_net_of_dilated_layers_learns_in_bf16(tmp_path: Path) -> None:
    """On maps of 32 pixels, PyTorch's gradients are not finite."""
    net = "C24 C24:d2 S24:d2 / G F10"
    recipe = load("digits", [f"model.net={net}", "data.resize=32", "train.epochs=2", "train.precision=bf16"])
    assert cs.train(recipe, runs=tmp_path).test.accuracy > 0.3


def sweep(count: str, **environment: str) -> str:
    """Return the output of a sweep over shapes in fp32, each in a separate process."""
    script = HELPERS / "convolution_sweep.py"
    finished = subprocess.run(
        [sys.executable, str(script), count],
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | environment,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}


def test_no_shape_of_a_short_sweep_corrupts_memory_or_has_wrong_gradients() -> None:
    """With AVX2 only, PyTorch's backward pass of 1x1 convolutions with a stride crashes."""
    assert sweep("60", **AVX2).endswith("60 shapes tried on AVX2, 0 bad\n")


@pytest.mark.slow
@pytest.mark.parametrize("environment", [{}, AVX2], ids=["as it is", "AVX2"])
def test_no_shape_of_the_whole_sweep_does(environment: dict[str, str]) -> None:
    assert ", 0 bad" in sweep("all", **environment)


def test_a_point_convolution_with_a_stride_is_a_slice_and_one_without() -> None:
    layer = nn.Conv2d(4, 8, 1, 2).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.randn(2, 4, 7, 9, requires_grad=True)
    with backward_workarounds(CPU, torch.float32):
        made = layer(images)
    assert torch.allclose(made, layer(images))
    gradients = torch.autograd.grad(made.square().sum(), [images, *layer.parameters()])
    exact_images = images.detach().double().requires_grad_()
    exact = torch.autograd.grad(
        layer.double()(exact_images).square().sum(), [exact_images, *layer.parameters()]
    )
    for found, right in zip(gradients, exact, strict=True):
        assert torch.allclose(found.double(), right, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "pool",
    [
        lambda x: x.mean((2, 3)),
        lambda x: x.mean([-1, -2], True),
        lambda x: torch.mean(x, dim=(2, 3), keepdim=True),
        lambda x: functional.adaptive_avg_pool2d(x, output_size=(1, 1)),
        lambda x: functional.adaptive_avg_pool2d(x, [1, 1]),  # type: ignore[arg-type]
        lambda x: functional.adaptive_avg_pool2d(x, (None, 1)),
        lambda x: functional.adaptive_avg_pool2d(input=x, output_size=1),
        lambda x: x.mean(),
        lambda x: x.mean(2),
        lambda x: x.mean((1, 2)),
        lambda x: x.mean((2, 3), dtype=torch.float64),
        lambda x: x.flatten(1, 2),
        lambda x: x.flatten(),
        lambda x: functional.adaptive_avg_pool2d(x[0], 1),
    ],
)
@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_pooling_and_flattening_in_any_spelling(
    pool: Callable[[Tensor], Tensor], memory_format: torch.memory_format
) -> None:
    """Values and gradients are PyTorch's, and gradients have the memory format of the maps."""
    maps = torch.randn(2, 3, 4, 5).to(memory_format=memory_format).requires_grad_()
    results = []
    for context in (nullcontext(), backward_workarounds(CPU, torch.float32)):
        with context:
            outputs = pool(maps)
        (gradient,) = torch.autograd.grad(outputs.square().sum(), maps)
        results.append((outputs, gradient))
    (expected_outputs, expected_gradient), (outputs, gradient) = results
    assert outputs.shape == expected_outputs.shape
    assert outputs.dtype == expected_outputs.dtype
    assert torch.allclose(outputs, expected_outputs)
    assert torch.allclose(gradient, expected_gradient)


def test_gradients_of_global_pooling_have_the_channels_last() -> None:
    maps = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last).requires_grad_()
    for pool in (
        lambda x: x.mean((2, 3)),
        lambda x: torch.mean(x, (3, 2)),
        lambda x: functional.adaptive_avg_pool2d(x, (1, 1)),
        lambda x: functional.adaptive_avg_pool2d(x, 1).flatten(1),
    ):
        with backward_workarounds(CPU, torch.float32):
            outputs = pool(maps * 1)
        (gradient,) = torch.autograd.grad(outputs.square().sum(), maps)
        assert gradient.is_contiguous(memory_format=torch.channels_last)
