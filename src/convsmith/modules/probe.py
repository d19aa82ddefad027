"""Probe a module before it is used as a classifier, by a few passes: what stands in the way of that."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from convsmith.errors import ModuleError, Problem
from convsmith.modules.config import Outputs
from convsmith.modules.constructor_arguments import with_channels, with_classes
from convsmith.modules.creation import create_for
from convsmith.modules.hidden_state import counters, differences, hidden_values
from convsmith.modules.limits import limited
from convsmith.modules.loaded import LoadedModule
from convsmith.modules.outputs import output_notes, output_problem, recognize_outputs
from convsmith.modules.passes import Passes, line_of
from convsmith.modules.state import copy_state
from convsmith.system.rng import global_draws, seed_everything
from convsmith.text import join_first, plural
from convsmith.tracing.copies import copy_module
from convsmith.tracing.isolation import preserved_state
from convsmith.tracing.members import hidden_methods, named_modules, named_parameters, unregistered

ImageShape = tuple[int, int, int]
_IMAGES = 4
_LISTED = 5
# Of the same images in evaluation mode, if the net draws random numbers there: it may use them rarely.
_REPETITIONS = 5
# Far above the rounding of other batch sizes.
_RTOL, _ATOL = 1e-3, 1e-4


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What a few forward passes and one backward pass show.

    Attributes:
        outputs: The meaning of the outputs, by their values.
        in_order: Whether the microbatches of a training must run one after the other: a forward pass draws
            from a global generator, other than by `nn.Dropout`, or writes into parameters.
        notes: What a user should know, one sentence each.
    """

    outputs: Outputs
    in_order: bool = False
    notes: tuple[str, ...] = ()


def probe_classifier(
    module: nn.Module,
    image_shape: ImageShape,
    num_classes: int,
    *,
    where: str,
    outputs: Outputs | None = None,
    loaded: LoadedModule | None = None,
    trains: bool = True,
) -> Probe:
    """Run copies of a module on noise, in evaluation mode and, if it is to be trained, in training mode.

    Args:
        module: On the CPU; it is unchanged.
        image_shape: `(C, H, W)`.
        num_classes: Of the data.
        where: The module, for messages.
        outputs: The meaning of its outputs; by default it is recognised by their values.
        loaded: Where the module is from, if it was loaded.
        trains: Whether it is to be trained. Otherwise its weights are those to evaluate.

    Raises:
        ModuleError: It cannot be used as a classifier of such images: it has layers in plain lists, fails,
            returns anything but `(N, num_classes)` finite numbers, is random in evaluation mode, creates
            layers while it runs, or computes with more than its `state_dict` holds. If it is to be trained:
            it has no parameters that learn, or fails backwards.

    Example:
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.LogSoftmax(1))
        >>> probe_classifier(net, (1, 8, 8), 10, where="net").outputs
        'log_probabilities'
    """
    if problems := list(_member_problems(module, where, trains=trains)):
        raise ModuleError.of(problems)
    prober = _Prober(module, image_shape, num_classes, where, loaded, trains=trains)
    with prober.limits():
        evaluated = prober.evaluate()
        meaning = _meaning(evaluated, outputs, where)
        notes = [*output_notes(meaning, trains=trains), *prober.batch_notes(evaluated)]
        if trains:
            prober.train()
            notes += [*prober.gradient_notes(), *prober.resumption_notes(), *prober.print_notes()]
        prober.compare_with_new_instance()
    return Probe(outputs=meaning, in_order=prober.draws or prober.writes, notes=tuple(notes))


def check_classifier(
    module: nn.Module,
    image_shape: ImageShape,
    num_classes: int,
    *,
    where: str,
    outputs: Outputs | None = None,
    loaded: LoadedModule | None = None,
) -> None:
    """Run a copy of a module on noise in evaluation mode; the arguments are those of `probe_classifier`.

    Raises:
        ModuleError: It does not classify such images.
    """
    prober = _Prober(module, image_shape, num_classes, where, loaded, trains=False)
    with prober.limits():
        _meaning(prober.evaluate(), outputs, where)


def _member_problems(module: nn.Module, where: str, *, trains: bool) -> Iterator[Problem]:
    if hidden := hidden_methods(module):
        yield Problem(
            what=f"attributes hide methods of torch.nn.Module: {_listed(hidden)}",
            where=where,
            fix="give them other names",
        )
    if plain := unregistered(module):
        names = _listed(list(plain))
        yield Problem(
            what=f"layers in a plain list or dictionary are neither trained nor saved: {names}",
            where=where,
            fix="keep them in nn.ModuleList, nn.ModuleDict or nn.Sequential, and weights in nn.Parameter",
        )
    parameters = named_parameters(module)
    if trains and not plain and not any(each.requires_grad for each in parameters.values()):
        what = "all its parameters are frozen" if parameters else "it has no parameters"
        fix = (
            "set requires_grad=True for those to train" if parameters else "name a net with layers that learn"
        )
        yield Problem(what=f"{what}, so that there is nothing to train", where=where, fix=fix)
    extra = [path for path, each in named_modules(module).items() if _has_extra_state(each)]
    if extra:
        yield Problem(
            what=f"get_extra_state is not saved: {_listed([path or 'the net itself' for path in extra])}",
            where=where,
            fix="keep tensors in buffers: self.register_buffer(name, tensor)",
        )


def _has_extra_state(module: nn.Module) -> bool:
    return type(module).get_extra_state is not nn.Module.get_extra_state


class _Prober:
    """Runs copies of a module.

    Attributes:
        draws: Whether a training pass draws from a global generator, `nn.Dropout` left out.
        writes: Whether a training pass changes parameters.
    """

    def __init__(
        self,
        module: nn.Module,
        image_shape: ImageShape,
        num_classes: int,
        where: str,
        loaded: LoadedModule | None,
        *,
        trains: bool,
    ) -> None:
        self.trains = trains
        self.module, self.shape, self.num_classes = module, image_shape, num_classes
        self.where, self.loaded = where, loaded
        self.passes = Passes(where=where, locate=loaded.locate if loaded else line_of)
        if loaded:
            self.passes.with_channels = partial(with_channels, loaded, image_shape)
        self.images = torch.randn(_IMAGES, *image_shape, generator=torch.Generator().manual_seed(0))
        self.draws = self.writes = False
        self.trained = copy_module(module)
        self.without_gradient: list[str] = []
        self.counters: list[str] = []

    @contextmanager
    def limits(self) -> Iterator[None]:
        """Limit the time of the passes, and restore the state of the process after the block."""
        fix = "leave out what waits or never ends, or use smaller images: data.resize"
        with preserved_state(), limited("a pass of the net", self.where, self.passes.locate, fix=fix):
            yield

    def evaluate(self) -> Tensor:
        """Return the outputs in evaluation mode; raise ModuleError if they are not those of a classifier."""
        net, names = copy_module(self.module), set(self.module.state_dict())
        net.eval()
        before = global_draws()
        with torch.no_grad():
            outputs = self._classify(net, "")
            if new := set(net.state_dict()) - names:
                raise self._error(
                    f"the forward pass creates layers: {_listed(sorted(new))}",
                    "create them in __init__, or use lazy layers such as nn.LazyLinear",
                )
            if not bool(torch.isfinite(outputs).all()):
                what = f"the outputs {'of the initial weights ' if self.trains else ''}are not finite"
                raise self._error(what, "check the forward pass on torch.randn images")
            torch.manual_seed(1)
            for _ in range(1 if before == global_draws() else _REPETITIONS):
                if not torch.equal(outputs, self._classify(net, "")):
                    raise self._error(
                        "in evaluation mode two forward passes of the same images differ",
                        "make dropout and the like depend on the mode, as in "
                        "F.dropout(x, training=self.training)",
                    )
        return outputs

    def train(self) -> None:
        """Run a copy forwards and backwards, then forwards again without `nn.Dropout`."""
        net = self.trained
        before = {name: each.detach().clone() for name, each in named_parameters(net).items()}
        net.train()
        outputs = self._classify(net, " in training mode")
        gradients = self.passes.gradients(net, outputs)
        self.without_gradient = [name for name, each in gradients.items() if each is None]
        once = counters(net)
        dropouts = [
            each for each in named_modules(net).values() if type(each) is nn.Dropout and each.training
        ]
        for each in dropouts:
            each.training = False
        draws = global_draws()
        with torch.no_grad():
            self.passes.forward(net, self.images)
        self.draws = draws != global_draws()
        for each in dropouts:
            each.training = True
        now = named_parameters(net)
        self.writes = any(not torch.equal(value, now[name]) for name, value in before.items())
        self.counters = differences(once, counters(net))

    def compare_with_new_instance(self) -> None:
        """Raise ModuleError if another instance with the weights of the trained one computes otherwise."""
        new = create_for(self.loaded, self.shape) if self.loaded else copy_module(self.module)
        try:
            new.load_state_dict(self.trained.state_dict())
        except (RuntimeError, ValueError, KeyError) as error:
            raise self._error(
                f"its weights do not fit another instance: {' '.join(str(error).split())[:300]}",
                "create the same layers and buffers, of the same shapes, each time",
            ) from error
        trained = copy_module(self.trained)
        trained.eval()
        new.eval()
        with torch.no_grad():
            same = _are_close(
                self.passes.forward(trained, self.images), self.passes.forward(new, self.images)
            )
        if not same:
            names = _listed(differences(hidden_values(trained), hidden_values(new)))
            of_what = f": {names}" if names else ""
            raise self._error(
                "another instance with its weights computes something else, since its state_dict does not "
                f"hold all that it computes with{of_what}",
                "keep such tensors in buffers: self.register_buffer(name, tensor), without persistent=False",
            )

    def resumption_notes(self) -> list[str]:
        """Return a note on state that changes in training and that no checkpoint holds."""
        resumed, trained = copy_module(self.module), copy_module(self.trained)
        copy_state(trained, resumed)
        changed = differences(hidden_values(resumed), hidden_values(trained))
        # Other images: layers that take their weights from the first images do it again.
        if _are_close(self._trained_outputs(resumed), self._trained_outputs(trained)):
            if not self.counters:
                return []
            changed = self.counters
        what = _listed(changed) or "something that is neither a parameter nor a buffer"
        note = f"training changes {what}, which no checkpoint holds: a resumed training may differ from an"
        remedy = "keep numbers and tensors in buffers, and draw from PyTorch's global generator"
        return [f"{note} uninterrupted one; {remedy}"]

    def _trained_outputs(self, net: nn.Module) -> object:
        net.train()
        seed_everything(2)
        with torch.no_grad():
            return self.passes.forward(net, 2 * self.images.flip(0))

    def batch_notes(self, outputs: Tensor) -> list[str]:
        """Return a note if the outputs for an image depend on the other images of its batch."""
        net = copy_module(self.module)
        net.eval()
        with torch.no_grad():
            pair = self.passes.forward(net, self.images[:2])
        if _are_close(pair, outputs[:2]):
            return []
        note = "in evaluation mode its outputs for an image depend on the other images of the batch"
        return [f"{note}, so that accuracy and predictions depend on the batch size"]

    def gradient_notes(self) -> list[str]:
        """Return a note on parameters without a gradient."""
        if not self.without_gradient:
            return []
        count = plural(len(self.without_gradient), "parameter")
        return [
            f"no gradient reaches {count}, which only weight decay changes: {_listed(self.without_gradient)}"
        ]

    def print_notes(self) -> list[str]:
        return ["its forward pass prints text, in each step"] if self.passes.prints else []

    def _classify(self, net: nn.Module, mode: str) -> Tensor:
        outputs = self.passes.forward(net, self.images, f"the forward pass{mode}")
        problem = output_problem(
            outputs, len(self.images), self.num_classes, f"forward{mode}", trains=self.trains
        )
        if problem is not None:
            better = ""
            if self.trains and self.loaded and isinstance(outputs, Tensor):
                better = with_classes(self.loaded, self.shape, self.num_classes)
            raise self._error(problem.what, f"write {better}" if better else problem.fix)
        assert isinstance(outputs, Tensor), "as checked"
        return outputs

    def _error(self, what: str, fix: str) -> ModuleError:
        return ModuleError(what, where=self.where, fix=fix)


def _meaning(outputs: Tensor, stated: Outputs | None, where: str) -> Outputs:
    """Return the meaning of outputs as it is stated, or else by their values.

    Raises:
        ModuleError: The values contradict it.
    """
    by_values = recognize_outputs(outputs)
    if stated not in {None, "logits", by_values}:
        raise ModuleError(
            f"model.outputs is {stated!r}, but by their values the outputs are {by_values}",
            where=where,
            fix=f'write model.outputs="{by_values}", or leave it out',
        )
    return stated or by_values


def _are_close(one: Any, other: Any) -> bool:
    return one.shape == other.shape and torch.allclose(one.float(), other.float(), rtol=_RTOL, atol=_ATOL)


def _listed(names: list[str]) -> str:
    return join_first(names, _LISTED)
