"""Lines of a submission that could reach the program that judges it; for a teacher to read.

This reads text and runs nothing, outside of the process of the submission, so that its code cannot remove the
note. Whoever hides such a line, for example in an encoded text, is not noticed.
"""

import re
from pathlib import Path

from convsmith.errors import FileError
from convsmith.system import reading
from convsmith.text import one_line

_SUFFIXES = {".py", ".ipynb"}
# In bytes; larger sources are not read.
_MAX_SOURCE, _MAX_FILES, _MAX_NOTES = 2**26, 500, 5
_REACHING = re.compile(
    rb"sys\._getframe|_current_frames|inspect\.(?:currentframe|stack)|gc\.get_(?:objects|referrers)"
    rb"|sys\.(?:settrace|setprofile)|convsmith\.(?:grading|briefs)|RECORD\.json|os\._exit|os\.getppid|\bctypes\b"
)


def suspect_lines(folder: Path) -> list[str]:
    r"""Return notes on lines that name the means to reach the judging program.

    Args:
        folder: A private copy: regular files only.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "model.py").write_text("import sys\nframe = sys._getframe(1)")
        >>> suspect_lines(folder)
        ['model.py, line 2: sys._getframe can reach the program that judges it: read this line']
    """
    notes: list[str] = []
    sources = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)
    for path in sources[:_MAX_FILES]:
        try:
            content = reading.read_bytes(path, _MAX_SOURCE)
        except FileError:
            continue
        names = set()
        for match in _REACHING.finditer(content):
            name = match[0].decode()
            if name not in names:
                names.add(name)
                line = content.count(b"\n", 0, match.start()) + 1
                place = f"{one_line(str(path.relative_to(folder)))}, line {line}"
                notes.append(f"{place}: {name} can reach the program that judges it: read this line")
    more = len(notes) - _MAX_NOTES
    return [*notes[:_MAX_NOTES], *([f"and {more} more such lines"] if more > 0 else [])]
