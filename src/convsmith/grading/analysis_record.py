"""The analysis of a net as a part of a record."""

from convsmith.grading.record import AnalysisRecord, RowRecord
from convsmith.net.analysis import Analysis
from convsmith.net.cells import size_cell
from convsmith.net.tables import summary_rows
from convsmith.text import one_line

# Of a net with thousands of operations; the totals are those of all.
_MOST_ROWS = 400


def analysis_record(analysis: Analysis) -> AnalysisRecord:
    """Return the totals and the rows of a net.

    Example:
        >>> from convsmith.net.arithmetic import analyze_notation
        >>> record = analysis_record(analyze_notation("C8 / G F10", (1, 8, 8)))
        >>> record.parameters, record.receptive_field, record.rows[0].shape
        (178, '3 pixels', '8 x 8 x 8')
    """
    rows = summary_rows(analysis)
    return AnalysisRecord(
        title=one_line(analysis.title)[:1000],
        parameters=analysis.parameters,
        trainable=analysis.trainable,
        frozen=sum(count for _, count in analysis.frozen),
        hidden=sum(each.size for each in analysis.hidden),
        buffers=analysis.buffers,
        macs=analysis.macs,
        receptive_field=one_line(analysis.receptive_field_text)[:4000],
        idle=tuple(
            one_line(f"{each.name} ({each.operation}, {each.parameters:,} parameters)")[:1000]
            for each in analysis.idle
        ),
        remarks=tuple(one_line(each)[:4000] for each in analysis.remarks),
        rows=tuple(
            RowRecord(
                layer=one_line(row.name or row.layer)[:1000],
                operation=one_line(row.operation)[:1000],
                shape=" x ".join(map(str, row.out_shape)),
                parameters=row.parameters,
                receptive_field=size_cell(row.out_field),
            )
            for row in rows[:_MOST_ROWS]
        ),
    )
