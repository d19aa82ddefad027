"""Images per second of training `cifar10-classic`'s net: this loop against a plain one."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from typing import TypeVar

from benchmarks.measure import in_turns, table
from benchmarks.plain import PlainLoop
from convsmith.recipes.loader import load
from convsmith.recipes.session import Session, TrainingSession
from convsmith.system.rng import new_generator
from convsmith.training.batches import with_next

Item = TypeVar("Item")
STEPS, ROUNDS = 12, 7


def main() -> str:
    session = Session.load(load("cifar10-classic"))
    recipe, data = session.recipe, session.data
    plain = _endless(PlainLoop(recipe, data).epoch)
    whole = recipe.model_copy(update={"train": recipe.train.model_copy(update={"microbatch_size": None})})
    slow = whole.model_copy(
        update={"augment": recipe.augment.model_copy(update={"engine": "albumentations"})}
    )
    candidates = {
        "plain loop, fp32, DataLoader, albumentations": lambda: sum(islice(plain, STEPS)),
        "convsmith, albumentations, full batches": trainer_steps(replace(session, recipe=slow)),
        "convsmith, full batches": trainer_steps(replace(session, recipe=whole)),
        "convsmith": trainer_steps(session),
    }
    return table(in_turns(candidates, ROUNDS), "images/s")


def trainer_steps(session: TrainingSession, steps: int = STEPS) -> Callable[[], int]:
    """Return a function that trains a net for some steps and returns the number of images."""
    trainer = session.trainer(session.build_net())
    batches = _endless(lambda: trainer.sampler.batches(session.recipe.train.batch_size, new_generator(0)))

    def run() -> int:
        trainer.gradients.train()
        seen = 0
        order = enumerate(islice(batches, steps))
        for batch, following in with_next(trainer.make_batch(indices, 1, index) for index, indices in order):
            trainer.train_step(batch, following)
            seen += len(batch.indices)
        return seen

    return run


def _endless(epoch: Callable[[], Iterator[Item]]) -> Iterator[Item]:
    while True:
        yield from epoch()
