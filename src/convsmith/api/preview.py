"""Preview the data of a recipe."""

from pathlib import Path

from convsmith.recipes.in_memory import with_data
from convsmith.recipes.schema import Recipe
from convsmith.recipes.session import Session
from convsmith.reports.samples import preview_images, sample_pictures
from convsmith.system import files, folders


def preview(
    recipe: Recipe, folder: str | Path, *, data: object = None, refresh: bool = False
) -> tuple[Path, ...]:
    """Draw sample images, and training images as the network receives them.

    Args:
        recipe: From `load_recipe`.
        folder: Where the pictures are written.
        data: Data in memory, as for `train`.
        refresh: Decode the images again, even if the cache has them.

    Returns:
        The paths of the pictures in `folder`, which is created if necessary.
    """
    folder = Path(folder)
    folders.check_destination(folder)
    with with_data(recipe, data) as complete:
        session = Session.load(complete, refresh=refresh)
    files.make_folder(folder)
    augmented = preview_images(session.recipe, session.data)
    pictures = sample_pictures(session.recipe, session.data, augmented, folder)
    return tuple(file for picture in pictures for file in picture.files.values())
