"""Class-activation maps: the logits at each position of the last map before global average pooling.

They exist if the head is affine: nothing but affine functions follows the pooling. How pooling and head are
written does not matter, since both are recognised by their values. The pooling is a call of an average, a
mean or a sum whose result is that of the full map. The head is what the net computes from another result in
its place.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from convsmith.evaluation.forward import MISFITS, Forward, logits_of
from convsmith.evaluation.function_calls import FunctionCall, FunctionCalls
from convsmith.system.rng import new_generator

# Differences of rounding, relative to the largest value: in fp32 and TF32, and in types of 16 bits. Those of
# curved heads are far larger.
_TOLERANCE, _COARSE_TOLERANCE = 2e-3, 2e-2
_SAMPLE = 105


@torch.no_grad()
def class_activation_maps(net: nn.Module, images_NCHW: Tensor) -> Tensor | None:  # noqa: N803 - shape suffix
    """Compute the logits at each position of the last map (CAM, Zhou et al., arXiv 1512.04150, with biases).

    Their mean over the map equals the logits of the net, which is verified. If the net ends in a softmax or
    log-softmax, they are the inputs of it. A position that a pooling window leaves out has the logits of a
    position of zeros.

    Args:
        net: From images to one value for each class, in evaluation mode; it is not modified.
        images_NCHW: `(N, C, H, W)`, normalized.

    Returns:
        `(N, num_classes, h, w)`; None without global average pooling, or with other than affine functions
        after it.

    Example:
        >>> conv, head = nn.Conv2d(3, 8, 3), nn.Linear(8, 10)
        >>> net = nn.Sequential(conv, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head).eval()
        >>> images = torch.randn(2, 3, 16, 16)
        >>> maps = class_activation_maps(net, images)
        >>> maps.shape, torch.allclose(maps.mean((2, 3)), net(images), atol=1e-5)
        (torch.Size([2, 10, 14, 14]), True)
    """
    forward = logits_of(net, images_NCHW)
    pooling, logits = _find_pooling(forward, images_NCHW)
    if pooling is None:
        return None
    head = _Head(forward=forward, images=images_NCHW, pooling=pooling)
    count, channels, height, width = pooling.maps.shape
    try:
        if not _is_affine(head):
            return None
        # The same memory layout as that of the layers that follow each other in the net.
        features = pooling.weighted_maps.permute(0, 2, 3, 1).reshape(count, -1, channels)
        maps = head(features).reshape(count, height, width, -1).permute(0, 3, 1, 2)
    except MISFITS:
        return None
    same = maps.shape[1] == logits[0].numel() and _are_close(maps.mean((2, 3)), logits.flatten(1), maps)
    return maps if same else None


@dataclass(frozen=True, kw_only=True)
class _Pooling:
    """The call that pools the last map.

    Attributes:
        number: That of the call.
        maps: `(N, C, h, w)`, its input.
        weights: `(h, w)`, the weight of each position relative to that in the mean; None if all are 1.
    """

    number: int
    maps: Tensor
    weights: Tensor | None = None

    @property
    def weighted_maps(self) -> Tensor:
        return self.maps if self.weights is None else self.maps * self.weights.to(self.maps.dtype)

    @property
    def is_of_one_position(self) -> bool:
        return self.maps[0, 0].numel() == 1


def _find_pooling(forward: Forward, images: Tensor) -> tuple[_Pooling | None, Tensor]:
    """Return the last call that pools a map of several positions, or else of one; and the logits."""
    found: _Pooling | None = None
    # The last map that is not a result of pooling.
    maps: Tensor | None = None

    def visit(call: FunctionCall) -> Tensor:
        nonlocal found, maps
        if _may_pool(call):
            pooling = next(_poolings(call, maps), None)
            if pooling and (found is None or found.is_of_one_position or not pooling.is_of_one_position):
                found = pooling
        elif call.result.dim() == 4:
            maps = call.result
        return call.result

    with FunctionCalls(visit):
        logits = forward(images)
    return found, logits


def _may_pool(call: FunctionCall) -> bool:
    return call.name in {"mean", "sum"} or "avg_pool" in call.name


def _poolings(call: FunctionCall, before: Tensor | None) -> Iterator[_Pooling]:
    """Yield what a call may pool: its input, or a map `before` that was averaged along one axis or flattened.

    A map of one row or column is the average of an earlier one.
    """
    source = call.source
    maps = [each for each in (source, before) if each is not None and each.dim() == 4]
    if len(maps) == 2 and min(maps[0].shape[2:]) == 1:
        maps.reverse()
    for each in maps:
        count, channels, height, width = each.shape
        if call.result.dim() < 2 or len(call.result) != count or call.result.numel() != count * channels:
            continue
        if each is source and "avg_pool2d" in call.name:
            yield _Pooling(number=call.number, maps=each, weights=_window_weights(call, each))
        else:
            result, mean = call.result.flatten(1), each.mean((2, 3))
            for total in (1, height * width):
                if _are_close(result / total, mean, each):
                    weights = each.new_full((height, width), total) if total > 1 else None
                    yield _Pooling(number=call.number, maps=each, weights=weights)


def _window_weights(call: FunctionCall, maps: Tensor) -> Tensor | None:
    """Return the weights of positions under a window that may leave some out, or cover padding.

    They are products of a weight for the row and one for the column. None if all are 1.
    """
    height, width = maps.shape[2:]

    def pool(places: Tensor) -> Tensor:
        args = (places, *call.args[1:]) if call.args else ()
        kwargs = {name: places if value is maps else value for name, value in call.kwargs.items()}
        result: Tensor = call.function(*args, **kwargs)
        return result.flatten()

    rows = pool(torch.eye(height).to(maps)[:, None, :, None].expand(-1, 1, -1, width))
    columns = pool(torch.eye(width).to(maps)[:, None, None, :].expand(-1, 1, height, -1))
    weights = torch.outer(rows, columns) / rows.sum() * (height * width)
    return None if _are_close(weights, torch.ones_like(weights), weights) else weights


@dataclass(frozen=True, kw_only=True)
class _Head:
    """The function from pooled features to logits: the forward pass with another result of the pooling."""

    forward: Forward
    images: Tensor
    pooling: _Pooling

    def __call__(self, features_NPC: Tensor) -> Tensor:  # noqa: N803 - shape suffix
        """Compute the logits `(N, P, num_classes)` of features of `P` positions."""
        count, positions, channels = features_NPC.shape
        try:
            logits = self._run(features_NPC.reshape(-1, channels))
            if len(logits) == count * positions and logits.dim() > 1:
                return logits.reshape(count, positions, -1)
        except MISFITS:
            pass
        # Code that reshapes to the size of the batch, as `x.view(batch, -1)`, takes one position at a time.
        each = [self._run(features_NPC[:, position]) for position in range(positions)]
        return torch.stack([logits.reshape(count, -1) for logits in each], dim=1)

    def _run(self, features: Tensor) -> Tensor:
        def replace(call: FunctionCall) -> Tensor:
            if call.number == self.pooling.number:
                return features.reshape(-1, *call.result.shape[1:])
            return call.result

        with FunctionCalls(replace):
            return self.forward(self.images)


def _is_affine(head: _Head) -> bool:
    """Whether the logits are an affine function of the pooled features, and of nothing else of the images.

    The features are random, and equal for all images. Some are so large that no activation is linear over
    all of them.
    """
    maps = head.pooling.maps
    random = torch.randn(1, 3, maps.shape[1], generator=new_generator(0, _SAMPLE)).to(maps)
    usual, first, second = (maps.abs().max() * random.expand(len(maps), -1, -1)).unbind(1)
    first, second = 100 * first, 100 * second
    logits = head(torch.stack([usual, first, second, (first + second) / 2], dim=1))
    one, ends, middle = logits[:, 0], logits[:, 1:3], logits[:, 3]
    return _are_close(one, one[:1], one) and _are_close(ends.mean(1), middle, ends)


def _are_close(found: Tensor, expected: Tensor, values: Tensor) -> bool:
    """Whether tensors are equal up to rounding, relative to the largest of some values."""
    tolerance = _TOLERANCE if torch.finfo(values.dtype).bits > 16 else _COARSE_TOLERANCE
    return bool((found - expected).abs().max() <= tolerance * values.abs().max())
