"""The modules that run while a net is traced. The operators of a layer of PyTorch form one row."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor, nn

from convsmith.net.rows import Location
from convsmith.tracing.calls import Call, Effect
from convsmith.tracing.lineage import Lineage

_NOT_LEAVES = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


@dataclass
class Frame:
    """A module that is running; the operators of a leaf form one row."""

    module: nn.Module
    inputs: list[Tensor]
    effects: list[Effect] | None
    location: Location | None = None
    rows: frozenset[int] = frozenset()

    def add_inputs(self, call: Call, lineage_of: Callable[[Tensor], Lineage | None]) -> None:
        """Take the inputs from the first operator, if the layer is called with keyword arguments alone."""
        if not any(map(lineage_of, self.inputs)):
            self.inputs += [tensor for tensor in call.tensors if lineage_of(tensor)]


def merged(effects: list[Effect]) -> Effect:
    """Merge the effects of the operators of one layer."""
    computing = [effect for effect in effects if not effect.is_view]
    windows = (each for each in computing if each.kernel or each.width != (0, 0) or each.groups > 1)
    main = next(windows, None)
    base = main or Effect(lineages=(), operation="")
    dropout = next((effect for effect in effects if effect.probability is not None), None)
    unknown = any(effect.macs is None for effect in computing)
    return replace(
        base,
        macs=None if unknown else sum(effect.macs or 0 for effect in computing),
        elementwise=all(effect.elementwise for effect in computing),
        notes=tuple(dict.fromkeys(note for effect in computing for note in effect.notes)),
        probability=dropout.probability if dropout else None,
    )


def is_leaf(module: nn.Module) -> bool:
    """Whether a module is a built-in layer: it has one row, whatever it calls."""
    builtin = type(module).__module__.startswith("torch.nn.modules")
    has_children = next(module.children(), None) is not None
    return (
        builtin
        and not isinstance(module, _NOT_LEAVES)
        and (not has_children or isinstance(module, nn.MultiheadAttention))
    )
