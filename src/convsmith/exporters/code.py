"""What is written of a net for those who have no convsmith."""

from pathlib import Path
from typing import Any

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

    run = RunFolder.open(folder)
    run.load_weights(build(planned))
    return notes_of(run.data_record()), reading.read_bytes(run.path / WEIGHTS)


def _of_bundle(folder: Path) -> tuple[list[str], bytes]:
    """The weights in fp32, as a plain net takes them."""
    from safetensors.torch import save

    from convsmith.models import bundle

    classifier = bundle.load(folder)
    learned = classifier.preprocessing
    record = {"mean": learned.mean, "std": learned.std, "class_names": classifier.labels}
    return notes_of(record), save(bundle.in_format(classifier.net.state_dict(), "fp32"))


def notes_of(record: dict[str, Any]) -> list[str]:
    """What one must know to use a run's weights: how images are normalised, and what the logits stand for.

    Args:
        record: The run's data.json, or what it would have of these.

    Example:
        >>> notes_of({"mean": [0.5], "std": [0.25], "class_names": ["cat", "dog"]})[0]
        'Images are pixels divided by 255, minus (0.5), divided by (0.25), channel by channel.'
    """
    mean, std = (", ".join(f"{value:.6g}" for value in record[name]) for name in ("mean", "std"))
    notes = [f"Images are pixels divided by 255, minus ({mean}), divided by ({std}), channel by channel."]
    names = record["class_names"]
    if len(names) <= _MOST_CLASSES:
        notes.append(f"The logits are of the classes, in this order: {', '.join(map(_harmless, names))}.")
    return notes


def _harmless(name: str) -> str:
    """A name from outside, so that it can neither end the docstring nor continue a line."""
    return "".join(char if char.isprintable() and char not in '"\\' else "?" for char in name)
