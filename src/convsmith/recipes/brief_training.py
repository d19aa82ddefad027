"""The recipe that trains a net by the rules of a brief."""

from convsmith.briefs.loader import brief_names, load_brief
from convsmith.briefs.schema import Brief
from convsmith.recipes.loader import brief_name_of, load, recipe_names


def recipe_of_brief(brief: Brief) -> str | None:
    """Return the name of the library's recipe for a brief, the shortest training; None if there is none.

    A copy of a brief in a file is recognised by its content.

    Example:
        >>> recipe_of_brief(load_brief("course-cifar10-relaxed")), recipe_of_brief(Brief())
        ('cifar10-sprint', None)
    """
    names = {name for name in brief_names() if load_brief(name) == brief}
    recipes = [name for name in recipe_names() if brief_name_of(name) in names]
    return min(recipes, key=lambda name: load(name).train.epochs, default=None)
