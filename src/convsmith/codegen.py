"""Python source text: calls, constants and literals in the layout of `ruff format`."""

from collections.abc import Sequence

# The default line length of `ruff format` and `black`.
WIDTH = 88
_INDENT = 4


def number(value: float) -> str:
    """Return a number in its shortest usual form.

    >>> number(10.0), number(1e-8), number(0.05), number(2)
    ('10', '1e-8', '0.05', '2')
    """
    text = repr(int(value) if float(value).is_integer() and abs(value) < 1e15 else value)
    return text.replace("e-0", "e-")


def call(
    function: str, arguments: Sequence[str], *, indent: int = 0, before: str = "", after: str = ""
) -> str:
    """Return a call on one line if it fits, else with one argument per line.

    Args:
        function: The name of the function.
        arguments: Positional arguments first.
        indent: Number of spaces before the line on which the call begins.
        before: Text on that line before the call.
        after: Text after the call.

    Returns:
        The text, its first line without indent.

    >>> print(call("f", ["1", "b=2"], before="x = "))
    x = f(1, b=2)
    """
    line = f"{before}{function}({', '.join(arguments)}){after}"
    if indent + len(line) <= WIDTH and "\n" not in line:
        return line
    inner = " " * (indent + _INDENT)
    return "\n".join(
        [f"{before}{function}(", *(f"{inner}{each}," for each in arguments), f"{' ' * indent}){after}"]
    )


def constant(name: str, values: Sequence[object]) -> str:
    """Return the assignment of a tuple to a name.

    >>> print(constant("MEAN", [0.5]), constant("SIZE", [1, 2]))
    MEAN = (0.5,) SIZE = (1, 2)
    """
    written = [literal(value) for value in values]
    inside = f"{written[0]}," if len(written) == 1 else ", ".join(written)
    line = f"{name} = ({inside})"
    if len(line) <= WIDTH:
        return line
    return "\n".join([f"{name} = (", *(f"    {value}," for value in written), ")"])


def literal(value: object) -> str:
    """Return a literal, strings in double quotes as formatters write them; any string is escaped safely."""
    if not isinstance(value, str):
        return repr(value)
    # The quotes that need fewer escapes, like the formatter.
    quote = "'" if value.count('"') > value.count("'") else '"'
    escaped = value.replace("\\", "\\\\").replace(quote, f"\\{quote}")
    # Escape what is not printable: a name may contain line ends and control characters.
    safe = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in escaped)
    return f"{quote}{safe}{quote}"
