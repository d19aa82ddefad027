"""The pictures of a hand-in: joint graphs of all steps, and the mistakes of each model."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.figure import Figure

from convsmith.evaluation import predictions
from convsmith.evaluation.gradient_maps import gradient_maps
from convsmith.exporters.hand_in.steps import Step
from convsmith.models.bundle_schema import Preprocessing
from convsmith.reports.charts import joint_curves, side_by_side
from convsmith.reports.galleries import Tile, gallery
from convsmith.reports.sheets import enlarged, overlaid
from convsmith.reports.style import SERIES, Drawing, draw, isolated, short
from convsmith.system import paths, reading

# The mistakes of a model: five in a row.
MISTAKES, COLUMNS = 10, 5
# Pictures of a run that are copied, by their names in the folder of the run.
_COPIED = ("augmented", "architecture")
LOSS, ACCURACY, EXAMPLES = "plots/loss.svg", "plots/accuracy.svg", "plots/examples.svg"


def mistakes_path(step: Step) -> str:
    return f"plots/{step.slug}_mistakes.svg"


def copied_path(step: Step, name: str) -> str:
    return f"plots/{step.slug}_{name}.svg"


def pictures(steps: Sequence[Step]) -> dict[str, bytes]:
    """Return the pictures by their path in the hand-in.

    Raises:
        RunError: The data set of a run has changed.
        DataError: It is unavailable.
    """
    drawn = {
        LOSS: draw(_curves(steps, "loss")).file("Test loss of all models"),
        ACCURACY: draw(_curves(steps, "accuracy")).file("Test accuracy of all models"),
    }
    for step in steps:
        drawn[mistakes_path(step)] = _mistakes(step).file(f"Misclassified images of {step.name}")
    contents = {path: text.encode() for path, text in drawn.items()}
    return contents | _copies(steps)


def _copies(steps: Sequence[Step]) -> dict[str, bytes]:
    """Return pictures of the runs; runs of version 0.1.0 have none as SVG."""
    sources = {EXAMPLES: steps[0].model.folder.path / "plots/examples.svg"}
    for step in steps:
        folder = step.model.folder.path / "plots"
        sources |= {copied_path(step, name): folder / f"{name}.svg" for name in _COPIED}
    return {path: reading.read_bytes(source) for path, source in sources.items() if paths.is_file(source)}


def _curves(steps: Sequence[Step], kind: str) -> Figure:
    lines = [
        (f"{step.name}:", SERIES[number % len(SERIES)], step.epochs) for number, step in enumerate(steps)
    ]
    low = (
        _low([row.test_accuracy or 0.0 for step in steps for row in step.epochs])
        if kind == "accuracy"
        else None
    )
    curves = joint_curves(lines, kind, decimals=2, low=low, room=0.2)
    subtitle = f"The axis starts at {low:.0%}." if low else ""
    return side_by_side([curves], "All models", subtitle, height=4.4)


def _low(values: Sequence[float]) -> float | None:
    """Return where the axis of accuracies starts, so that the last epochs are told apart.

    >>> _low([0.5, 0.96, 0.98, 0.99, 0.992, 0.993]), _low([0.1, 0.4])
    (0.95, None)
    """
    quarter = float(np.quantile(values, 0.25))
    return float(np.floor(quarter * 20) / 20) if quarter > 0.8 else None


def _mistakes(step: Step) -> Drawing:
    """Draw the most confident mistakes, each beside the map of the predicted class."""
    model = step.model
    saved = predictions.read(model.folder.predictions)
    wrong = np.flatnonzero(saved.wrong)
    chosen = wrong[np.argsort(-saved.confidence[wrong], kind="stable")][:MISTAKES]
    images = model.dataset().test.images[chosen]
    maps = _maps(step, images, saved.predicted[chosen]) if len(chosen) else None
    tiles: list[Tile | None] = []
    for place, index in enumerate(chosen):
        names = (short(model.labels[each[index]]) for each in (saved.predicted, saved.labels))
        predicted, true = names
        tiles.append(
            Tile(
                image=_with_map(images[place], None if maps is None else maps[place]),
                caption=f"{isolated(predicted)} ({saved.confidence[index]:.0%})\ntrue: {true}",
                correct=False,
            )
        )
    beside = "" if maps is None else " Right: the class-activation map (Grad-CAM) of the predicted class."
    subtitle = f"The {len(chosen)} most confident of {len(wrong):,}.{beside}" if len(chosen) else "None."
    return gallery(tiles, f"Misclassified images of {step.name}", subtitle, columns=COLUMNS)


def _with_map(
    image: "np.typing.NDArray[np.uint8]", heat: "np.typing.NDArray[np.float32] | None"
) -> "np.typing.NDArray[np.uint8]":
    large = enlarged(image)
    colour = np.broadcast_to(large, (*large.shape[:2], 3))
    return colour if heat is None else np.concatenate([colour, overlaid(image, heat, 0.0, 1.0)], axis=1)


def _maps(
    step: Step, images: "np.typing.NDArray[np.uint8]", classes: "np.typing.NDArray[np.int64]"
) -> "np.typing.NDArray[np.float32] | None":
    rule: Preprocessing = step.model.preprocessing
    mean, std = (torch.tensor(values)[:, None, None] for values in (rule.mean, rule.std))
    pixels = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 255
    maps = gradient_maps(step.model.net(), (pixels - mean) / std, torch.from_numpy(classes.astype(np.int64)))
    return None if maps is None else maps.numpy()


def titles(steps: Sequence[Step], contents: Mapping[str, bytes]) -> dict[str, dict[str, str]]:
    """Return the copied pictures that exist, by the name of the model and their own."""
    return {
        step.name: {name: copied_path(step, name) for name in _COPIED if copied_path(step, name) in contents}
        for step in steps
    }
