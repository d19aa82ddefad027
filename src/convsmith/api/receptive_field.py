"""The effective receptive field of a network."""

from pathlib import Path

from convsmith.errors import RecipeError
from convsmith.evaluation.receptive_field import EffectiveReceptiveField, measure
from convsmith.models.resolve import Target
from convsmith.recipes.session import Session
from convsmith.reports.receptive_field import receptive_field_figure
from convsmith.reports.style import save
from convsmith.runs.folder import RunFolder
from convsmith.system import files, folders


def receptive_field(
    target: Target, folder: Path, *, num_images: int = 256
) -> tuple[EffectiveReceptiveField, Path]:
    """Measure what the centre of the last map before the head looks at, and draw it.

    Args:
        target: From `load_target`: a run, or a recipe, whose net then has its initial weights.
        folder: Where `receptive-field.png` and `receptive-field.json` go; is made where it is missing.
        num_images: Test images that the measurement is over.

    Raises:
        RecipeError: The target is a net or a bundle alone, without images.
        RunError: The run's weights are damaged.
    """
    folders.check_destination(folder)
    field = _measure(target, num_images)
    weights = "trained" if target.run else "initial"
    subtitle = f"{target.name}, {weights} weights, {field.num_images:,} test images, layer {field.layer}"
    files.make_folder(folder)
    files.write_json(folder / "receptive-field.json", field.record())
    figure = receptive_field_figure(field, "Effective receptive field", subtitle)
    return field, save(figure, folder / "receptive-field.png")


def _measure(target: Target, num_images: int) -> EffectiveReceptiveField:
    # A bundle names its data set, but it may come from anyone: its data is not loaded.
    if target.recipe is None or target.bundle is not None:
        raise RecipeError(
            f"a {'net' if target.bundle is None else 'bundle'} alone has no images to look at",
            where=target.analysis.title,
            fix="name a recipe, for example with model.net=..., or a run",
        )
    session = Session.load(target.recipe)
    net = session.build_net()
    if target.run is not None:
        RunFolder.open(target.run).load_weights(net)
    net.to(session.device)
    with session.threads():
        return measure(net, session.analysis, session.data, seed=session.recipe.seed, num_images=num_images)
