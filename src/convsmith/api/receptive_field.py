"""Measure the effective receptive field."""

from pathlib import Path

from convsmith.evaluation.receptive_field import EffectiveReceptiveField, measure
from convsmith.models.model import Model, TrainedModel
from convsmith.reports.receptive_field import receptive_field_figure
from convsmith.reports.style import save
from convsmith.system import files, folders
from convsmith.text import plural


def receptive_field(
    model: Model, folder: str | Path, *, num_images: int = 256
) -> tuple[EffectiveReceptiveField, Path]:
    """Measure and draw the effective receptive field of the last map before the head.

    Args:
        model: From `resolve`: a run, bundle or zoo model, or a recipe with its initial weights.
        folder: The folder for `receptive-field.png` and `.json`, created if necessary.
        num_images: Number of test images.

    Raises:
        RecipeError: The model is a network without images.
        RunError: The weights of the run are damaged.
    """
    folder = Path(folder)
    folders.check_destination(folder)
    field = _measure(model, num_images)
    weights = "trained" if isinstance(model, TrainedModel) else "initial"
    subtitle = (
        f"{model.name}, {weights} weights, {plural(field.num_images, 'test image')}, layer {field.layer}"
    )
    files.make_folder(folder)
    files.write_json(folder / "receptive-field.json", field.record())
    figure = receptive_field_figure(field, "Effective receptive field", subtitle)
    return field, save(figure, folder / "receptive-field.png")


def _measure(model: Model, num_images: int) -> EffectiveReceptiveField:
    session = model.session()
    net = model.net().to(session.device)
    with session.threads():
        return measure(net, session.analysis, session.data, seed=session.recipe.seed, num_images=num_images)
