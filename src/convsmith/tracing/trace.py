"""The analysis of any `nn.Module`, by running it on a fake image: a shape without values.

Every operator of the forward pass is traced, whether it is called as a layer, a function or a method. The
module itself is unchanged: a copy runs, on fake tensors, with global hooks instead of hooks on the module.
"""

import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import reduce
from operator import or_
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.modules import module as torch_module
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode

from convsmith.errors import ModuleError
from convsmith.net import coverage
from convsmith.net.analysis import BYTES_PER_VALUE, Analysis
from convsmith.net.effects import with_effects
from convsmith.net.inputs import Inputs
from convsmith.net.rows import (
    ALWAYS_ACTIVE,
    IMAGE,
    UNUSED,
    Location,
    ReceptiveField,
    Row,
    Shape,
    Window,
)
from convsmith.tracing import views
from convsmith.tracing.arguments import Arguments, tensors_of, without_batch
from convsmith.tracing.calls import Call, Effect, tensors_in
from convsmith.tracing.copies import copy_module
from convsmith.tracing.dropouts import (
    INACTIVE,
    DropoutCall,
    Key,
    Keys,
    TrainingCall,
    TrainingPass,
    asks_for_mode,
    off_in_training,
    run_in_training,
)
from convsmith.tracing.failures import forward_error
from convsmith.tracing.frames import Frame, is_leaf, merged
from convsmith.tracing.functions import Functions, dropout_call
from convsmith.tracing.grid import plain_dims, size_of
from convsmith.tracing.hidden import SEED, HiddenTensors, address_of, names_of
from convsmith.tracing.idle import idle_layers
from convsmith.tracing.isolation import initialize_lazy_layers, preserved_state
from convsmith.tracing.lineage import Lineage
from convsmith.tracing.macs import macs_of_constant
from convsmith.tracing.members import Members, first_weight, named_modules, named_parameters, unwrap
from convsmith.tracing.operators import effect_of, returns_constant
from convsmith.tracing.places import Lines, Places
from convsmith.tracing.training_rows import insert_training_rows
from convsmith.tracing.values import Values, memory_of


def trace(
    module: nn.Module,
    input_shape: Inputs | None = None,
    *,
    args: Any = (),
    kwargs: Mapping[str, Any] | None = None,
    places: Places | None = None,
) -> Analysis:
    """Analyse a module in evaluation mode, for one image.

    A number that cannot be determined is marked as unknown, with the reason, in its row.

    Args:
        module: Any module; it is not modified.
        input_shape: `(C, H, W)` of one image; `(C, L)` or `(C, D, H, W)` for nets with one or three axes; or
            a list of several inputs, each a shape or a text such as "16:int64".
        args: Instead of shapes, the positional arguments of `forward`: tensors with their batch, and any
            other values. Tensors may be nested in lists, dictionaries and dataclasses.
        kwargs: Its keyword arguments.
        places: Which lines are the user's own, and where the layers were made, as far as it was recorded.

    Raises:
        ModuleError: The forward pass fails, takes other arguments, or branches on the values of the image.
        ShapeError: The shapes are invalid, or no input is given.

    Example:
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 8, (3, 5)))
        >>> analysis = trace(net, (3, 32, 32))
        >>> analysis.parameters, analysis.macs, analysis.final_receptive_field.sizes
        (1192, 185880, (7, 11))
    """
    module = unwrap(module)
    weight = first_weight(module)
    arguments = Arguments.of(input_shape, args, kwargs, weight.dtype)
    arguments.check(module)
    # In inference mode operators are not decomposed.
    with torch.inference_mode(mode=False):
        return _trace(module, arguments, weight.device, places or Places())


def _trace(module: nn.Module, arguments: Arguments, device: torch.device, places: Places) -> Analysis:
    title = type(module).__name__
    runner = copy_module(module)
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    lines = Lines(places, sys._getframe())  # noqa: SLF001 - the user's lines are above this one
    tracer = _Tracer(runner, arguments, mode, lines)
    try:
        runner.eval()
        initialize_lazy_layers(runner, arguments)
    except Exception as error:
        raise tracer.failure(error, title) from error
    # Lazy layers have their parameters now.
    tracer = _Tracer(runner, arguments, mode, lines)
    with preserved_state(), torch.no_grad(), mode:
        torch.manual_seed(SEED)
        fake = arguments.zeros(device)
        tracer.follow_inputs(fake)
        try:
            with tracer.module_hooks(), tracer, Functions(tracer), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tracer.returned = list(tensors_of(runner(*fake.args, **fake.kwargs)))
        except ModuleError:
            raise
        except Exception as error:
            raise tracer.failure(error, title) from error
    tracer.compare_with_training(runner, module, device)
    return tracer.analysis(title, places.definitions(module))


class _Tracer(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Traces every operator of a forward pass."""

    def __init__(self, module: nn.Module, arguments: Arguments, mode: FakeTensorMode, lines: Lines) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.arguments, self.mode, self.lines = arguments, mode, lines
        self.values = Values(mode)
        self.members = Members.of(module)
        self.names = self.members.paths
        self.counted: dict[int, str] = {}
        self.rows: list[Row] = []
        self.row_lineages: list[Lineage | None] = []
        self.frames: list[Frame] = []
        # Tensors are identified by their id, so they must not be freed while the module runs.
        self.alive: dict[int, Tensor] = {}
        self.lineages: dict[int, Lineage] = {}
        # The parameters from which a tensor that does not depend on the image was computed, as standardised
        # weights are, and the rows that computed it.
        self.origins: dict[int, dict[int, Tensor]] = {}
        self.constants: dict[int, frozenset[int]] = {}
        self.module = module
        self.hidden = HiddenTensors(module, self.members)
        self.returned: list[Tensor] = []
        self.called: set[int] = set()
        # The rows of dropouts that are functions.
        self.dropouts: dict[int, Key] = {}
        # Those that run in training alone.
        self.training_only: list[TrainingCall] = []
        self.keys = Keys()
        self.paused = False

    def follow(self, tensor: Tensor, lineage: Lineage) -> None:
        tensor = self.values.current(tensor)
        self.alive[id(tensor)] = tensor
        self.lineages[id(tensor)] = lineage
        self.constants.pop(id(tensor), None)

    def follow_inputs(self, fake: Arguments) -> None:
        """Follow the inputs: those of the size of the image share its axes, others do not depend on it."""
        image = fake.image
        rows = frozenset({IMAGE})
        for tensor in fake.tensors:
            if image.dim() <= 2:
                self.follow(tensor, Lineage(dims=plain_dims(tensor.shape), rows=rows))
            elif tensor.dim() == image.dim() and tensor.shape[2:] == image.shape[2:]:
                self.follow(tensor, Lineage.of_image(tensor.shape))
            else:
                self.hold(tensor, rows, {})

    def lineage_of(self, tensor: Tensor) -> Lineage | None:
        return self.lineages.get(id(self.values.current(tensor)))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        packet, schema = func.overloadpacket.__name__, func._schema  # noqa: SLF001 - public in C++ only
        args, kwargs = self.arguments_of(func, args, kwargs or {})
        result = self.values.call(func, args, kwargs, writes=schema.is_mutable)
        outputs = list(tensors_in(result))
        if self.paused or func.namespace == "prim" or not outputs:
            return result
        call = Call(
            name=packet.removesuffix("_") if schema.is_mutable else packet,
            builtin=func.namespace == "aten",
            values=_named(schema, args, kwargs),
            outputs=outputs,
            lineage_of=self.lineage_of,
        )
        before = self.lineage_of(outputs[0])
        if call.lineages and not returns_constant(call, mutable=schema.is_mutable):
            self.observe(call, pointwise=torch.Tag.pointwise in func.tags)
        else:
            self.observe_constant(call)
        if schema.is_mutable and (before or self.lineage_of(outputs[0])):
            self.update_views(outputs[0])
        return result

    def arguments_of(
        self, func: Any, args: Any, kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments of an operator; real tensors that are written become fake ones."""
        schema = func._schema  # noqa: SLF001 - public in C++ only
        self.values.note((args, kwargs))
        if schema.is_mutable:
            named = _named(schema, args, kwargs)
            targets = [named.get(each.name) for each in schema.arguments if each.is_write]
            for real, fake in self.values.write(tensors_in(targets)):
                self.hold(fake, self.constants.get(id(real), frozenset()), self.parameters_of([real]))
        arguments: tuple[tuple[Any, ...], dict[str, Any]] = self.values.arguments(func, (args, kwargs))
        return arguments

    def observe(self, call: Call, *, pointwise: bool) -> None:
        effect = effect_of(call, pointwise=pointwise)
        leaf = self.leaf
        self.hidden.use(call, self.location)
        sources = self.sources_of(call.tensors)
        if leaf is not None and leaf.effects is not None:
            leaf.effects.append(effect)
            leaf.add_inputs(call, self.lineage_of)
        elif not effect.is_view:
            sources = frozenset({self.add_operator(call, effect, sources)})
        for output, lineage in zip(call.outputs, effect.lineages, strict=True):
            self.follow(output, replace(lineage, rows=sources))

    @property
    def leaf(self) -> Frame | None:
        """The layer of `torch.nn` that runs, whatever it calls."""
        return next((frame for frame in self.frames if frame.effects is not None), None)

    def location(self) -> Location | None:
        """Return the user's line that runs."""
        leaf = self.leaf
        return leaf.location if leaf else self.lines.caller()

    def observe_constant(self, call: Call) -> None:
        """A call that does not depend on the image: it has a row only if it has multiply-accumulates."""
        self.hidden.compute(call, self.location)
        parameters = self.parameters_of(call.tensors)
        sources = frozenset().union(*(self.constants.get(id(each), frozenset()) for each in call.tensors))
        macs = 0 if self.prepares_weights() else macs_of_constant(call)
        effect = Effect(lineages=(), operation=call.operation, macs=macs, is_view=True)
        leaf = self.leaf
        if leaf is not None and leaf.effects is not None and macs != 0:
            leaf.effects.append(replace(effect, is_view=False))
            leaf.rows |= sources
        elif macs != 0:
            sources = frozenset({self.add_operator(call, effect, sources)})
            parameters = {}
        for output in call.outputs:
            self.lineages.pop(id(output), None)
            self.hold(output, sources, parameters)

    def prepares_weights(self) -> bool:
        """Whether a parametrization of PyTorch runs, such as spectral norm: its products do not count."""
        return any(type(frame.module).__module__.startswith("torch.nn.utils") for frame in self.frames)

    def hold(self, constant: Tensor, rows: frozenset[int], parameters: dict[int, Tensor]) -> None:
        constant = self.values.current(constant)
        self.alive[id(constant)] = constant
        self.constants[id(constant)] = rows
        self.origins[id(constant)] = parameters

    def sources_of(self, tensors: list[Tensor]) -> frozenset[int]:
        """Return the rows that computed tensors."""
        constants = (self.constants.get(id(self.values.current(each)), frozenset()) for each in tensors)
        lineages = (self.lineage_of(tensor) for tensor in tensors)
        return frozenset().union(*constants, *(lineage.rows for lineage in lineages if lineage))

    def update_views(self, written: Tensor) -> None:
        """Update the tensors that share memory with one that was modified in place."""
        lineage = self.lineage_of(written)
        memory = memory_of(written)
        for tensor in list(self.alive.values()):
            if tensor is written or memory_of(tensor) != memory:
                continue
            after = views.update(tensor, self.lineage_of(tensor), written, lineage)
            if after is not None:
                self.follow(tensor, replace(after, rows=self.sources_of([tensor, written])))

    def add_operator(self, call: Call, effect: Effect, sources: frozenset[int]) -> int:
        """Add a row for an operator that is called as a function or a method."""
        path = self.names.get(id(self.frames[-1].module), "") if self.frames else ""
        self.called |= self.lines.direct_calls()
        traced = [each for each in call.tensors if self.lineage_of(each) is not None]
        after = effect.lineages[0] if effect.lineages else None
        before = after if len(traced) > 1 else (self.lineage_of(traced[0]) if traced and after else None)
        row = self.row(
            effect,
            operation=effect.operation,
            name=f"{path}.{effect.operation}" if path else effect.operation,
            path=path,
            sources=sources,
            in_shape=(traced or call.tensors or call.outputs)[0].shape,
            out_shape=call.shape,
            parameters=self.parameters_of(call.tensors),
            before=before,
            after=after,
            location=self.lines.caller(),
        )
        return self.add(row, after)

    def add_leaf(self, frame: Frame, inputs: list[Tensor], outputs: list[Tensor]) -> None:
        """Add a row for a layer of `torch.nn`, whatever operators it calls."""
        effect = merged(frame.effects or [])
        if isinstance(frame.module, (nn.RNNBase, nn.RNNCellBase)):
            effect = replace(effect, notes=())
            self.follow_recurrence(frame.module, inputs, outputs)
        parameters: dict[int, Tensor] = {id(each): each for each in named_parameters(frame.module).values()}
        after = next((each for each in map(self.lineage_of, outputs) if each is not None), None)
        traced = [tensor for tensor in inputs if self.lineage_of(tensor) is not None]
        if after is None and not (parameters or effect.macs != 0):
            return
        if after is not None and not traced:
            return
        operation = type(frame.module).__name__
        path = self.names.get(id(frame.module), "")
        above = self.names.get(id(self.frames[-1].module), "") if self.frames else ""
        # A layer of no module of the net: a global, or one that the forward pass creates.
        stranger = id(frame.module) not in self.names
        row = self.row(
            effect,
            operation=operation,
            name=".".join(filter(None, (above, operation))) if stranger else path,
            path=above if stranger else path,
            sources=self.sources_of(inputs) | frame.rows,
            in_shape=(traced or inputs or outputs)[0].shape,
            out_shape=outputs[0].shape,
            parameters=parameters,
            before=self.lineage_of(traced[0]) if after else None,
            after=after,
            location=frame.location,
        )
        rows = frozenset({self.add(row, after)})
        for output in outputs:
            lineage = self.lineage_of(output)
            if lineage is None:
                self.hold(output, rows, {})
            else:
                self.follow(output, replace(lineage, rows=rows))

    def follow_recurrence(self, module: nn.Module, inputs: list[Tensor], outputs: list[Tensor]) -> None:
        """Every output of a recurrent layer may depend on all steps and features, of its sequence alone."""
        lineages = [lineage for lineage in map(self.lineage_of, inputs) if lineage is not None]
        if not lineages:
            return
        first = lineages[0]
        batch = int(len(first.dims) == 3 and not getattr(module, "batch_first", True))
        mixed = first.mix(place for place in range(len(first.dims)) if place != batch)
        kept = mixed.dims[batch]
        for output in outputs:
            dims = list(plain_dims(output.shape))
            # States have their layers before the batch.
            place = batch if len(dims) == len(first.dims) and output is outputs[0] else len(dims) - 2
            if 0 <= place < len(dims) and size_of(kept) == output.shape[place]:
                dims[place] = kept
            self.follow(output, replace(mixed, dims=tuple(dims)))

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
        parameters: dict[int, Tensor],
        before: Lineage | None,
        after: Lineage | None,
        location: Location | None,
    ) -> Row:
        new = {key: each for key, each in parameters.items() if key not in self.counted}
        shared = sorted({self.counted[key] for key in parameters if key in self.counted})
        self.counted |= dict.fromkeys(new, name)
        self.alive |= new
        notes = tuple(f"shares the weights of {owner}, where they are counted" for owner in shared)
        if after is None:
            notes = ("it does not depend on the image", *notes)
        return Row(
            operation=operation,
            name=name,
            block=path.split(".", maxsplit=1)[0],
            layer=path,
            sources=tuple(sorted(sources)),
            in_shape=without_batch(in_shape),
            out_shape=without_batch(out_shape),
            **{each.name: getattr(effect, each.name) for each in fields(Window)},
            parameters=sum(each.numel() for each in new.values()),
            macs=effect.macs,
            elementwise=effect.elementwise,
            in_field=_field(before),
            out_field=_field(after),
            notes=(*effect.notes, *notes),
            probability=effect.probability,
            inactive=effect.inactive,
            location=location,
        )

    def add(self, row: Row, lineage: Lineage | None) -> int:
        self.rows.append(row)
        self.row_lineages.append(lineage)
        return len(self.rows) - 1

    def parameters_of(self, tensors: list[Tensor]) -> dict[int, Tensor]:
        """Return the parameters among tensors, and those from which they were computed."""
        parameters: dict[int, Tensor] = {}
        for tensor in tensors:
            if id(tensor) in self.origins:
                parameters |= self.origins[id(tensor)]
            elif self.members.is_weight(tensor):
                parameters[id(tensor)] = tensor
        return parameters

    @contextmanager
    def module_hooks(self) -> Iterator[None]:
        """Install global hooks, so that the module itself needs none."""

        def enter(module: nn.Module, args: Any) -> None:
            leaf = is_leaf(module) and self.leaf is None
            line = self.lines.caller() if leaf else None
            self.called.add(id(module))
            self.frames.append(Frame(module, list(tensors_in(args)), [] if leaf else None, line))

        def leave(_: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            frame = self.frames.pop()
            tensors = list(tensors_in(output))
            if frame.effects is not None and tensors:
                self.add_leaf(frame, [*tensors_in((args, kwargs)), *frame.inputs], tensors)

        hooks = [
            register_module_forward_pre_hook(enter),
            register_module_forward_hook(leave, with_kwargs=True),
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
                # PyTorch keeps the mark of the removed hook, which torch.compile takes for the hook itself.
                torch_module._global_forward_hooks_with_kwargs.pop(hook.id, None)  # noqa: SLF001

    def failure(self, error: Exception, title: str) -> ModuleError:
        """Return the error for a forward pass that failed."""
        frame = self.frames[-1] if self.frames else None
        path = self.names.get(id(frame.module), "") if frame else ""
        return forward_error(
            error,
            title,
            frame=frame,
            path=path,
            rows=self.rows,
            fix=lambda message: self.members.fix or self.arguments.fix(message),
        )

    def observe_dropout(self, call: DropoutCall, output: Tensor) -> None:
        """A dropout that is called as a function: one row, whatever operators it calls."""
        lineage = self.lineage_of(call.input)
        assert lineage is not None, "as the caller checked"
        effect = Effect(
            lineages=(lineage,),
            operation=call.operation,
            elementwise=True,
            notes=(ALWAYS_ACTIVE,) if call.training and call.probability else (),
            probability=call.probability,
        )
        leaf = self.leaf
        rows = lineage.rows
        if leaf is not None and leaf.effects is not None:
            leaf.effects.append(replace(effect, is_view=True, notes=()))
            leaf.add_inputs(dropout_call(call, output, self.lineage_of), self.lineage_of)
        else:
            index = self.add_operator(dropout_call(call, output, self.lineage_of), effect, rows)
            rows = frozenset({index})
            path = self.names.get(id(self.frames[-1].module), "") if self.frames else ""
            self.dropouts[index] = self.keys.next(path, self.rows[index].location)
        self.follow(output, replace(lineage, rows=rows))

    def compare_with_training(self, runner: nn.Module, module: nn.Module, device: torch.device) -> None:
        """Mark the dropouts that are off in training, and take what is called there alone as called."""
        off = set()
        if any(type(each).train is not nn.Module.train for each in named_modules(runner).values()):
            # Only a copy shows what a `train` of the user's own leaves in evaluation mode.
            off = off_in_training(copy_module(module))
        training = TrainingPass()
        if self.dropouts or asks_for_mode(runner):
            with preserved_state():
                training = run_in_training(runner, self.arguments, self.mode, device, self.lines.caller)
        known = set(self.dropouts.values())
        evaluated = {self.names.get(key, "") for key in self.called}
        self.training_only = [
            each
            for each in training.dropouts
            if (each.layer not in evaluated if each.layer else each.key not in known)
        ]
        self.called |= {key for key, path in self.names.items() if path in training.called}
        for index, row in enumerate(self.rows):
            key = self.dropouts.get(index)
            if (row.name in off) if key is None else not training.is_active(key):
                self.rows[index] = replace(row, inactive=row.inactive or INACTIVE)

    def analysis(self, title: str, definitions: Mapping[str, Location]) -> Analysis:
        members, arguments = self.members, self.arguments
        input_shape = tuple(arguments.image.shape[1:])
        analysis = Analysis(
            title=title,
            input_shape=input_shape,
            inputs=arguments.inputs,
            unit=arguments.unit,
            rows=tuple(self.rows),
            trainable=sum(each.numel() for _, each in members.parameters.values() if each.requires_grad),
            buffers=sum(each.numel() for each in members.buffers),
            buffer_bytes=sum(each.numel() * _bytes_in_file(each) for each in members.buffers),
            uncovered=None,
            unused=tuple((name, each.numel()) for name, each in self.unused_weights()),
            outputs=tuple(sorted(self.sources_of(self.returned))),
            unregistered=tuple((name, each.numel()) for name, each in self.unregistered_weights()),
            hidden_methods=members.hidden,
            frozen=tuple(
                (name, each.numel()) for name, each in members.parameters.values() if not each.requires_grad
            ),
            idle=idle_layers(self.module, self.called, self.counted, definitions),
            hidden=tuple(self.hidden.tensors()),
        )
        if not analysis.final_receptive_field.unknown:
            axes = range(len(input_shape) - 1)
            analysis = replace(analysis, uncovered=tuple(self.uncovered(analysis, axis) for axis in axes))
        analysis = insert_training_rows(analysis, self.training_only, definitions)
        return replace(analysis, rows=_marked(analysis, definitions))

    def unused_weights(self) -> Iterator[tuple[str, Tensor]]:
        return (each for key, each in self.members.parameters.items() if key not in self.counted)

    def unregistered_weights(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the weights that `parameters()` does not return; the forward pass may create some."""
        yield from self.members.unregistered.values()
        known = {*self.members.parameters, *self.members.unregistered}
        others = [(key, each) for key, each in self.alive.items() if key in self.counted and key not in known]
        names = names_of(self.module, [each for _, each in others])
        for key, tensor in others:
            yield names.get(address_of(tensor), "") or self.counted[key], tensor

    def uncovered(self, analysis: Analysis, axis: int) -> int:
        """Count the positions of an axis of the image that no output depends on."""
        size = analysis.input_shape[1 + axis]
        found = 0
        for row in analysis.last_local_rows(axis):
            lineage = None if row == IMAGE else self.row_lineages[row]
            state = lineage.axes[axis] if lineage else None
            if state is None:
                return 0
            found |= reduce(or_, state.masks, 0)
        return coverage.uncovered((found,), size)


def _bytes_in_file(buffer: Tensor) -> int:
    return BYTES_PER_VALUE if buffer.is_floating_point() else buffer.element_size()


def _named(schema: Any, args: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of an operator by name, with defaults."""
    values = {}
    for index, argument in enumerate(schema.arguments):
        if index < len(args):
            values[argument.name] = args[index]
        elif argument.name in kwargs:
            values[argument.name] = kwargs[argument.name]
        elif argument.has_default_value():
            values[argument.name] = argument.default_value
    return values


def _marked(analysis: Analysis, definitions: Mapping[str, Location]) -> tuple[Row, ...]:
    """Return the rows, with the lines of their layers, and with notes on those without an effect."""
    unused = set(analysis.unused_rows)
    rows = (
        replace(
            row,
            # A function has the path of the module that calls it.
            definition=definitions.get(row.layer) if row.layer == row.name else None,
            notes=(*row.notes, UNUSED) if index in unused else row.notes,
        )
        for index, row in enumerate(analysis.rows)
    )
    return with_effects(tuple(rows), unused)


def _field(lineage: Lineage | None) -> ReceptiveField:
    return ReceptiveField(constant=True) if lineage is None else lineage.receptive_field
