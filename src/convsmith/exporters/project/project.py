"""A finished run written out as a plain project: code, weights, log, plots, notebook and README."""

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from convsmith.briefs.checks import Check
from convsmith.data.config import DataConfig
from convsmith.data.folders import split_folders
from convsmith.data.parquet import table_columns
from convsmith.data.sources import HUB_NAMES, find_source
from convsmith.errors import FileError, RunError
from convsmith.evaluation import predictions
from convsmith.evaluation.metrics import Metrics, compute_metrics
from convsmith.evaluation.schema import Results
from convsmith.exporters.code import notes_of
from convsmith.exporters.project.code import Storage, context, plain_log, python_files
from convsmith.exporters.project.notebook import notebook
from convsmith.exporters.project.readme import Shown, readme
from convsmith.models.resolve import Target
from convsmith.models.resolve import find as find_target
from convsmith.runs.folder import RunFolder
from convsmith.runs.schema import METRICS, DataRecord, Environment
from convsmith.system import files, reading
from convsmith.training.metrics import SplitMetrics

# The pictures of a run that a project shows, in the order of its README.
PICTURES = (
    "examples", "augmented", "architecture", "curves", "predictions", "class_accuracy", "confusion",
    "misclassified", "explanation", "receptive_field",
)  # fmt: skip
_COLUMNS = {"cifar10": ("img", "label"), "mnist": ("image", "label"), "fashion-mnist": ("image", "label")}
_DATA_HELP = {
    "hub": "a data set on the Hugging Face hub, or a folder with its parquet files",
    "parquet": "a folder of parquet files, or a data set on the hub",
    "images": "a folder of images",
    "digits": "",
}
_PACKAGES = ("albumentations", "matplotlib", "numpy", "safetensors", "torch", "tqdm")


@dataclass(frozen=True, kw_only=True)
class _Run:
    folder: RunFolder
    target: Target
    data: DataRecord
    facts: Metrics
    train: SplitMetrics

    @property
    def checks(self) -> tuple[Check, ...]:
        return self.target.judge()


def eject(run: Path, folder: Path) -> tuple[Path, ...]:
    """Write a project; the verb of the same name tells the rest."""
    _check_place(run, folder)
    contents = project(run)
    files.write_files({folder / name: content for name, content in contents.items()})
    return tuple(folder / name for name in contents)


def project(run: Path) -> dict[str, bytes]:
    """The files of a project by their paths in it.

    Raises:
        RunError: The run is missing, damaged or not finished.
        DataError: Its data set is not where it was.
    """
    found = _opened(run)
    recipe = found.target.recipe
    assert recipe is not None, "a run has one"
    storage = storage_of(recipe.data)
    values = context(recipe, found.target.plan, found.data, storage)
    values["data_help"] = _DATA_HELP[storage.kind]
    written = python_files(
        values, found.target.plan, notes_of(found.data.class_names, found.data.mean, found.data.std)
    )
    written["model/__init__.py"] = ""
    if values["classes_in_file"]:
        written["utils/classes.json"] = files.json_text(found.data.class_names)
    plots = [name for name in PICTURES if (found.folder.path / "plots" / f"{name}.png").is_file()]
    shown = _shown(found, plots)
    written["logs/train.log"] = shown.log
    written["logs/metrics.csv"] = reading.read_text(found.folder.path / METRICS)
    written["requirements.txt"] = requirements(storage.kind, values, found.folder.read(Environment))
    written[".gitignore"] = "__pycache__/\n.ipynb_checkpoints/\nagain/\n"
    written[f"{recipe.name}.ipynb"] = notebook(values, shown)
    written["README.md"] = readme(values, shown)
    pictures = {f"plots/{name}.png": found.folder.path / "plots" / f"{name}.png" for name in plots}
    pictures["model/model.safetensors"] = found.folder.path / "model.safetensors"
    return {
        **{name: text.encode() for name, text in written.items()},
        **{name: reading.read_bytes(path) for name, path in pictures.items()},
    }


def storage_of(config: DataConfig) -> Storage:
    """How the data set of a run is kept, and where a project finds it.

    Raises:
        DataError: It is not where it was.
    """
    source = find_source(config)
    # What has a name is found by everyone; a folder is this machine's.
    default = HUB_NAMES.get(config.source, "data")
    test = "test" if config.source in HUB_NAMES else ""
    if source.kind == "digits":
        return Storage(kind="digits")
    if source.kind == "images":
        split_names = split_folders(Path(source.location))
        return Storage(
            kind="images",
            default="data",
            train_folder=split_names["train"],
            test_folder=split_names.get("test", ""),
        )
    if source.kind == "parquet":
        image, label, is_marked = table_columns(source, config)
        return Storage(
            kind="parquet", default=default, columns=(image, label), is_marked=is_marked, test_name=test
        )
    asked = (config.image_column, config.label_column)
    columns = _COLUMNS.get(config.source) or ((asked[0], asked[1]) if asked[0] and asked[1] else None)
    return Storage(kind="hub", default=source.location, columns=columns, test_name=test)


def requirements(kind: str, values: dict[str, Any], environment: Environment) -> str:
    """The packages that the code imports, at the versions that the run was trained with."""
    names = set(_PACKAGES)
    names |= {"datasets"} if kind in {"hub", "parquet"} else set()
    names |= {"pillow"} if kind == "images" or values["resize"] else set()
    names |= {"scikit-learn"} if kind == "digits" or values["ordered"] else set()
    trained = environment.packages
    lines = [f"{name}=={(trained.get(name) or version(name)).split('+')[0]}" for name in sorted(names)]
    return "\n".join(["# Python 3.11 or newer; for the notebook also: pip install notebook", *lines, ""])


def _opened(run: Path) -> _Run:
    folder = RunFolder.open(run)
    if not folder.is_finished:
        raise RunError(
            "the run is not finished",
            where=str(run),
            fix=f"`convsmith resume {run}` goes on with it, `convsmith evaluate {run}` takes it as it is",
        )
    folder.verify("predictions.npz", "results.json", *(f"plots/{name}.png" for name in PICTURES))
    target = find_target(str(run))
    data = folder.read(DataRecord)
    found = predictions.read(folder.predictions)
    return _Run(
        folder=folder,
        target=target,
        data=data,
        facts=compute_metrics(found, data.class_names),
        train=folder.read(Results).train,
    )


def _shown(found: _Run, plots: list[str]) -> Shown:
    recipe = found.target.recipe
    assert recipe is not None, "a run has one"
    folder = found.folder
    return Shown(
        recipe=recipe,
        analysis=found.target.analysis,
        plan=found.target.plan,
        data=found.data,
        facts=found.facts,
        train=found.train,
        test=SplitMetrics(loss=found.facts.loss, correct=found.facts.correct, total=found.facts.total),
        checks=found.checks,
        metrics=folder.metrics(),
        log=plain_log(folder.read_log()),
        environment=folder.read(Environment),
        plots=tuple(plots),
    )


def _check_place(run: Path, folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise FileError("this is a file, expected a folder", where=str(folder), fix="name a new folder")
    if folder.is_dir() and any(folder.iterdir()):
        raise FileError("the folder is not empty", where=str(folder), fix="name a new or an empty folder")
    if run.resolve() in [folder.resolve(), *folder.resolve().parents]:
        raise FileError("the folder lies inside the run", where=str(folder), fix="name one outside of it")
