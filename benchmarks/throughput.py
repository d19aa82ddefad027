"""Images a second of training `cifar10-classic`'s net: this loop against a plain one."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import TypeVar

from benchmarks.measure import in_turns, table
from benchmarks.plain import PlainLoop
from convsmith.data.dataset import ImageDataset
from convsmith.net.module import build
from convsmith.recipes.loader import load
from convsmith.recipes.schema import Recipe
from convsmith.recipes.session import prepare
from convsmith.system.rng import new_generator
from convsmith.training.batches import shuffled_batches, with_next
from convsmith.training.profiler import Profile
from convsmith.training.trainer import Trainer

Item = TypeVar("Item")
STEPS, ROUNDS = 12, 7


def main() -> str:
    prepared = prepare(load("cifar10-classic"))
    recipe, data = prepared.recipe, prepared.data
    plain = _endless(PlainLoop(recipe, data).epoch)
    whole = recipe.model_copy(update={"train": recipe.train.model_copy(update={"microbatch_size": None})})
    slow = whole.model_copy(
        update={"augment": recipe.augment.model_copy(update={"engine": "albumentations"})}
    )
    candidates = {
        "plain loop, fp32, DataLoader, albumentations": lambda: sum(islice(plain, STEPS)),
        "convsmith, albumentations, whole batches": trainer_steps(slow, data),
        "convsmith, whole batches": trainer_steps(whole, data),
        "convsmith": trainer_steps(recipe, data),
    }
    return table(in_turns(candidates, ROUNDS), "images/s")


def trainer_steps(recipe: Recipe, data: ImageDataset, steps: int = STEPS) -> Callable[[], int]:
    """A function that trains a recipe's net for some steps, and says how many images those were."""
    trainer = trainer_of(recipe, data)
    batches = _endless(lambda: shuffled_batches(len(data.train), recipe.train.batch_size, new_generator(0)))

    def run() -> int:
        trainer.gradients.train()
        seen = 0
        order = enumerate(islice(batches, steps))
        for batch, following in with_next(trainer.make_batch(indices, 1, index) for index, indices in order):
            trainer.train_step(batch, following)
            seen += len(batch.indices)
        return seen

    return run


def trainer_of(recipe: Recipe, data: ImageDataset, profile: Profile | None = None) -> Trainer:
    from convsmith.recipes.fit import fitted

    return Trainer(
        build(fitted(recipe, data.info).plan, generator=new_generator(recipe.seed)),
        data,
        recipe.train,
        recipe.augment,
        seed=recipe.seed,
        profile=profile,
    )


def _endless(epoch: Callable[[], Iterator[Item]]) -> Iterator[Item]:
    while True:
        yield from epoch()
