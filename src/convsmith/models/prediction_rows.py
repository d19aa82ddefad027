"""Predictions as rows of CSV and Parquet files."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from convsmith.models.classifier import Prediction, UnreadableImage
from convsmith.text import csv_row, one_line

PredictionResult = Prediction | UnreadableImage
TableFormat = Literal["parquet", "csv"]
FORMATS: tuple[TableFormat, ...] = get_args(TableFormat)
# An image that cannot be read has a name and an error only.
COLUMNS = ("image", "label", "confidence", "unsure", "top", "error")


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What a file of predictions holds.

    Attributes:
        images: The number of rows.
        unsure: Images whose class is unsure.
        unreadable: Images that could not be read.
    """

    images: int = 0
    unsure: int = 0
    unreadable: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            images=self.images + other.images,
            unsure=self.unsure + other.unsure,
            unreadable=self.unreadable + other.unreadable,
        )


def csv_line(result: PredictionResult) -> str:
    """Return a prediction as a line of CSV."""
    if isinstance(result, UnreadableImage):
        return csv_row([result.image, "", "", "", "", result.reason])
    top = "; ".join(f"{one_line(label)} {probability:.4f}" for label, probability in result.top)
    return csv_row(
        [result.image, result.label, f"{result.confidence:.6f}", str(result.unsure).lower(), top, ""]
    )


def table_file(results: Sequence[PredictionResult], table_format: TableFormat) -> bytes:
    """Return the content of a file with a row for each prediction.

    A Parquet file has the probabilities as they are, in double precision, a CSV file has them rounded.
    """
    if table_format == "csv":
        lines = [csv_row(COLUMNS), *map(csv_line, results)]
        return "".join(lines).encode(errors="backslashreplace")
    import pyarrow as pa
    import pyarrow.parquet

    stream = io.BytesIO()
    pyarrow.parquet.write_table(pa.Table.from_pylist([_cells(each) for each in results], _schema()), stream)
    return stream.getvalue()


def read_counts(path: Path) -> Counts | None:
    """Return what a file of predictions holds; None if there is no such file, or it is damaged."""
    try:
        return _csv_counts(path) if path.suffix == ".csv" else _parquet_counts(path)
    except (OSError, ValueError, csv.Error):
        return None


def _csv_counts(path: Path) -> Counts:
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        if next(rows, None) != list(COLUMNS):
            raise ValueError("another header")
        unsure, error = COLUMNS.index("unsure"), COLUMNS.index("error")
        values = [(row[unsure] == "true", bool(row[error])) for row in rows if len(row) == len(COLUMNS)]
    return Counts(
        images=len(values),
        unsure=sum(is_unsure for is_unsure, _ in values),
        unreadable=sum(is_error for _, is_error in values),
    )


def _parquet_counts(path: Path) -> Counts:
    import pyarrow.compute as pc
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        if file.schema_arrow.names != list(COLUMNS):
            raise ValueError("other columns")
        table = file.read(columns=["unsure", "error"])
    errors = table["error"]
    return Counts(
        images=table.num_rows,
        unsure=pc.sum(table["unsure"]).as_py() or 0,
        unreadable=len(errors) - errors.null_count,
    )


def _schema() -> Any:
    import pyarrow as pa

    top = pa.struct([("label", pa.string()), ("probability", pa.float64())])
    types = (pa.string(), pa.string(), pa.float64(), pa.bool_(), pa.list_(top), pa.string())
    return pa.schema(list(zip(COLUMNS, types, strict=True)))


def _cells(result: PredictionResult) -> dict[str, Any]:
    # Names that are no UTF-8 are spelled as in CSV.
    return {
        name: _text(value) if isinstance(value, str) else value for name, value in result.record().items()
    }


def _text(value: str) -> str:
    return value.encode(errors="backslashreplace").decode()
