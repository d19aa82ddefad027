"""The folder of runs that each hold out one fold of the training set, and of what they give together."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convsmith.data.dataset import FoldedData, image_ids
from convsmith.data.fold import Fold
from convsmith.errors import FileError, RunError
from convsmith.evaluation import predictions as saved_predictions
from convsmith.evaluation.out_of_fold import OutOfFoldLabelErrors, OutOfFoldResults
from convsmith.evaluation.predictions import Predictions
from convsmith.evaluation.schema import Record
from convsmith.recipes.schema import Recipe
from convsmith.runs.conditions import changes_of, flat_fields
from convsmith.runs.folder import PAGE, PREDICTIONS, RECIPE, STATE, RunFolder
from convsmith.runs.schema import FILES, FileEntry, Manifest, validated, write_record
from convsmith.system import files, paths, reading
from convsmith.text import csv_row

FOLDS, RESULTS = "folds.json", "results.json"
TABLE, LABEL_ERRORS, ERROR_TABLE = "predictions.csv", "label_errors.json", "label_errors.csv"
_MANIFEST = FILES[Manifest]
_OUTPUTS = (PREDICTIONS, TABLE, RESULTS, LABEL_ERRORS, ERROR_TABLE, PAGE)
_MOST_CHANGES = 10
# With more classes, the table of predictions has no probabilities; predictions.npz has all logits.
MOST_PROBABILITIES = 100
# Fields that do not change the weights, depend on the machine, or are compared by other means.
_LEFT_OUT = {
    "": ("name", "description", "result", "notes", "brief", "model"),
    "data": ("source", "keep_in", "skip_damaged", "fold"),
    "train": ("precision", "device", "teacher", "start_from"),
}


class FoldsRecord(Record):
    """What the folds of a folder have in common.

    Attributes:
        folds: Their number.
        images: That they divide.
        fingerprint: Of all images and labels of the source.
        assignment: SHA-256 of the images in their order, each with its fold.
        settings: The fields of the recipe, by their dotted keys, as JSON.
        model: What identifies the net, likewise.
    """

    folds: int
    images: int
    fingerprint: str
    assignment: str
    settings: dict[str, str]
    model: dict[str, str]

    @classmethod
    def of(cls, recipe: Recipe, model: Mapping[str, Any], data: FoldedData, count: int) -> "FoldsRecord":
        """Describe the folds of a recipe.

        Args:
            recipe: Without a fold.
            model: What identifies the net, as plain values.
            data: The images that the folds divide.
            count: Of the folds.
        """
        digest = hashlib.sha256(image_ids(data.images.images).tobytes())
        for array in (data.images.labels, data.folds):
            digest.update(array.astype("<i8").tobytes())
        return cls(
            folds=count,
            images=len(data),
            fingerprint=data.fingerprint,
            assignment=digest.hexdigest(),
            settings={**settings_of(recipe), **_places_of(recipe)},
            model=flat_fields(dict(model)),
        )

    def fields(self) -> dict[str, str]:
        """Return all of it by dotted keys."""
        own = {name: str(getattr(self, name)) for name in ("folds", "images", "fingerprint", "assignment")}
        return {
            "folds": own.pop("folds"),
            **self.settings,
            **{f"model.{key}": value for key, value in self.model.items()},
            **{f"data: {key}": value for key, value in own.items()},
        }


def settings_of(recipe: Recipe) -> dict[str, str]:
    """Return the fields of a recipe that all folds have in common, by their dotted keys, as JSON."""
    table = recipe.table()
    for name, left_out in _LEFT_OUT.items():
        part = table[name] if name else table
        for key in left_out:
            part.pop(key, None)
    return flat_fields(table)


def _places_of(recipe: Recipe) -> dict[str, str]:
    """Return the names of the teacher and of the weights to start from."""
    places = {name: getattr(recipe.train, name) for name in ("teacher", "start_from")}
    return {f"train.{name}": json.dumps(place) for name, place in places.items() if place}


@dataclass(frozen=True, kw_only=True)
class FoldsFolder:
    """The files of several folds.

    ================== =================================================================
    folds.json         `FoldsRecord`: what the folds have in common
    recipe.toml        the recipe, without a fold
    fold-1/, ...       a run folder for each fold; its test set is the held-out fold
    predictions.npz    `Predictions` of all images, each by the net that was not trained on it
    predictions.csv    the same as a table, with the place of each image in the source
    results.json       `OutOfFoldResults`
    label_errors.json  `OutOfFoldLabelErrors`; only with cleanlab, as is label_errors.csv
    report.html        the page
    manifest.json      `Manifest` of these files, without the runs; written last
    ================== =================================================================
    """

    path: Path

    def run(self, number: int) -> RunFolder:
        """Return the run folder of a fold, which need not exist; numbers count from 1."""
        return RunFolder(path=self.path / f"fold-{number}")

    def start(self, record: FoldsRecord, recipe: Recipe) -> None:
        """Write the record of new folds, or compare it with that of the folds in the folder.

        Raises:
            RunError: The folder has other folds, or the data set has changed.
            FileError: The folder is not writable, or holds other files.
        """
        path = self.path / FOLDS
        if not paths.is_file(path):
            self._check_empty()
        # A net that does not fit the data, for example, is an error before the first checkpoint.
        if not paths.is_file(path) or not self._has_runs():
            files.write_toml(self.path / RECIPE, recipe.table())
            files.write_json(path, record.model_dump(mode="json"))
            return
        fix = "restore the file from a copy, or train the folds in another folder with --out"
        stored = validated(FoldsRecord, reading.read_json(path), path, fix)
        changes = changes_of(stored.fields(), record.fields())
        if changes:
            of_data = all(each.field.startswith("data: ") for each in changes)
            what = "the data set is not the one of these folds" if of_data else "the folder has other folds"
            raise RunError(
                what,
                where=str(self.path),
                context="\n".join(each.line() for each in changes[:_MOST_CHANGES]),
                fix="restore the data set, or train the folds in another folder with --out"
                if of_data
                else "use the same settings, or another folder with --out",
            )

    def _has_runs(self) -> bool:
        return any(
            paths.is_file(each / name) for each in self.path.glob("fold-*") for name in (STATE, _MANIFEST)
        )

    def _check_empty(self) -> None:
        others = [each.name for each in paths.children(self.path) if not each.name.startswith(".")]
        # A process that was killed before it had written the record.
        if set(others) - {RECIPE}:
            raise FileError(
                f"the folder has other files, such as {min(others)}",
                where=str(self.path),
                fix="name a new or an empty folder with --out",
            )

    def check_run(self, number: int, count: int, recipe: Recipe) -> None:
        """Check that the run of a fold, whose recipe can be read, has the settings of its fold.

        Raises:
            RunError: It was edited, or trained on with other settings.
        """
        own = self.run(number).recipe()
        if own.data.fold == str(Fold(number=number, count=count)):
            if recipe.train.start_from:
                # Those of the start, unless the recipe names others.
                kept = {name: getattr(recipe.data, name) for name in ("mean", "std")}
                own = own.model_copy(update={"data": own.data.model_copy(update=kept)})
            changes = changes_of(settings_of(recipe), settings_of(own))
            if not changes:
                return
            lines = "\n".join(each.line() for each in changes[:_MOST_CHANGES])
        else:
            lines = f"data.fold: was {number}/{count}, is {own.data.fold or 'nothing'}"
        raise RunError(
            "the run is not that of this fold",
            where=str(self.run(number).path),
            context=lines,
            fix="remove the folder of this run, to train the fold again",
        )

    def reopen(self) -> None:
        """Remove what is made of all folds, since some are not complete."""
        for name in (_MANIFEST, *_OUTPUTS):
            files.remove(self.path / name)

    def write_predictions(self, predictions: Predictions, data: FoldedData) -> None:
        """Write the out-of-fold predictions, as arrays and as a table."""
        saved_predictions.write(predictions, self.path / PREDICTIONS)
        names, with_all = data.class_names, len(data.class_names) <= MOST_PROBABILITIES
        probabilities = predictions.probabilities if with_all else None
        predicted, confidence = predictions.predicted.tolist(), predictions.confidence.tolist()
        header = ["index", "location", "fold", "label", "predicted", "confidence"]
        rows = [csv_row([*header, *([f"probability of {name}" for name in names] if with_all else [])])]
        for index, (label, fold) in enumerate(zip(data.images.labels, data.folds, strict=True)):
            values = [] if probabilities is None else [f"{each:.6f}" for each in probabilities[index]]
            first = [index, data.locations[index], int(fold) + 1, names[label], names[predicted[index]]]
            rows.append(csv_row([*first, f"{confidence[index]:.6f}", *values]))
        files.write_text(self.path / TABLE, "".join(rows))

    def write_label_errors(self, errors: OutOfFoldLabelErrors | None) -> None:
        """Write the label errors as JSON and as a table; None if they were not searched."""
        if errors is None:
            files.remove(self.path / LABEL_ERRORS)
            files.remove(self.path / ERROR_TABLE)
            return
        files.write_json(self.path / LABEL_ERRORS, errors.model_dump(mode="json"))
        header = ["rank", "location", "index", "fold", "label", "predicted", "confidence"]
        rows = [csv_row([*header, *(f"probability of {name}" for name in errors.class_names)])]
        for rank, each in enumerate(errors.images, start=1):
            first = [rank, each.location, each.index, each.fold, each.label, each.predicted]
            values = (f"{value:.6f}" for value in (each.confidence, *each.probabilities))
            rows.append(csv_row([*first, *values]))
        files.write_text(self.path / ERROR_TABLE, "".join(rows))

    def write_results(self, results: OutOfFoldResults) -> None:
        """Write the metrics."""
        files.write_json(self.path / RESULTS, results.model_dump(mode="json"))

    def write_page(self, text: str) -> Path:
        """Write the page, and the manifest last."""
        files.write_text(self.path / PAGE, text)
        present = [name for name in (RECIPE, FOLDS, *_OUTPUTS) if paths.is_file(self.path / name)]
        write_record(self.path, Manifest({name: FileEntry.of(self.path / name) for name in present}))
        return self.path / PAGE
