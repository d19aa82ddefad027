"""The state of an optimizer, with parameters by name."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from convsmith.training.optimizers.filter_muon import FilterMuon
from convsmith.training.state import mismatch


def optimizer_state(optimizer: torch.optim.Optimizer, net: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of an optimizer by `<parameter>/<name>`."""
    return {
        f"{name}/{key}": value
        for parameter, name in _parameter_names(optimizer, net).items()
        for key, value in optimizer.state.get(parameter, {}).items()
        if value is not None
    }


def load_optimizer_state(
    component: str, optimizer: torch.optim.Optimizer, net: nn.Module, state: Mapping[str, Tensor]
) -> None:
    """Load what `optimizer_state` returned.

    Raises:
        RunError: The state belongs to another net or optimizer.
    """
    parameters = {name: parameter for parameter, name in _parameter_names(optimizer, net).items()}
    for path, value in state.items():
        name, _, key = path.rpartition("/")
        parameter = parameters.get(name)
        if parameter is None or (value.dim() and value.shape != parameter.shape):
            raise mismatch([f"{component}.{path}"])
        optimizer.state[parameter][key] = _like(parameter, value, optimizer)


def _parameter_names(optimizer: torch.optim.Optimizer, net: nn.Module) -> dict[Tensor, str]:
    names = {parameter: name for name, parameter in net.named_parameters()}
    if isinstance(optimizer, FilterMuon):
        pairs = zip(optimizer.matrices, optimizer.filters, strict=True)
        return {matrix: names[bank] for matrix, bank in pairs}
    return {each: names[each] for group in optimizer.param_groups for each in group["params"]}


def _like(parameter: Tensor, value: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
    """Return a copy with the memory layout of the parameter, which fused steps require."""
    if not value.dim():
        # Fused steps count on the device, others on the CPU.
        return value.to(parameter.device if optimizer.defaults.get("fused") else "cpu", copy=True)
    copied = torch.empty_like(parameter, dtype=value.dtype, requires_grad=False)
    return copied.copy_(value)
