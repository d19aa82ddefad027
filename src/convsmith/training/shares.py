"""Whether processes can share the parts of a recipe's batches evenly."""

from convsmith.errors import RecipeError
from convsmith.training.config import TrainConfig


def check_processes(config: TrainConfig, processes: int) -> None:
    """Check that the parts of a batch can be shared out evenly.

    Raises:
        RecipeError: They cannot; the error names the `microbatch_size` to set and what it changes. Or the net
            is compiled: what a compiled net rounds depends on the number of threads.
    """
    if processes > 1 and config.compile:
        raise RecipeError(
            "a compiled net is trained by one process",
            where="train.compile",
            fix="set train.compile=false, or leave out --processes",
        )
    parts = config.num_microbatches
    if processes < 1 or parts % processes == 0:
        return
    sizes = [
        config.batch_size // count
        for count in range(processes, config.batch_size // 2 + 1, processes)
        if config.batch_size % count == 0
    ]
    found = "one part" if parts == 1 else f"{parts} parts"
    if sizes:
        fix = (
            f"set train.microbatch_size={sizes[0]} (batch_size {config.batch_size}): batch norm then "
            "normalises the images of one part, so that the weights are not those of this recipe; they are "
            "the same for any number of processes"
        )
    else:
        fix = f"set a train.batch_size that is a multiple of {2 * processes}, and train.microbatch_size"
    divisors = [str(count) for count in range(2, parts + 1) if parts % count == 0]
    if divisors:
        fix = f"start {' or '.join(divisors)} processes, or {fix}"
    raise RecipeError(
        f"the recipe divides a batch into {found}, which {processes} processes cannot share evenly",
        where="--processes",
        fix=fix,
    )
