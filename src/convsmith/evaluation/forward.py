"""The forward pass of any net as a function of images, up to its logits."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from convsmith.evaluation.function_calls import FunctionCall, FunctionCalls

Forward = Callable[[Tensor], Tensor]
# What a net raises that does not take a batch of some size.
MISFITS = (RuntimeError, ValueError, TypeError, IndexError, AssertionError)
# Logarithms of probabilities below this one are rounded, or bounded by the net.
_LOWEST = -60.0


@torch.no_grad()
def forward_of(net: nn.Module, image_CHW: Tensor) -> Forward:  # noqa: N803 - shape suffix
    """Return the forward pass of a net, for batches of any size. It does not modify the images.

    A net that drops the dimension of a batch of one, as by `x.squeeze()`, gets the image twice.

    Args:
        net: In evaluation mode.
        image_CHW: `(C, H, W)`, an image to try.

    Example:
        >>> class Net(nn.Conv2d):
        ...     def forward(self, images):
        ...         return super().forward(images).squeeze()
        >>> net, image = Net(3, 10, 8), torch.randn(3, 8, 8)
        >>> net(image[None]).shape, forward_of(net, image)(image[None]).shape
        (torch.Size([10]), torch.Size([1, 10]))
    """
    try:
        takes_one = net(image_CHW[None].clone()).shape[:1] == (1,)
    except MISFITS:
        takes_one = False

    def forward(images: Tensor) -> Tensor:
        # A copy: the first layer may write into its input.
        if len(images) > 1 or takes_one:
            outputs: Tensor = net(images.clone())
            return outputs
        pair: Tensor = net(images.repeat(2, 1, 1, 1))
        return pair[:1]

    return forward


@torch.no_grad()
def logits_of(net: nn.Module, images_NCHW: Tensor) -> Forward:  # noqa: N803 - shape suffix
    """Return the forward pass of a net without its last softmax or log-softmax; see `forward_of`.

    Args:
        net: In evaluation mode; it is not modified.
        images_NCHW: `(N, C, H, W)`, normalized, to try.

    Returns:
        A function from images to logits: the outputs of the net, or the inputs of its last softmax.

    Example:
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.LogSoftmax(dim=1)).eval()
        >>> images = torch.randn(5, 1, 2, 2)
        >>> torch.equal(logits_of(net, images)(images), net[:2](images))
        True
    """
    forward = forward_of(net, images_NCHW[0])
    last: FunctionCall | None = None

    def keep(call: FunctionCall) -> Tensor:
        nonlocal last
        if "softmax" in call.name and call.source is not None:
            last = call
        return call.result

    with FunctionCalls(keep):
        outputs = forward(images_NCHW)
    if last is None or last.source is None or not _are_of(outputs, last.source):
        return forward
    number = last.number

    def without_softmax(images: Tensor) -> Tensor:
        logits: Tensor | None = None

        def drop(call: FunctionCall) -> Tensor:
            nonlocal logits
            if call.number == number:
                logits = call.source
            # What follows reshapes the result or takes its logarithm.
            if logits is None or logits.numel() != call.result.numel():
                return call.result
            return logits.reshape(call.result.shape)

        with FunctionCalls(drop):
            return forward(images)

    return without_softmax


def _are_of(outputs: Tensor, logits: Tensor) -> bool:
    """Whether outputs are the probabilities of logits, or their logarithms."""
    if outputs.dim() < 2 or outputs.numel() != logits.numel():
        return False
    values = outputs.flatten(1).double()
    expected = logits.reshape(values.shape).double().log_softmax(1).clamp_min(_LOWEST)
    tolerance = 1e-3 if torch.finfo(outputs.dtype).bits > 16 else 5e-2
    return any(
        torch.allclose(found.clamp_min(_LOWEST), expected, rtol=tolerance, atol=tolerance)
        for found in (values, values.clamp_min(torch.finfo(values.dtype).tiny).log())
    )
