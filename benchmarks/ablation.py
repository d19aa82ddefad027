"""The contribution of each part of `cifar10-sprint`'s training: held-out accuracy without it.

Three seeds per row, the same 45,000 and 5,000 images for each. A difference is the mean over seeds of the
differences within a seed. Results are cached in `runs/ablation.json`.
"""

from pathlib import Path
from statistics import mean, stdev

from benchmarks.measure import held_out_by_seed

SEEDS, DONE = range(3), Path("runs/ablation.json")
HELD_OUT = "data.validation=0.1"


def sgd(lr: float, norm_bias_lr_factor: float = 1.0) -> str:
    return (
        f'train.optimizer={{name="sgd", lr={lr}, momentum=0.9, nesterov=true, weight_decay=0.005, '
        f"norm_bias_lr_factor={norm_bias_lr_factor}}}"
    )


FULL_SIZE, LOOKAHEAD = "train.progressive.until=0", "train.lookahead={k=5, alpha=0.5}"
VARIANTS: dict[str, tuple[str, ...]] = {
    "the recipe": (),
    "SGD for all, rate 0.05": (sgd(0.05),),
    "SGD for all, rate 0.1": (sgd(0.1),),
    "SGD for all, rate 0.2": (sgd(0.2),),
    "SGD for all, rate 0.1, norms' biases x 8": (sgd(0.1, 8.0),),
    "SGD for all, rate 0.1, lookahead, k 5, alpha 0.5": (sgd(0.1), LOOKAHEAD),
    "SGD for all, rate 0.2, lookahead, k 5, alpha 0.5": (sgd(0.2), LOOKAHEAD),
    "Muon, norms' biases x 8": ("train.optimizer.rest.norm_bias_lr_factor=8",),
    "Muon without Nesterov": ("train.optimizer.nesterov=false",),
    "Muon, 5 Newton-Schulz iterations": ("train.optimizer.ns_steps=5",),
    "Muon, weight decay 0.02": ("train.optimizer.weight_decay=0.02",),
    "Muon, no weight decay": ("train.optimizer.weight_decay=0",),
    "no whitening": ("train.whitening=false",),
    "PyTorch's initial weights": ("model.init=default",),
    "orthogonal initial weights": ("model.init=orthogonal",),
    "EMA 0.98": ("train.ema=0.98",),
    "lookahead, k 5, alpha 0.5": (LOOKAHEAD,),
    "lookahead, k 5, alpha 0.5, Muon's rate 0.2": (LOOKAHEAD, "train.optimizer.lr=0.2"),
    "lookahead, k 5, alpha 0.8": ("train.lookahead={k=5, alpha=0.8}",),
    "no label smoothing": ("train.label_smoothing=0",),
    "label smoothing 0.2": ("train.label_smoothing=0.2",),
    "flips by chance": ("augment.transforms.HorizontalFlip.alternate=false",),
    "cosine schedule": ('train.schedule={name="cosine", warmup_epochs=0.5}',),
    "one-cycle schedule": ('train.schedule={name="one-cycle"}',),
    "full size throughout: 1.5 x the compute": (FULL_SIZE,),
    "full size throughout, 3 epochs: 0.9 x the compute": (FULL_SIZE, "train.epochs=3"),
}


def main() -> str:
    variants = {name: (HELD_OUT, *fields) for name, fields in VARIANTS.items()}
    accuracies = held_out_by_seed(DONE, "cifar10-sprint", variants, SEEDS)
    base, *_ = accuracies.values()
    return "\n".join(
        f"{name:<50} {mean(each):.2%} {stdev(each):6.2%} {difference(each, base)}"
        for name, each in accuracies.items()
    )


def difference(values: list[float], base: list[float]) -> str:
    """Return the difference in percentage points: the mean over the seeds, and that of each seed."""
    points = [100 * (mine - theirs) for mine, theirs in zip(values, base, strict=True)]
    return f"{mean(points):+6.2f} ({', '.join(f'{each:+.2f}' for each in points)})"
