"""Describe a data set."""

from dataclasses import replace
from pathlib import Path

from convsmith.data.checks.describe import describe, with_every_split
from convsmith.data.checks.description import Description
from convsmith.recipes.in_memory import data_config
from convsmith.system import files, folders


def describe_data(
    name: object, *overrides: str, report: str | Path | None = None, refresh: bool = False
) -> Description:
    """Describe a data set in one pass: classes, balance, sizes, files, pixels, duplicates, issues, examples.

    Nothing is modified.

    Args:
        name: The name or TOML file of a recipe, or a value of `data.source`: a name, a folder, `owner/name`;
            or data in memory, as for `train`.
        overrides: Fields of the recipe, or of its `[data]` table, as `key=value`.
        report: Where a page with charts and pictures is written, an HTML file; by default nowhere.
        refresh: Also remove the data set from the cache, so that every command decodes it again.

    Raises:
        DataError: The data set does not exist or is unreadable.
        FileError: The page cannot be written.

    Example:
        >>> import convsmith as cs
        >>> description = cs.describe_data("digits")
        >>> description.total, description.balance.smallest, description.channels
        (1797, ('8', 174), 1)
    """
    if report is not None:
        folders.check_destination(Path(report).parent)
    with data_config(name, overrides) as config:
        source = str(name) if isinstance(name, str | Path) else config.source
        description = describe(with_every_split(config), source=source, refresh=refresh)
    # Fields of other tables mean nothing to the commands that follow.
    settings = tuple(each for each in overrides if each.lstrip().startswith("data."))
    description = replace(description, settings=settings)
    if report is not None:
        from convsmith.reports import data_page

        files.write_text(Path(report), data_page.html(description, data_page.draw_charts(description)))
    return description
