"""Export a model as plain PyTorch source code."""

from collections.abc import Sequence

from convsmith.models.model import Model, TrainedModel
from convsmith.net import source

# More class names than these would bury the code.
_MAX_CLASSES = 100


def source_files(model: Model) -> dict[str, bytes]:
    """Return the files by name: `model.py`, and trained weights in fp32 as `model.safetensors`.

    Raises:
        ModuleError: The model is a module in a file.
        RunError: The weights of a run are damaged.
        BundleError: The weights of a bundle are damaged.
    """
    if not isinstance(model, TrainedModel):
        return {"model.py": source.source(model.plan).encode()}
    from convsmith.models.bundle_weights import serialize

    rule = model.preprocessing
    notes = usage_notes(rule.mean, rule.std, model.labels)
    weights = serialize(model.net().state_dict(), "fp32")
    return {"model.py": source.source(model.plan, notes).encode(), "model.safetensors": weights}


def usage_notes(mean: Sequence[float], std: Sequence[float], labels: Sequence[str]) -> list[str]:
    """Describe how to use trained weights: the normalisation of the images, and the order of the classes.

    Example:
        >>> usage_notes([0.5], [0.25], ["cat", "dog"])[0]
        'Images are pixels divided by 255, minus (0.5), divided by (0.25), channel by channel.'
    """
    means, deviations = (", ".join(f"{value:.6g}" for value in values) for values in (mean, std))
    notes = [
        f"Images are pixels divided by 255, minus ({means}), divided by ({deviations}), channel by channel."
    ]
    if len(labels) <= _MAX_CLASSES:
        notes.append(f"The logits are of the classes, in this order: {', '.join(map(_harmless, labels))}.")
    return notes


def _harmless(name: str) -> str:
    """Replace characters that could end the docstring or continue a line."""
    return "".join(char if char.isprintable() and char not in '"\\' else "?" for char in name)
