"""The files of a hand-in."""

from convsmith.data.dataset import load
from convsmith.exporters.hand_in.code import shared_code
from convsmith.exporters.hand_in.nets import Nets
from convsmith.exporters.hand_in.pages import notebook, readme
from convsmith.exporters.hand_in.pictures import pictures
from convsmith.exporters.hand_in.steps import HandInPage, Step
from convsmith.exporters.project.code import plain_log
from convsmith.exporters.project.image_arrays import array_files
from convsmith.exporters.project.project import (
    LOG_ORIGIN,
    data_files,
    data_help,
    first_weights,
    requirements,
    storage_of,
)
from convsmith.exporters.project.verification import TrainedNet
from convsmith.runs.folder import WEIGHTS
from convsmith.runs.schema import METRICS, Environment
from convsmith.runs.session import check_data
from convsmith.system import reading


def weights_path(step: Step) -> str:
    return f"weights/{step.slug}.safetensors"


def code_files(steps: tuple[Step, ...], nets: Nets) -> dict[str, bytes]:
    """Return the nets and their weights, which a brief judges."""
    return {
        "model.py": nets.text.encode(errors="surrogateescape"),
        **nets.files,
        **{weights_path(step): reading.read_bytes(step.model.folder.path / WEIGHTS) for step in steps},
        **{
            f"weights/{step.slug}_start.safetensors": reading.read_bytes(first_weights(step.model))
            for step in steps
            if step.model.start
        },
    }


def other_files(page: HandInPage, nets: Nets, notebook_name: str) -> dict[str, bytes]:
    """Return the other files: code, logs, pictures, README, and the notebook without outputs.

    Raises:
        RunError: The data set of a run has changed.
        DataError: It does not exist any more.
    """
    models = [step.model for step in page.steps]
    first = models[0]
    check_data(first.data, load(first.recipe.data))
    storage = storage_of(first.recipe.data)
    recipes = [model.recipe for model in models]
    code = shared_code(recipes, nets.codes, first.data, storage, data_help(storage))
    for each in code.values:
        each["notebook_name"] = notebook_name
    values = code.values[0]
    texts = {**code.files, **data_files(first.recipe.data, values, first.data.class_names)}
    for step in page.steps:
        folder = step.model.folder
        texts[f"logs/{step.slug}.log"] = f"{LOG_ORIGIN}\n\n{plain_log(folder.read_log())}"
        texts[f"logs/{step.slug}.csv"] = reading.read_text(folder.path / METRICS)
    packages = {name: number for net in nets.codes for name, number in net.packages.items()}
    environment = first.folder.read(Environment)
    texts["requirements.txt"] = requirements(storage.kind, values, environment, packages)
    texts[".gitignore"] = "__pycache__/\n.ipynb_checkpoints/\nagain/\n"
    contents = pictures(page.steps)
    texts["README.md"] = readme(page, nets, code.values, contents)
    texts[notebook_name] = notebook(page, nets, code.values, contents)
    return {
        **array_files(first.recipe.data, storage.kind),
        **{name: text.encode(errors="surrogateescape") for name, text in texts.items()},
        **contents,
    }


def trained_nets(steps: tuple[Step, ...], nets: Nets) -> tuple[TrainedNet, ...]:
    """Return the nets of the runs, with those of model.py that have to compute the same."""
    return tuple(
        TrainedNet(code, step.model.net(), weights_path(step), step.model.place)
        for step, code in zip(steps, nets.codes, strict=True)
    )
