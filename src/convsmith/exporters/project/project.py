"""The files of an ejected project: code, weights, log, plots, notebook and README."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from convsmith.data.config import DataConfig
from convsmith.data.dataset import held_out_positions, load
from convsmith.data.hub.parquet import choose_files, parquet_files, table_columns
from convsmith.data.sources import HUB_NAMES, find_source, read_source, source_files
from convsmith.data.split_files import split_files
from convsmith.errors import DataError, RunError
from convsmith.evaluation import predictions
from convsmith.evaluation.metrics import compute_metrics
from convsmith.evaluation.schema import Results
from convsmith.exporters.code import usage_notes
from convsmith.exporters.project.code import START, Storage, plain_log, python_files, template_context
from convsmith.exporters.project.image_arrays import ARRAYS, array_files, project_kind
from convsmith.exporters.project.net_code import FOLDER, NetCode, module_code, notation_code
from convsmith.exporters.project.notebook import notebook
from convsmith.exporters.project.readme import RunSummary, readme
from convsmith.models.run_model import RunModel
from convsmith.modules.architecture import ModuleArchitecture
from convsmith.net.arithmetic import SpecAnalysis
from convsmith.runs.folder import FIRST_WEIGHTS
from convsmith.runs.schema import METRICS, Environment, WeightsRecord
from convsmith.runs.session import check_data
from convsmith.system import files, paths, reading
from convsmith.system.archives import SUFFIXES
from convsmith.training.metrics import SplitMetrics

# The plots of a run that a project includes. Runs of version 0.1.0 have one file `curves`, and PNG files.
PLOTS = (
    "examples", "augmented", "architecture", "loss", "log_loss", "accuracy", "learning_rate", "curves",
    "predictions", "class_accuracy", "confusion", "misclassified", "explanation", "receptive_field", "energy",
)  # fmt: skip
_PLOT_FILES = {name: tuple(f"plots/{name}.{suffix}" for suffix in ("svg", "png")) for name in PLOTS}
_COLUMNS = {"cifar10": ("img", "label"), "mnist": ("image", "label"), "fashion-mnist": ("image", "label")}
_DATA_HELP = {
    "hub": "a data set on the Hugging Face hub, or a folder with its parquet files",
    "parquet": "a folder of parquet files",
    "images": "the folder of the images",
    "archive": "the archive of the images, or the folder that it was unpacked to",
    "arrays": "a .npz file with the images and labels of each split",
    "digits": "",
}
# The log is of another program than the project's own.
LOG_ORIGIN = (
    "The log of the run that this project was made from, written by convsmith, which trained the weights. "
    "`python main.py train` writes a log of its own."
)
EXTERNAL_LOG_ORIGIN = (
    "The log of the evaluation that this project was made from, written by convsmith. The weights were "
    "trained elsewhere."
)
_PACKAGES = ("albumentations", "matplotlib", "numpy", "safetensors", "torch", "tqdm")


def project_files(model: RunModel, net: NetCode, notebook_name: str) -> dict[str, bytes]:
    """Return the files of a project by their paths.

    Args:
        model: A finished run.
        net: The code of its net, from `net_code`.
        notebook_name: Of the notebook, which has no outputs yet.

    Raises:
        RunError: The run is damaged or not finished, or its data set has changed.
        DataError: Its data set does not exist any more.
    """
    folder, recipe, data = model.folder, model.recipe, model.data
    check_data(data, load(recipe.data))
    storage = storage_of(recipe.data)
    values = template_context(recipe, net, data, storage)
    values |= {
        "data_help": data_help(storage),
        "notebook_name": notebook_name,
        "log_origin": LOG_ORIGIN if values["trains"] else EXTERNAL_LOG_ORIGIN,
    }
    texts = python_files(values, net)
    texts["model/__init__.py"] = ""
    texts |= data_files(recipe.data, values, data.class_names)
    plots = _plots(folder.path)
    summary = _summary(model, plots)
    texts[values["log_path"]] = f"{values['log_origin']}\n\n{summary.log}"
    if values["trains"]:
        texts["logs/metrics.csv"] = reading.read_text(folder.path / METRICS)
    environment = folder.read(Environment)
    texts["requirements.txt"] = requirements(storage.kind, values, environment, net.packages)
    texts[".gitignore"] = "__pycache__/\n.ipynb_checkpoints/\nagain/\n"
    texts[notebook_name] = notebook(values, summary)
    texts["README.md"] = readme(values, summary)
    copies = {name: folder.path / name for name in plots.values()}
    copies[values["weights_path"]] = folder.path / "model.safetensors"
    if values["start"]:
        copies[START] = first_weights(model)
    return {
        **array_files(recipe.data, storage.kind),
        # Names of files may be no text.
        **{name: text.encode(errors="surrogateescape") for name, text in texts.items()},
        **net.files,
        **{name: reading.read_bytes(path) for name, path in copies.items()},
    }


def first_weights(model: RunModel) -> Path:
    """Return the file of the weights that a training began with.

    Raises:
        RunError: It is missing or damaged; or the layers that it kept are standardised in a new training.
    """
    model.folder.verify(FIRST_WEIGHTS)
    path = model.folder.path / FIRST_WEIGHTS
    if not paths.is_file(path):
        raise RunError(
            "the weights that the training began with are missing",
            where=str(path),
            fix="restore the file from a copy, or train again",
        )
    return path


def net_code(model: RunModel, folder: str = FOLDER) -> NetCode:
    """Return the code of the net of a finished run, for a folder of the project.

    Raises:
        RunError: The run is damaged or not finished, or a file of its net has a name that the project uses.
    """
    _check_complete(model)
    train = model.recipe.train
    if train.freeze is not None and train.weight_standardization:
        raise RunError(
            "an ejected project standardises the weights of all layers, frozen ones too",
            where=model.place,
            fix="train without train.freeze or without train.weight_standardization, and eject that run",
        )
    architecture = model.architecture
    if isinstance(architecture, ModuleArchitecture):
        sources, root = model.code()
        net = module_code(architecture, model.analysis, sources, root, folder)
        net.check_names(str(root))
        return net
    notes = usage_notes(model.data.mean, model.data.std, model.labels)
    return notation_code(model.analysis, model.plan, notes, folder)


def _plots(run: Path) -> dict[str, str]:
    """Return the first file of each picture that a run has, by name."""
    found = {
        name: [each for each in of_name if paths.is_file(run / each)] for name, of_name in _PLOT_FILES.items()
    }
    return {name: of_name[0] for name, of_name in found.items() if of_name}


def data_files(config: DataConfig, values: dict[str, Any], names: Sequence[str]) -> dict[str, str]:
    """Return the files beside utils.py that say which images the splits have."""
    folder, texts = values["utils_folder"], {}
    if values["classes_in_file"]:
        texts[f"{folder}classes.json"] = files.json_text(names)
    if values["split_in_file"]:
        texts[f"{folder}split.json"] = json.dumps(held_out_positions(config)) + "\n"
    if values["kind"] == "images":
        table = io.StringIO(newline="")
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(["split", "class", "file"])
        for split, listed in split_files(config).items():
            writer.writerows((split, names[label], file) for file, label in listed)
        texts[f"{folder}files.csv"] = table.getvalue()
    return texts


def data_help(storage: Storage) -> str:
    """Return what `--data` of a project names."""
    return _DATA_HELP["archive" if storage.archive else storage.kind]


def storage_of(config: DataConfig) -> Storage:
    """Describe how the data set of a run is stored, and its default location in a project.

    Raises:
        DataError: It does not exist any more.
    """
    source = find_source(config)
    kind = project_kind(source)
    if kind == "digits":
        return Storage(kind="digits")
    if source.kind == "archive" and kind == "images":
        suffix = next(each for each in SUFFIXES if source.location.lower().endswith(each))
        return Storage(kind="images", default=f"data{suffix}", archive=True)
    if kind == "images":
        return Storage(kind="images", default="data")
    if kind == "arrays":
        return Storage(kind="arrays", default=ARRAYS)
    if config.merge_spellings:
        raise DataError(
            "an ejected project cannot merge the spellings of classes in tables of images",
            where=source.location,
            fix="give each class one name in the table, train without data.merge_spellings, and eject that",
        )
    if source.kind == "parquet":
        inside = source_files(source)
        chosen = choose_files(
            parquet_files(inside),
            config.splits,
            source.location,
            own_validation=config.own_validation,
        ).files
        return Storage(
            kind="parquet",
            # Data sets with a name are available everywhere; a folder is local to this machine.
            default=HUB_NAMES.get(config.source, "data"),
            columns=table_columns(inside, source, config),
            train_files=tuple(chosen["train"]),
            test_files=tuple(chosen.get("test", ())),
            validation_files=tuple(chosen.get("validation", ())),
        )
    columns = _COLUMNS.get(config.source)
    if columns is None and config.image_column and config.label_column:
        columns = config.image_column, config.label_column
    places = {name: split.locations[0] for name, split in read_source(source, config).splits.items()}
    names = {name: place.rpartition(", row ")[0] for name, place in places.items()}
    return Storage(
        kind="hub",
        default=source.location,
        columns=columns,
        train_name=names["train"],
        test_name=names.get("test", "test"),
        validation_name=names.get("validation", "validation"),
    )


def requirements(
    kind: str, values: dict[str, Any], environment: Environment, packages: Mapping[str, str]
) -> str:
    """Return the imported packages, at the versions that the run was trained with.

    Args:
        kind: How the data set is stored.
        values: The template context.
        environment: Of the run.
        packages: What the net imports, with the versions that are installed.
    """
    names = {*_PACKAGES, *packages} - (set() if values["trains"] else {"tqdm"} - set(packages))
    names |= {"datasets"} if kind in {"hub", "parquet"} else set()
    names |= {"pyarrow"} if kind == "parquet" else set()
    names |= {"pillow"} if values["image_names"] or values["resize"] or values["uses_pil"] else set()
    names |= {"scikit-learn"} if kind == "digits" or values["ordered"] else set()
    lines = [
        f"{name}=={(environment.packages.get(name) or version(name)).split('+')[0]}" for name in sorted(names)
    ]
    return "\n".join(["# Python 3.11 or newer; for the notebook also: pip install notebook", *lines, ""])


def _check_complete(model: RunModel) -> None:
    """Raise RunError for a run that is not finished or is a fold, or whose files are damaged."""
    if model.data.fold is not None:
        raise RunError(
            f"the run holds out fold {model.data.fold} of its training set, which a project does not",
            where=model.place,
            fix="train the recipe without data.fold (data.fold=false), and take that run",
        )
    if not model.folder.is_finished:
        raise RunError(
            "the run is not finished",
            where=model.place,
            fix=f"`convsmith resume {model.place}` continues it, `convsmith evaluate {model.place}` "
            "evaluates it as it is",
        )
    model.folder.verify(
        "predictions.npz", "results.json", *(each for of_name in _PLOT_FILES.values() for each in of_name)
    )


def _summary(model: RunModel, plots: dict[str, str]) -> RunSummary:
    folder, data = model.folder, model.data
    test = predictions.read(folder.predictions)
    metrics = compute_metrics(
        test,
        data.class_names,
        model.confidence,
        config=model.recipe.train,
        train_counts=data.splits["train"].per_class,
    )
    return RunSummary(
        recipe=model.recipe,
        analysis=model.analysis,
        plan=model.analysis.plan if isinstance(model.analysis, SpecAnalysis) else None,
        data=data,
        metrics=metrics,
        train=folder.read(Results).train,
        test=SplitMetrics(loss=metrics.loss, correct=metrics.correct, total=metrics.total),
        checks=model.judge(),
        epochs=folder.metrics(),
        log=plain_log(folder.read_log()),
        environment=folder.read(Environment),
        plots=plots,
        weights=folder.find(WeightsRecord),
        start=model.start,
    )
