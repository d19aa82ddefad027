"""Sample images of a recipe's data."""

from pathlib import Path

from convsmith.recipes.schema import Recipe
from convsmith.recipes.session import prepare
from convsmith.reports.samples import augmented_samples, data_pictures
from convsmith.system import files, folders


def preview(recipe: Recipe, folder: Path) -> tuple[Path, ...]:
    """Draw sample images, and augmented ones as the net will see them.

    Returns:
        The pictures' paths in `folder`, which is made where it is missing.
    """
    folders.check_destination(folder)
    prepared = prepare(recipe)
    files.make_folder(folder)
    augmented = augmented_samples(prepared.recipe, prepared.data)
    pictures = data_pictures(prepared.recipe, prepared.data, augmented, folder)
    return tuple(picture.file for picture in pictures)
