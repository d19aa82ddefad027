"""The numbers of any `nn.Module`, found by running it on a stand-in for an image: a shape without values.

Every operator that the forward pass calls is seen, whatever way it is called: as a layer, a function or a
method. The module itself is not touched: a copy runs, without hooks of its own, values or random numbers.
"""

import copy
import inspect
import logging
import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode

from convsmith.errors import ModuleError
from convsmith.net import coverage
from convsmith.net.analysis import BYTES_PER_VALUE, Analysis, Row, Shape, Window
from convsmith.tracing.operators import Call, Effect, effect_of, tensors_in
from convsmith.tracing.tracks import Track

_NOT_LEAVES = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def trace(module: nn.Module, input_shape: tuple[int, ...]) -> Analysis:
    """Find the numbers of a module in evaluation mode, for one image.

    What cannot be known is said to be unknown, with the reason, in the rows that it concerns.

    Args:
        module: Any module whose `forward` takes images `(N, C, H, W)`; it is left exactly as it was.
        input_shape: `(C, H, W)` of one image; `(C, L)` and `(C, D, H, W)` for nets over one and three axes.

    Raises:
        ModuleError: The forward pass fails, takes more than an image, or chooses its way by its values.

    Example:
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 8, (3, 5)))
        >>> facts = trace(net, (3, 32, 32))
        >>> facts.parameters, facts.macs, facts.final_receptive_field.sizes
        (1192, 185880, (7, 11))
    """
    _check_signature(module)
    # Within inference mode operators are not taken apart.
    with torch.inference_mode(mode=False):
        return _trace(module, input_shape)


def _trace(module: nn.Module, input_shape: tuple[int, ...]) -> Analysis:
    runner = _copy_of(module).eval()
    try:
        _settle_lazy_layers(runner, input_shape)
    except Exception as error:
        raise _Tracer(runner).failure(error, type(module).__name__) from error
    tracer = _Tracer(runner)
    weight = next((each for each in runner.parameters() if each.is_floating_point()), torch.empty(0))
    with _state_kept(), torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True):
        image = torch.zeros(1, *input_shape, dtype=weight.dtype, device=weight.device)
        tracer.follow(image, Track.of_image(image.shape))
        try:
            with tracer.watching_modules(), tracer, warnings.catch_warnings():
                warnings.simplefilter("ignore")
                runner(image)
        except ModuleError:
            raise
        except Exception as error:
            raise tracer.failure(error, type(module).__name__) from error
    return tracer.analysis(type(module).__name__, input_shape)


@dataclass
class _Frame:
    """A module that is running; a leaf's operators make up one row."""

    module: nn.Module
    inputs: list[Tensor]
    effects: list[Effect] | None


class _Tracer(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows every operator of a forward pass."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.module = module
        self.names = {id(child): name for name, child in module.named_modules()}
        self.counted: dict[int, str] = {}
        self.rows: list[Row] = []
        self.row_tracks: list[Track] = []
        self.frames: list[_Frame] = []
        # Tensors are known by their id, so they must not be freed while the module runs.
        self.alive: dict[int, Tensor] = {}
        self.tracks: dict[int, Track] = {}
        # Parameters that a tensor without image in it was made from, as standardised weights are.
        self.origins: dict[int, dict[int, nn.Parameter]] = {}

    def follow(self, tensor: Tensor, track: Track) -> None:
        self.alive[id(tensor)] = tensor
        self.tracks[id(tensor)] = track

    def track_of(self, tensor: Tensor) -> Track | None:
        return self.tracks.get(id(tensor))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        outputs = list(tensors_in(result))
        if func.namespace == "prim" or not outputs:
            return result
        packet, schema = func.overloadpacket.__name__, func._schema  # noqa: SLF001 - public in C++ only
        call = Call(
            name=packet.removesuffix("_") if schema.is_mutable else packet,
            values=_named(schema, args, kwargs),
            outputs=outputs,
            track_of=self.track_of,
        )
        if call.tracks:
            self.observe(call, pointwise=torch.Tag.pointwise in func.tags)
            if schema.is_mutable:
                self.spread(outputs[0])
        else:
            made_of = self.parameters_of(call.tensors)
            for output in outputs:
                self.alive[id(output)] = output
                self.origins[id(output)] = made_of
        return result

    def observe(self, call: Call, *, pointwise: bool) -> None:
        effect = effect_of(call, pointwise=pointwise)
        leaf = next((frame for frame in self.frames if frame.effects is not None), None)
        sources = frozenset().union(*(track.rows for track in call.tracks))
        if leaf is not None and leaf.effects is not None:
            leaf.effects.append(effect)
        elif not effect.view:
            sources = frozenset({self.add_operator(call, effect, sources)})
        for output, track in zip(call.outputs, effect.tracks, strict=True):
            self.follow(output, replace(track, rows=sources))

    def spread(self, written: Tensor) -> None:
        """Tensors that share memory with one that was written in place."""
        track = self.tracks[id(written)]
        memory = _memory(written)
        for tensor in list(self.alive.values()):
            if tensor is written or _memory(tensor) != memory:
                continue
            same = tensor.shape == written.shape
            reason = "parts of it are written one by one"
            self.follow(tensor, track if same else track.lost(tensor.shape, reason))

    def add_operator(self, call: Call, effect: Effect, sources: frozenset[int]) -> int:
        """A row for an operator that is called as a function or a method."""
        path = self.names.get(id(self.frames[-1].module), "") if self.frames else ""
        parameters = self.parameters_of(call.tensors)
        first = call.tracks[0]
        joins = len(call.tracks) > 1
        after = effect.tracks[0]
        in_shape = next(each for each in call.tensors if self.track_of(each) is not None).shape
        row = self.row(
            effect,
            operation=effect.operation,
            name=f"{path}.{effect.operation}" if path else effect.operation,
            path=path,
            sources=sources,
            in_shape=in_shape,
            out_shape=call.shape,
            parameters=parameters,
            before=after if joins else first,
            after=after,
        )
        return self.add(row, after)

    def add_leaf(self, frame: _Frame, output: Tensor) -> None:
        """A row for a layer of `torch.nn`, whatever operators it is made of."""
        track = self.track_of(output)
        inputs = [tensor for tensor in frame.inputs if self.track_of(tensor) is not None]
        if track is None or not inputs:
            return
        path = self.names.get(id(frame.module), "")
        befores = [self.tracks[id(tensor)] for tensor in inputs]
        row = self.row(
            _merged(frame.effects or []),
            operation=type(frame.module).__name__,
            name=path,
            path=path,
            sources=frozenset().union(*(each.rows for each in befores)),
            in_shape=inputs[0].shape,
            out_shape=output.shape,
            parameters={id(each): each for each in frame.module.parameters()},
            before=befores[0],
            after=track,
        )
        index = self.add(row, track)
        self.follow(output, replace(track, rows=frozenset({index})))

    def row(
        self,
        effect: Effect,
        *,
        operation: str,
        name: str,
        path: str,
        sources: frozenset[int],
        in_shape: Shape,
        out_shape: Shape,
        parameters: dict[int, nn.Parameter],
        before: Track,
        after: Track,
    ) -> Row:
        new = {key: each for key, each in parameters.items() if key not in self.counted}
        shared = sorted({self.counted[key] for key in parameters if key in self.counted})
        self.counted |= dict.fromkeys(new, name)
        notes = tuple(f"its weights are those of {owner}, counted there" for owner in shared)
        return Row(
            operation=operation,
            name=name,
            block=path.split(".", maxsplit=1)[0],
            layer=path,
            sources=tuple(sorted(sources)),
            in_shape=tuple(in_shape[1:]),
            out_shape=tuple(out_shape[1:]),
            **{each.name: getattr(effect, each.name) for each in fields(Window)},
            parameters=sum(each.numel() for each in new.values()),
            macs=effect.macs,
            elementwise=effect.elementwise,
            in_field=before.view,
            out_field=after.view,
            notes=(*effect.notes, *notes),
        )

    def add(self, row: Row, track: Track) -> int:
        self.rows.append(row)
        self.row_tracks.append(track)
        return len(self.rows) - 1

    def parameters_of(self, tensors: list[Tensor]) -> dict[int, nn.Parameter]:
        """The parameters among tensors, and those that they were made from."""
        found: dict[int, nn.Parameter] = {}
        for tensor in tensors:
            found |= self.origins.get(id(tensor), {})
            if isinstance(tensor, nn.Parameter):
                found[id(tensor)] = tensor
        return found

    @contextmanager
    def watching_modules(self) -> Iterator[None]:
        """Hooks for all modules there are, so that none is put into the module itself."""

        def entered(module: nn.Module, args: Any) -> None:
            inside = any(frame.effects is not None for frame in self.frames)
            leaf = _is_leaf(module) and not inside
            self.frames.append(_Frame(module, list(tensors_in(args)), [] if leaf else None))

        def left(_: nn.Module, __: Any, output: Any) -> None:
            frame = self.frames.pop()
            tensors = list(tensors_in(output))
            if frame.effects is not None and tensors:
                self.add_leaf(frame, tensors[0])

        hooks = [register_module_forward_pre_hook(entered), register_module_forward_hook(left)]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def failure(self, error: Exception, title: str) -> ModuleError:
        """What is told of a forward pass that broke off."""
        frame = self.frames[-1] if self.frames else None
        path = self.names.get(id(frame.module), "") if frame else ""
        where = f"{title}.{path} ({type(frame.module).__name__})" if frame and path else title
        shapes = [tuple(tensor.shape[1:]) for tensor in frame.inputs] if frame else []
        got = f"its input is {_shapes(shapes)} for one image; " if shapes else ""
        context = f"{got}{len(self.rows)} operations before it ran"
        if self.rows:
            context += f", the last was {self.rows[-1].name} with output {_shapes([self.rows[-1].out_shape])}"
        if isinstance(error, (DataDependentOutputException, DynamicOutputShapeException)):
            return ModuleError(
                "the forward pass chooses its way by the values of the image",
                where=where,
                context=context,
                fix="only shapes are followed; let shapes or settings choose, or give the part without it",
            )
        message = str(error).strip().splitlines() or [""]
        return ModuleError(
            f"the forward pass fails: {type(error).__name__}: {message[0][:200]}",
            where=where,
            context=context,
            fix="see that --input is what the net is made for, and that the layer fits its input",
        )

    def analysis(self, title: str, input_shape: Shape) -> Analysis:
        parameters = {id(each): (name, each) for name, each in self.module.named_parameters()}
        unused = {key: each for key, each in parameters.items() if key not in self.counted}
        buffers = {id(each): each for each in self.module.buffers()}.values()
        rows = tuple(self.rows)
        local = [track for track in self.row_tracks if track.view.axes]
        unknown = any(track.unknown for track in self.row_tracks)
        return Analysis(
            title=title,
            input_shape=tuple(input_shape),
            rows=rows,
            trainable=sum(each.numel() for _, each in parameters.values() if each.requires_grad),
            buffers=sum(each.numel() for each in buffers),
            buffer_bytes=sum(each.numel() * _bytes_in_file(each) for each in buffers),
            uncovered=None if unknown else _uncovered(local[-1] if local else None, input_shape),
            unused=tuple((name, each.numel()) for name, each in unused.values()),
        )


def _bytes_in_file(buffer: Tensor) -> int:
    return BYTES_PER_VALUE if buffer.is_floating_point() else buffer.element_size()


def _memory(tensor: Tensor) -> int:
    """What tells apart the memory of tensors that have none."""
    return int(tensor.untyped_storage()._cdata)  # noqa: SLF001 - a stand-in has no address


def _merged(effects: list[Effect]) -> Effect:
    """The numbers of a layer that several operators make up."""
    told = [effect for effect in effects if not effect.view]
    main = next((effect for effect in told if effect.kernel or effect.width != (0, 0)), None)
    base = main or Effect(tracks=())
    unknown = any(effect.macs is None for effect in told)
    return replace(
        base,
        macs=None if unknown else sum(effect.macs or 0 for effect in told),
        elementwise=all(effect.elementwise for effect in told),
        notes=tuple(dict.fromkeys(note for effect in told for note in effect.notes)),
    )


def _is_leaf(module: nn.Module) -> bool:
    """A layer of PyTorch's own: its row has its name, whatever it calls inside."""
    own = type(module).__module__.startswith("torch.nn.modules")
    has_children = next(module.children(), None) is not None
    return (
        own
        and not isinstance(module, _NOT_LEAVES)
        and (not has_children or isinstance(module, nn.MultiheadAttention))
    )


def _named(schema: Any, args: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of an operator by the names of its schema, defaults filled in."""
    values = {}
    for index, argument in enumerate(schema.arguments):
        if index < len(args):
            values[argument.name] = args[index]
        elif argument.name in kwargs:
            values[argument.name] = kwargs[argument.name]
        elif argument.has_default_value():
            values[argument.name] = argument.default_value
    return values


def _check_signature(module: nn.Module) -> None:
    parameters = list(inspect.signature(module.forward).parameters.values())
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [
        each.name
        for each in parameters
        if each.default is each.empty and each.kind in (*positional, each.KEYWORD_ONLY)
    ]
    variadic = any(each.kind is each.VAR_POSITIONAL for each in parameters)
    takes_one = variadic or any(each.kind in positional for each in parameters)
    if len(needed) > 1 or not takes_one:
        found = ", ".join(each.name for each in parameters) or "nothing"
        raise ModuleError(
            f"forward takes {found}; one batch of images is given",
            where=type(module).__name__,
            fix="wrap it in a module whose forward takes just the images",
        )


def _settle_lazy_layers(module: nn.Module, input_shape: Shape) -> None:
    """Layers that take their width from their first input get it from an image of zeros."""
    if any(nn.parameter.is_lazy(each) for each in (*module.parameters(), *module.buffers())):
        with _state_kept(), torch.no_grad():
            module(torch.zeros(1, *input_shape))


def _copy_of(module: nn.Module) -> nn.Module:
    memo: dict[int, Any] = {}
    for child in module.modules():
        for value in vars(child).values():
            # What PyTorch refuses to copy: results of earlier operations, and random generators.
            if isinstance(value, Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
            elif isinstance(value, torch.Generator):
                memo[id(value)] = value.clone_state()
    try:
        return copy.deepcopy(module, memo)
    except Exception as error:
        raise ModuleError(
            f"cannot be copied: {type(error).__name__}: {error}",
            where=type(module).__name__,
            fix="keep locks, files and the like out of the module, or give it a __deepcopy__",
        ) from error


@contextmanager
def _state_kept() -> Iterator[None]:
    """What belongs to the whole process: random states, PyTorch's reports of failures, fast attention."""
    reports = logging.getLogger("torch._subclasses.fake_tensor")
    level = reports.level
    reports.setLevel(logging.CRITICAL)
    # Attention in one piece hides its parts.
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(value=False)
    python, numbers, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    try:
        yield
    finally:
        reports.setLevel(level)
        torch.backends.mha.set_fastpath_enabled(value=fast_path)
        random.setstate(python)
        np.random.set_state(numbers)  # noqa: NPY002
        torch.set_rng_state(cpu)
        if devices:
            torch.cuda.set_rng_state_all(devices)


def _uncovered(track: Track | None, input_shape: Shape) -> tuple[int, ...]:
    sizes = input_shape[1:]
    if track is None:
        return (0,) * len(sizes)
    return tuple(
        0 if state is None else coverage.uncovered(state.masks, size)
        for state, size in zip(track.axes, sizes, strict=True)
    )


def _shapes(shapes: list[Shape]) -> str:
    return ", ".join("x".join(map(str, shape)) or "one value" for shape in shapes)
