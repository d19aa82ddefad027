"""Judgements as a Markdown page: for the summary of a step in GitHub Actions, for a file, for a README."""

from collections.abc import Iterator, Sequence
from itertools import accumulate, takewhile

from convsmith.briefs.hints import grouped
from convsmith.briefs.judgement import Judgement
from convsmith.briefs.verdicts import MARKS
from convsmith.text import escape_markdown, fenced, markdown_table, plural

# GitHub's limit for the summary of one step, in bytes.
MOST_BYTES = 2**20
_HEADER = ("#", "verdict", "check", "found", "required", "where", "fix")


def markdown_report(judgements: Sequence[Judgement], title: str = "") -> str:
    """Return a page: a table of nets if there are several, then a table of checks for each.

    Args:
        judgements: One for each net.
        title: The heading of the page; empty for none.

    Example:
        >>> print(markdown_report([Judgement(name="C16 / G F10")], "Checks").rstrip())
        # Checks
        <BLANKLINE>
        ## ✅ C16 / G F10: nothing to check
    """
    parts = [f"# {escape_markdown(title)}"] if title else []
    if len(judgements) > 1:
        rows = [[_mark(each), escape_markdown(each.name), each.outcome, each.totals] for each in judgements]
        parts.append(markdown_table(["", "net", "checks", "size"], rows, left=4))
    for each in judgements:
        parts += _parts(each)
    return "\n\n".join(parts) + "\n"


def shortened(page: str, most: int = MOST_BYTES) -> str:
    r"""Return a page of at most so many bytes in UTF-8, cut after a whole line, with a line that says so.

    Example:
        >>> shortened("| a |\n" * 30, most=100).splitlines()[-1]
        'The rest is left out: 19 lines.'
    """
    if len(page.encode()) <= most:
        return page
    lines = page.splitlines(keepends=True)
    room = most - len(_left_out(len(lines)).encode())
    if room < 0:
        return ""
    sizes = accumulate(len(line.encode()) for line in lines)
    kept = sum(1 for _ in takewhile(lambda size: size <= room, sizes))
    return "".join(lines[:kept]) + _left_out(len(lines) - kept)


def _left_out(count: int) -> str:
    return f"\nThe rest is left out: {plural(count, 'line')}.\n"


def _mark(judgement: Judgement) -> str:
    return MARKS["pass" if judgement.passed else "fail"]


def _parts(judgement: Judgement) -> Iterator[str]:
    yield f"## {_mark(judgement)} {escape_markdown(judgement.name)}: {judgement.outcome}"
    if judgement.totals:
        yield escape_markdown(judgement.totals)
    if judgement.error:
        yield fenced(str(judgement.error))
    if judgement.checks:
        yield markdown_table(_HEADER, list(_rows(judgement)), left=len(_HEADER))
    notes = [*judgement.remarks, *_hint_texts(judgement)]
    if notes:
        yield "\n".join(f"- {escape_markdown(each)}" for each in notes)


def _rows(judgement: Judgement) -> Iterator[list[str]]:
    for number, each in enumerate(judgement.checks, start=1):
        where = each.layer + (f" ({each.location})" if each.layer and each.location else "")
        cells = (each.title, each.actual, each.required, where or str(each.location or ""), each.fix)
        yield [str(number), f"{MARKS[each.verdict]} {each.verdict}", *map(escape_markdown, cells)]


def _hint_texts(judgement: Judgement) -> Iterator[str]:
    return (f"hint: {each.topic}: {each.layer}: {each.what}" for each in grouped(judgement.hints))
