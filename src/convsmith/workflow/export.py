"""What is written of a net for those who have no convsmith."""

from typing import Any

from convsmith import files
from convsmith.arch import code
from convsmith.workflow.target import Target

# With more classes than this, their names would bury the code.
_MOST_CLASSES = 100


def contents(target: Target) -> dict[str, bytes]:
    """The files of an export by name: `model.py`, and for a run `model.safetensors`, its weights.

    Raises:
        RunError: The run's weights are damaged or do not fit its net.
    """
    planned = target.plan
    if target.run is None:
        return {"model.py": code.source(planned).encode()}
    from convsmith.arch.build import build
    from convsmith.training.run import RunFolder

    run = RunFolder.open(target.run)
    run.load_weights(build(planned))
    return {
        "model.py": code.source(planned, notes_of(run.data_record())).encode(),
        "model.safetensors": files.read_bytes(run.path / "model.safetensors"),
    }


def notes_of(record: dict[str, Any]) -> list[str]:
    """What one must know to use a run's weights: how images are normalised, and what the logits stand for.

    Args:
        record: The run's data.json.

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
