"""A folder with predictions for many images: files of parts, and a record of what they are.

_predictions.json      `PredictionsRecord`
part-00000.parquet     the predictions for the first images, and so on; or part-00000.csv
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

import convsmith
from convsmith.errors import FileError
from convsmith.models.prediction_parts import LISTING, Listing, Part, PartSettings
from convsmith.models.prediction_rows import COLUMNS, Counts, TableFormat, read_counts
from convsmith.system import files, folders, paths, reading
from convsmith.text import plural

# Readers of folders of Parquet files, such as PyArrow and Spark, skip names that begin so.
RECORD = "_predictions.json"


class PredictionsRecord(BaseModel):
    """What the predictions in a folder are.

    Attributes:
        format: Of this record.
        version: Of convsmith.
        model: As the user named it.
        model_sha256: Of everything that predictions depend on: net, weights, preprocessing, confidence.
        images: As the user named them.
        images_sha256: Of the list of all images: names, sizes and times of change.
        count: The number of images, and of rows.
        columns: Of the files.
        table_format: `"parquet"` or `"csv"`.
        part_size: Images in each file but the last.
        batch_size: Images in each forward pass.
        top_k: Classes in the column `top`.
        device: As the user named it; None for the default of the model.
        unsure: How many images have an unsure class; None until all parts are there.
        unreadable: How many images could not be read; None until all parts are there.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    version: str
    model: str
    model_sha256: str
    images: tuple[str, ...]
    images_sha256: str
    count: int
    columns: tuple[str, ...] = COLUMNS
    table_format: TableFormat
    part_size: int
    batch_size: int
    top_k: int
    device: str | None
    unsure: int | None = None
    unreadable: int | None = None

    @property
    def is_complete(self) -> bool:
        """Whether all images have a row."""
        return self.unreadable is not None

    def line(self) -> str:
        """Return one line that sums the predictions up."""
        number = -(-self.count // self.part_size)
        shown = f"{plural(self.count, 'image')} in {plural(number, 'file')}"
        if not self.is_complete:
            return f"{shown}, not complete"
        return f"{shown}: {self.unsure:,} unsure, {self.unreadable:,} unreadable"


# What another command may not change, with the words for it.
_FIXED = {
    "version": "the version of convsmith",
    "model_sha256": "the model",
    "images_sha256": "the images",
    "table_format": "--format",
    "part_size": "--part-size",
    "batch_size": "--batch-size",
    "top_k": "--top-k",
    "device": "--device",
}


@dataclass(frozen=True, kw_only=True)
class PredictionFolder:
    """A folder with predictions for many images.

    Attributes:
        path: It need not exist.
    """

    path: Path

    def check_content(self) -> None:
        """Check that the folder is new, empty or one of predictions, before any work.

        Raises:
            FileError: It is a file, has other files, or cannot be written to.
        """
        fix = "name a new or empty folder for --out"
        if paths.exists(self.path) and not paths.is_folder(self.path):
            raise FileError("this is a file, expected a folder", where=str(self.path), fix=fix)
        folders.check_destination(self.path)
        if not paths.is_folder(self.path) or paths.is_file(self.path / RECORD):
            return
        others = [each.name for each in paths.children(self.path) if not each.name.startswith(".")]
        if others:
            raise FileError(
                f"the folder has other files than predictions, such as {others[0]}",
                where=str(self.path),
                fix=fix,
            )

    def start(self, record: PredictionsRecord) -> None:
        """Write the record of a new folder, or compare it with that of earlier predictions.

        Raises:
            FileError: The folder has predictions of another model, images or settings.
        """
        if not paths.is_file(self.path / RECORD):
            self._write(record)
            return
        before = self.read()
        for field, words in _FIXED.items():
            old, new = getattr(before, field), getattr(record, field)
            if old != new:
                difference = _difference(before, record, field)
                raise FileError(
                    f"the folder has predictions with another setting: {words}{difference}",
                    where=str(self.path),
                    fix="name another folder for --out, or remove this one",
                )

    def finish(self, record: PredictionsRecord, parts: list[Part]) -> PredictionsRecord:
        """Count the rows of all parts, and write the complete record.

        Raises:
            FileError: A part is not there or damaged.
        """
        total = Counts()
        for part in parts:
            counts = read_counts(part.path)
            if counts is None or counts.images != part.count:
                raise FileError(
                    "cannot read: the file of predictions is not there or damaged",
                    where=str(part.path),
                    fix="run the same command again: it makes this file again",
                )
            total += counts
        complete = record.model_copy(update={"unsure": total.unsure, "unreadable": total.unreadable})
        self._write(complete)
        files.remove(self.path / LISTING)
        return complete

    def read(self) -> PredictionsRecord:
        """Return the record.

        Raises:
            FileError: It is damaged, or of another version.
        """
        path = self.path / RECORD
        try:
            return PredictionsRecord.model_validate(reading.read_json(path))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise FileError(
                f"the record of the predictions is damaged: {place}: {first['msg']}",
                where=str(path),
                fix="name another folder for --out, or remove this one",
            ) from error

    def _write(self, record: PredictionsRecord) -> None:
        files.write_json(self.path / RECORD, record.model_dump(mode="json"))


def new_record(
    settings: PartSettings, listing: Listing, *, model: str, images: Sequence[str]
) -> PredictionsRecord:
    """Return the record of predictions that begin.

    Args:
        settings: Of their parts.
        listing: Of the images.
        model: As the user named it.
        images: As the user named them.
    """
    return PredictionsRecord(
        version=convsmith.__version__,
        model=model,
        model_sha256=settings.model.sha256,
        images=tuple(images),
        images_sha256=listing.sha256,
        count=listing.count,
        table_format=settings.table_format,
        part_size=listing.part_size,
        batch_size=settings.batch_size,
        top_k=settings.top_k,
        device=settings.model.device,
    )


def _difference(before: PredictionsRecord, now: PredictionsRecord, field: str) -> str:
    """Return what differs, if it can be said in a few words."""
    if field == "model_sha256":
        return (
            f", found {before.model}, expected {now.model}" if before.model != now.model else " has changed"
        )
    if field == "images_sha256":
        if before.count != now.count:
            return f", found {before.count:,}, expected {now.count:,}"
        return " have other names, or have changed"
    return f", found {getattr(before, field)}, expected {getattr(now, field)}"
