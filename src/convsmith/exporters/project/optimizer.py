"""A recipe's optimiser as calls of PyTorch."""

from convsmith.codegen import call, number
from convsmith.training.optimizers import Optimizer
from convsmith.training.optimizers.adam import Adam, AdamW
from convsmith.training.optimizers.muon import Muon
from convsmith.training.optimizers.rmsprop import RMSprop
from convsmith.training.optimizers.sgd import SGD


def optimizer_call(
    config: Optimizer, parameters: str, *, indent: int, before: str = "", after: str = ""
) -> str:
    """The call that makes an optimiser; of Muon the one for the filters.

    Args:
        config: Of the `[train]` table.
        parameters: What is to be learned, as an expression.
        indent: Spaces before the line.
        before: What stands before the call.
        after: What stands behind it.
    """
    function, arguments = _call(config)
    return call(function, [parameters, *arguments], indent=indent, before=before, after=after)


def _call(config: Optimizer) -> tuple[str, list[str]]:
    lr, decay = f"lr={number(config.lr)}", f"weight_decay={number(config.weight_decay)}"
    match config:
        case SGD():
            nesterov = ["nesterov=True"] if config.nesterov else []
            momentum = [f"momentum={number(config.momentum)}"] if config.momentum else []
            return "torch.optim.SGD", [lr, *momentum, *nesterov, *([decay] if config.weight_decay else [])]
        case RMSprop():
            told = [lr, f"alpha={number(config.alpha)}"]
            told += [f"momentum={number(config.momentum)}"] if config.momentum else []
            told += [f"eps={number(config.eps)}"] if config.eps != 1e-8 else []
            return "torch.optim.RMSprop", [*told, *([decay] if config.weight_decay else [])]
        case Adam():
            told = [lr]
            if (config.beta1, config.beta2) != (0.9, 0.999):
                told.append(f"betas=({number(config.beta1)}, {number(config.beta2)})")
            told += [f"eps={number(config.eps)}"] if config.eps != 1e-8 else []
            adam = "torch.optim.AdamW" if isinstance(config, AdamW) else "torch.optim.Adam"
            # Their own defaults of the decay differ, so it is always said.
            return adam, [*told, decay]
        case Muon():
            told = [lr, f"momentum={number(config.momentum)}", f"nesterov={config.nesterov}"]
            return "FilterMuon", [*told, decay, f"ns_steps={config.ns_steps}"]
