"""Measure the effective receptive field."""

from pathlib import Path

from convsmith.errors import ShapeError
from convsmith.evaluation.receptive_field import EffectiveReceptiveField, measure, measure_noise
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
        model: From `resolve`: a run, bundle or zoo model; or a recipe, notation or module with its initial
            weights. Notation and modules have no images: the field is measured on normally distributed noise.
        folder: The folder for `receptive-field.png` and `.json`, created if necessary.
        num_images: Number of test images, or of images of noise.

    Raises:
        ModuleError: The module takes other inputs than one image, or returns no map before its head.
        RunError: The weights of the run are damaged.
        ShapeError: The images of the model have another shape than its analysis.
    """
    folder = Path(folder)
    folders.check_destination(folder)
    field = _measure(model, num_images)
    weights = "trained" if isinstance(model, TrainedModel) else "initial"
    images = "test image" if model.recipe else "random image"
    subtitle = f"{model.name}, {weights} weights, {plural(field.num_images, images)}, layer {field.layer}"
    files.make_folder(folder)
    files.write_json(folder / "receptive-field.json", field.record())
    figure = receptive_field_figure(field, "Effective receptive field", subtitle)
    return field, save(figure, folder / "receptive-field.png")


def _measure(model: Model, num_images: int) -> EffectiveReceptiveField:
    if model.recipe is None:
        return measure_noise(model.net(), model.analysis, seed=0, num_images=num_images)
    session = model.session()
    shape, own = model.analysis.input_shape, session.analysis.input_shape
    if shape != own:
        text = "x".join(map(str, own))
        raise ShapeError(f"the images of {model.name} are {text}", where="--input", fix="leave --input out")
    net = model.net().to(session.device)
    with session.threads():
        return measure(net, session.analysis, session.data, seed=session.recipe.seed, num_images=num_images)
