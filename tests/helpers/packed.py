"""Archives of a folder, for tests."""

import shutil
from pathlib import Path

# The format of `shutil.make_archive` for each suffix.
FORMATS = {".zip": "zip", ".tar": "tar", ".tar.gz": "gztar", ".tar.bz2": "bztar", ".tar.xz": "xztar"}


def packed(root: Path, suffix: str, *, wrapped: bool = False) -> Path:
    """Pack a folder beside it, with its own name as the outermost folder if `wrapped`."""
    base = root.parent / f"{root.name}-packed"
    inside = {"root_dir": root.parent, "base_dir": root.name} if wrapped else {"root_dir": root}
    made = shutil.make_archive(str(base), FORMATS[suffix], **inside)
    return Path(made).rename(base.with_name(base.name + suffix))
