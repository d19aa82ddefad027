"""Explain error codes."""

import re
from importlib import resources

from convsmith.errors import UsageError, suggest


def explain_error(code: str) -> str:
    """Return the section of docs/errors.md for an error code: what happened, why, how to fix it.

    Args:
        code: For example "E021"; case-insensitive.

    Raises:
        UsageError: The code is unknown.

    Example:
        >>> import convsmith as cs
        >>> cs.explain_error("E021").splitlines()[0]
        '## E021: layers that do not fit'
    """
    page = (resources.files("convsmith.library") / "errors.md").read_text("utf-8")
    sections = {text[3:7]: text.strip() for text in re.split(r"^(?=## )", page, flags=re.MULTILINE)[1:]}
    codes = [name for name in sections if re.fullmatch(r"E\d{3}", name)]
    if code.upper() not in codes:
        raise UsageError(f"no error has the code {code!r}", fix=suggest(code.upper(), codes))
    return sections[code.upper()]
