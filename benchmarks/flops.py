"""The share of the machine's matrix-product peak that a training step reaches, and its phases."""

import time

import torch

from convsmith.recipes.loader import load
from convsmith.recipes.session import Session
from convsmith.system.device import dtype_of
from convsmith.system.rng import new_generator
from convsmith.training.batches import with_next
from convsmith.training.profiler import PHASES, Profile

RECIPES = ("cifar10-classic", "cifar10-rmsprop", "cifar10-sprint", "mnist-classic")
SIZE, REPEATS, SECONDS = 2048, 7, 6.0


def main() -> str:
    peaks = {name: peak(dtype_of(name)) for name in ("fp32", "bf16")}
    lines = [f"{name} matrix product: {value / 1e9:,.0f} GFLOP/s" for name, value in peaks.items()]
    head = " ".join(f"{phase:>10}" for phase in PHASES[:-1])
    lines.append(f"\n{'recipe':<18} {'format':>6} {'GFLOP/s':>8} {'of peak':>8}   share of the time: {head}")
    for name in RECIPES:
        session = Session.load(load(name))
        recipe, profile = session.resolved_recipe, Profile(enabled=True)
        with session.threads():
            trainer = session.trainer(session.build_net(), profile=profile)
            trainer.gradients.train()
            images, spent = 0, 0.0
            order = enumerate(trainer.sampler.batches(recipe.train.batch_size, new_generator(0)))
            # Batches of the last epoch have full-size images, as the count of operations assumes.
            batches = (trainer.make_batch(indices, recipe.train.epochs, index) for index, indices in order)
            for batch, following in with_next(batches):
                began = time.perf_counter()
                trainer.train_step(batch, following)
                if batch.step < 2:
                    profile.seconds.clear()
                    continue
                images, spent = images + len(batch.indices), spent + time.perf_counter() - began
                if spent > SECONDS:
                    break
            trainer.close()
        # One forward pass, two for the backward pass, two operations per multiply-accumulate.
        rate = 6 * session.analysis.known_macs * images / spent
        total = sum(profile.seconds.values())
        shares = " ".join(f"{profile.seconds[phase] / total:>10.1%}" for phase in PHASES[:-1])
        precision = recipe.train.precision
        reached = f"{rate / 1e9:>8,.0f} {rate / peaks[precision]:>8.0%}"
        lines.append(f"{name:<18} {precision:>6} {reached}   {'':<18} {shares}")
    return "\n".join(lines)


def peak(dtype: torch.dtype) -> float:
    """Return the floating-point operations per second of a large product of square matrices."""
    left, right = (torch.randn(SIZE, SIZE, dtype=dtype) for _ in range(2))
    best = 0.0
    for _ in range(REPEATS):
        began = time.perf_counter()
        left @ right
        best = max(best, 2 * SIZE**3 / (time.perf_counter() - began))
    return best
