"""Measure how long an epoch of a recipe takes on this machine."""

import time

import numpy as np
import torch

from convsmith.recipes.session import Session
from convsmith.recipes.starter.schedule import Pace
from convsmith.system.device import machine_record
from convsmith.system.rng import new_generator, own_random_state, seed_everything
from convsmith.training.batches import num_batches
from convsmith.training.metrics import evaluate_split
from convsmith.training.trainer import Trainer

# Steps before the measurement, measured steps, seconds after which no further one begins, images evaluated.
_WARM_UP, _STEPS, _SECONDS, _EVALUATED = 2, 8, 4.0, 256


def measure(session: Session) -> Pace:
    """Train some steps of a new net and evaluate some images. The net is of no use afterwards."""
    data, train = session.data, session.recipe.train
    with session.threads():
        trainer = session.trainer(session.build_net())
        steps = num_batches(len(data.train), train.batch_size)
        with own_random_state(trainer.device):
            seed_everything(0)
            trainer.gradients.train()
            try:
                times = _times_of_steps(trainer)
                evaluated = data.test.select(np.arange(min(len(data.test), _EVALUATED)))
                started = time.perf_counter()
                evaluate_split(trainer.eval_net, evaluated, trainer.normalize, trainer.dtype)
                an_image = (time.perf_counter() - started) / len(evaluated)
            finally:
                trainer.close()
        threads = torch.get_num_threads() if trainer.device.type == "cpu" else 0
    others = len(data.test) + (len(data.validation) if data.validation else 0)
    seconds, processor = np.array(times[_WARM_UP:] or times[1:] or times).T
    return Pace(
        steps=steps,
        step=float(np.median(seconds)),
        evaluation=others * an_image,
        load=float(seconds.sum() * threads / max(processor.sum(), 1e-9)) if threads else 1.0,
    )


def _times_of_steps(trainer: Trainer) -> list[tuple[float, float]]:
    """Return the seconds of each step, and those of the processor in all threads."""
    size = trainer.config.batch_size
    times: list[tuple[float, float]] = []
    begun = time.perf_counter()
    for number in range(_WARM_UP + _STEPS):
        indices = next(trainer.sampler.batches(size, new_generator(0, number)))
        started, processor = time.perf_counter(), time.process_time()
        batch = trainer.make_batch(indices, 1, number % trainer.num_batches)
        trainer.read_step(trainer.train_step(batch))
        times.append((time.perf_counter() - started, time.process_time() - processor))
        if time.perf_counter() - begun > _SECONDS and number:
            break
    return times


def machine() -> str:
    """Return this machine in words: processor, cores and device."""
    record = machine_record()
    device = "" if record["device"] == "cpu" else f", {record['device']}"
    return f"{record['processor']}, {record['cores']} cores{device}"
