"""Export a model as plain PyTorch source code."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from convsmith.models.model import Model, TrainedModel
from convsmith.modules.architecture import ModuleArchitecture
from convsmith.net import source
from convsmith.text import escape_markdown, fenced

if TYPE_CHECKING:
    from convsmith.exporters.project.net_code import NetCode

# More class names than these would bury the code.
_MAX_CLASSES = 100


def source_files(model: Model) -> dict[str, bytes]:
    """Return the files by name: `model.py`, and trained weights in fp32 as `model.safetensors`.

    Of a module they are its own files, and `README.md` with how to load them.

    Raises:
        ModuleError: The model is a module in a file.
        RunError: The weights or the code of a run are damaged.
        BundleError: The weights of a bundle are damaged.
    """
    if isinstance(model.architecture, ModuleArchitecture):
        return _module_files(model, model.architecture)
    if not isinstance(model, TrainedModel):
        return {"model.py": source.source(model.plan).encode()}
    from convsmith.models.bundle_weights import serialize

    rule = model.preprocessing
    notes = usage_notes(rule.mean, rule.std, model.labels)
    weights = serialize(model.net().state_dict(), "fp32")
    return {"model.py": source.source(model.plan, notes).encode(), "model.safetensors": weights}


def _module_files(model: Model, architecture: ModuleArchitecture) -> dict[str, bytes]:
    from convsmith.exporters.project.net_code import module_code

    files = architecture.loaded.files
    sources, root = architecture.sources, files.base if files else Path()
    if isinstance(model, TrainedModel):
        sources, root = model.code()
    net = module_code(architecture, model.analysis, sources, root, "")
    if net.names and (net.has_relative_imports or "/" in net.main):
        net = module_code(architecture, model.analysis, sources, root)
    written = {**net.files, "README.md": _readme(model, net).encode()}
    if isinstance(model, TrainedModel):
        from convsmith.models.bundle_weights import serialize

        written["model.safetensors"] = serialize(model.net().state_dict(), "fp32")
    return written


def _readme(model: Model, net: "NetCode") -> str:
    """Return how the module is created and its weights are loaded."""
    lines = [f"from {net.module} import {net.name}", "", f"net = {net.call}"]
    if net.call.startswith("copy."):
        lines.insert(0, "import copy\n")
    notes = list(net.remarks)
    if isinstance(model, TrainedModel):
        lines[-2:-2] = ["from safetensors.torch import load_file"]
        lines.append('net.load_state_dict(load_file("model.safetensors"))')
        notes += usage_notes(model.preprocessing.mean, model.preprocessing.std, model.labels)
    lines.append("net.eval()")
    if net.outputs != "logits":
        notes.append(_OUTPUTS[net.outputs])
    if net.packages:
        notes.append(
            f"It imports {', '.join(f'{name} {each}' for name, each in sorted(net.packages.items()))}."
        )
    code = "\n".join(lines)
    return "\n\n".join([f"# {net.name}", fenced(code, "python"), *map(escape_markdown, notes)]) + "\n"


_OUTPUTS = {
    "log_probabilities": "The outputs are log-probabilities.",
    "probabilities": "The outputs are probabilities. convsmith takes their logarithm as the logits.",
}


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
