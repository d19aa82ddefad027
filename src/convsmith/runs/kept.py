"""Which epoch's weights a run kept, and by what it was selected, in words."""

from convsmith.runs.folder import RunFolder
from convsmith.runs.progress import stop_line
from convsmith.training.selection import kept_sentence


def kept_weights(folder: RunFolder) -> str:
    """Describe whose weights a run has, and why its training stopped early, if it did.

    Raises:
        RunError: The weights or metrics.csv are damaged.
    """
    recipe, rows, best = folder.recipe(), folder.metrics(), folder.best_epoch()
    monitor, kind = recipe.train.monitor, recipe.data.evaluation_set.kind
    row = rows[best - 1] if best is not None and best <= len(rows) else None
    value = row.metric("validation", monitor) if row else None
    sentence = kept_sentence(len(rows), best, monitor, value, kind)
    stopped = stop_line(folder.read_log().splitlines())
    return f"{sentence} {stopped}." if stopped else sentence
