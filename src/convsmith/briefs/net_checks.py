"""Checks of a net as a whole: its size, its receptive field, its blocks."""

from collections.abc import Iterator
from functools import partial

from convsmith.briefs.check import Check, at_most, check, unknown
from convsmith.briefs.fixes import Fixes, plain_block_ends
from convsmith.briefs.layer_checks import layer_checks
from convsmith.briefs.parameter_checks import parameter_checks
from convsmith.briefs.requirements import Requirements
from convsmith.briefs.structure import blocks
from convsmith.net.analysis import Analysis
from convsmith.net.remarks import lines_text
from convsmith.text import plural


def net_checks(brief: Requirements, analysis: Analysis, fixes: Fixes) -> Iterator[Check]:
    """Check a net against a brief."""
    yield from _size_checks(brief, analysis, fixes)
    yield from _receptive_field_checks(brief, analysis, fixes)
    yield from layer_checks(brief, analysis, fixes)
    yield from _block_checks(brief, analysis, fixes)


def _size_checks(brief: Requirements, analysis: Analysis, fixes: Fixes) -> Iterator[Check]:
    yield from parameter_checks(brief, analysis, fixes)
    if (macs := brief.max_macs) is not None:
        if analysis.unknown_macs:
            names = ", ".join(row.name for row in analysis.unknown_macs[:3])
            yield unknown("MACs", f"at most {macs:,}", f"those of {names} are unknown")
        else:
            yield at_most(
                "MACs",
                analysis.known_macs,
                macs,
                lambda: fixes.smaller("MACs", analysis.known_macs - macs, "macs"),
            )
    if (room := brief.max_activation_bytes) is not None:
        title = "activation memory in bytes"
        yield at_most(title, analysis.peak_activation_bytes, room, lambda: fixes.less_memory(title))
    if (file := brief.max_file_bytes) is not None:
        name, size = f"weights in {brief.file_format}, bytes", analysis.file_bytes[brief.file_format]
        advice = "narrow the layers, or use a smaller format"
        yield at_most(name, size, file, lambda: fixes.narrower(name, advice))


def _receptive_field_checks(brief: Requirements, analysis: Analysis, fixes: Fixes) -> Iterator[Check]:
    if (least := brief.min_receptive_field) is not None:
        required = f"at least {least} pixels"
        field = analysis.receptive_field
        if field is None:
            yield unknown("receptive field", required, analysis.final_receptive_field.unknown)
        else:
            yield check(
                "receptive field",
                passed=field >= least,
                actual=f"{field} pixels",
                required=required,
                fix=lambda: fixes.larger_field("receptive field"),
            )
    if brief.full_coverage:
        title = "coverage of the image"
        if analysis.uncovered is None:
            yield unknown(title, "every pixel", "the receptive field of an operation")
        else:
            yield check(
                title,
                passed=not any(analysis.uncovered),
                actual=f"{lines_text(analysis.uncovered)} are missed"
                if any(analysis.uncovered)
                else "every pixel",
                required="every pixel",
                fix=lambda: fixes.covering(title),
            )


def _block_checks(brief: Requirements, analysis: Analysis, fixes: Fixes) -> Iterator[Check]:
    if (pattern := brief.blocks) is None:
        return
    parts = blocks(analysis.rows)
    title = "blocks of convolutions"
    yield check(
        title,
        passed=len(parts) == pattern.count,
        actual=f"{len(parts)}",
        required=f"{pattern.count} before the output",
        fix=partial(fixes.block_count, title, pattern),
    )
    if (each := pattern.convolutions) is not None:
        counts = [len(block.convolutions) for block in parts]
        wrong = [block.name for block in parts if len(block.convolutions) != each]
        title = "convolutions in each block"
        yield check(
            title,
            passed=bool(counts) and set(counts) == {each},
            actual=", ".join(map(str, counts)) or "none",
            required=f"{each} each",
            fix=partial(fixes.block_lengths, title, pattern, wrong),
        )
    if pattern.shrink == "strided-or-dilated":
        plain = plain_block_ends(analysis)
        # One block alone has no end that could shrink.
        missing = len(parts) < min(pattern.count, 2)
        blocks_text = plural(len(parts), "block") if missing else "all"
        title = "stride or dilation at block ends"
        yield check(
            title,
            passed=not plain and not missing,
            actual=f"none in {', '.join(plain)}" if plain else blocks_text,
            required="in every block but the last",
            fix=partial(fixes.block_ends, title, pattern, plain),
        )
