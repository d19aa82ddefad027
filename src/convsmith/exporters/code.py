"""What is written of a net for those who have no convsmith."""

from collections.abc import Sequence
from pathlib import Path

from convsmith.models.resolve import Target
from convsmith.net import source
from convsmith.net.plan import Plan
from convsmith.system import reading

# With more classes than this, their names would bury the code.
_MOST_CLASSES = 100


def contents(target: Target) -> dict[str, bytes]:
    """The files of an export by name: `model.py`, and the weights of a run or a bundle, `model.safetensors`.

    Raises:
        RunError: The run's weights are damaged or do not fit its net.
        BundleError: The bundle is damaged.
    """
    planned = target.plan
    if target.run is not None:
        notes, weights = _of_run(target.run, planned)
    elif target.bundle is not None:
        notes, weights = _of_bundle(target.bundle)
    else:
        return {"model.py": source.source(planned).encode()}
    return {"model.py": source.source(planned, notes).encode(), "model.safetensors": weights}


def _of_run(folder: Path, planned: Plan) -> tuple[list[str], bytes]:
    from convsmith.net.module import build
    from convsmith.runs.folder import WEIGHTS, RunFolder
    from convsmith.runs.schema import DataRecord

    run = RunFolder.open(folder)
    run.load_weights(build(planned))
    data = run.read(DataRecord)
    return notes_of(data.class_names, data.mean, data.std), reading.read_bytes(run.path / WEIGHTS)


def _of_bundle(folder: Path) -> tuple[list[str], bytes]:
    """The weights in fp32, as a plain net takes them."""
    from safetensors.torch import save

    from convsmith.models import bundle

    classifier = bundle.load(folder)
    learned = classifier.preprocessing
    notes = notes_of(classifier.labels, learned.mean, learned.std)
    return notes, save(bundle.in_format(classifier.net.state_dict(), "fp32"))


def notes_of(class_names: Sequence[str], mean: Sequence[float], std: Sequence[float]) -> list[str]:
    """What one must know to use a run's weights: how images are normalised, and what the logits stand for.

    Args:
        class_names: In the order of the logits.
        mean: Per channel, of pixels scaled to 0..1; `std` likewise.
        std: As `mean`.

    Example:
        >>> notes_of(["cat", "dog"], mean=[0.5], std=[0.25])[0]
        'Images are pixels divided by 255, minus (0.5), divided by (0.25), channel by channel.'
    """
    means, stds = (", ".join(f"{value:.6g}" for value in values) for values in (mean, std))
    notes = [f"Images are pixels divided by 255, minus ({means}), divided by ({stds}), channel by channel."]
    if len(class_names) <= _MOST_CLASSES:
        names = ", ".join(map(_harmless, class_names))
        notes.append(f"The logits are of the classes, in this order: {names}.")
    return notes


def _harmless(name: str) -> str:
    """A name from outside, so that it can neither end the docstring nor continue a line."""
    return "".join(char if char.isprintable() and char not in '"\\' else "?" for char in name)
