"""Paths of a private copy, as a reader of the table knows them: relative to the submission."""

import os
from pathlib import Path


def without_folder(text: str, folder: Path) -> str:
    """Remove the folder of a submission from the paths in a text.

    Example:
        >>> without_folder("/tmp/x/model.py, line 3: fails", Path("/tmp/x"))
        'model.py, line 3: fails'
    """
    for prefix in (str(folder), str(folder.resolve()), os.path.relpath(folder)):
        # Messages name files relative to the working directory where they can.
        if not prefix.startswith("."):
            text = text.replace(f"{prefix}/", "")
    return text
