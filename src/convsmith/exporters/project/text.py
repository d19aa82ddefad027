"""Python as text: calls and constants, laid out as `ruff format` lays them out."""

from collections.abc import Sequence

# The line length of `ruff format` and `black` unless they are told another.
WIDTH = 88
_INDENT = 4


def number(value: float) -> str:
    """A number as people write it.

    >>> number(10.0), number(1e-8), number(0.05), number(2)
    ('10', '1e-8', '0.05', '2')
    """
    text = repr(int(value) if float(value).is_integer() and abs(value) < 1e15 else value)
    return text.replace("e-0", "e-")


def call(
    function: str, arguments: Sequence[str], *, indent: int = 0, before: str = "", after: str = ""
) -> str:
    """A call on one line where it fits, else an argument a line.

    Args:
        function: What is called.
        arguments: Positional ones first.
        indent: Spaces before the line that the call begins on.
        before: What stands on that line before the call.
        after: What stands behind it.

    Returns:
        The text without the indent of its first line.

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
    """A tuple under a name.

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
    """A literal in double quotes, as formatters want it; whatever is in a text stays text."""
    if not isinstance(value, str):
        return repr(value)
    # The quotes that need fewer escapes, as the formatter has it.
    quote = "'" if value.count('"') > value.count("'") else '"'
    escaped = value.replace("\\", "\\\\").replace(quote, f"\\{quote}")
    # Beyond what can be printed, escape sequences: a name may hold line ends and worse.
    safe = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in escaped)
    return f"{quote}{safe}{quote}"
