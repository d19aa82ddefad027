"""Models with trained weights: their own, or those of a file."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from convsmith.models.arguments import ModelArguments
from convsmith.models.model import TrainedModel
from convsmith.models.resolve import resolve_trained
from convsmith.modules.access import NO_CODE, CodeAccess

# The first letters of folders that last as long as a command.
TEMPORARY = ".convsmith-"


@contextlib.contextmanager
def trained_model(
    arguments: ModelArguments,
    access: CodeAccess = NO_CODE,
    log: Callable[[str], None] = lambda _: None,
    parent: Path | None = None,
) -> Iterator[TrainedModel]:
    """Return a model with trained weights; that of a file lasts as long as the block.

    Args:
        arguments: From `ModelArguments.of`.
        access: Whether code in a run or a bundle may be run.
        log: Takes what is assumed about weights from a file, a sentence at a time.
        parent: The folder for a temporary run of weights from a file.

    Raises:
        ConvsmithError: As `resolve_trained` and `external_run`.
    """
    if arguments.weights is None:
        yield resolve_trained(arguments.target, access=access)
        return
    # Prediction with a bundle loads nothing of runs.
    from convsmith.models.external import external_model

    with external_model(arguments, TEMPORARY, parent) as model:
        for note in model.notes:
            log(note)
        yield model
