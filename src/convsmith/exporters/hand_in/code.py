"""`utils.py` and `main.py` of a hand-in: what the steps share once, what differs for each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from convsmith.exporters.project.code import NO_UPDATES, Storage, environment, module_texts, template_context
from convsmith.exporters.project.merge import merged
from convsmith.exporters.project.net_code import NetCode
from convsmith.exporters.project.variants import Merged, Version, merge_versions
from convsmith.recipes.schema import Recipe
from convsmith.runs.schema import DataRecord

# The functions that main.py calls for a step, with their names in utils.py.
_OF_STEP = {"transform": "train_transform", "train_epoch": "train", "predict": "predict"}


@dataclass(frozen=True, kw_only=True)
class Code:
    """The Python files that all steps share.

    Attributes:
        files: By name, without model.py.
        values: The template context of each step.
    """

    files: Mapping[str, str]
    values: Sequence[dict[str, Any]]


def shared_code(
    recipes: Sequence[Recipe], nets: Sequence[NetCode], data: DataRecord, storage: Storage, data_help: str
) -> Code:
    """Return the code of trainings and tests.

    Args:
        recipes: Those of the steps.
        nets: The code of their nets in model.py.
        data: The data set of all.
        storage: How the data set is stored.
        data_help: The meaning of the option `--data`.
    """
    values = [template_context(recipe, net, data, storage) for recipe, net in zip(recipes, nets, strict=True)]
    helpers = "project_utils" if any(each["helpers"] == "project_utils" for each in values) else "utils"
    # One format for all: each net computes with its channels first.
    memory = next((each["memory_format"] for each in values if each["channels_first"]), "torch.channels_last")
    for each in values:
        each |= {
            "helpers": helpers,
            "utils_folder": "",
            "data_help": data_help,
            "alternate": any(value["alternate"] for value in values),
            "workers": max(value["workers"] for value in values),
            "channels_first": any(net.channels_first for net in nets),
            "memory_format": memory,
            "calls": _CALLS,
        }
    texts = [_utils(each) for each in values]
    docstring = "Data, augmentation, training, test and plots."
    utils = merge_versions([Version(text) for text in texts], docstring, own={helpers}, first=NO_UPDATES)
    main = _main(values, utils, nets)
    return Code(files={f"{helpers}.py": utils.text, "main.py": main}, values=values)


_CALLS = {
    "own": "utils.",
    "transform": "step.transform()",
    "optimizer": "step.make_optimizer",
    "optimizers": "step.make_optimizer",
    "schedule": "step.make_schedule",
    "train": "step.train_epoch",
    "predict": "step.predict",
    "parameters": ", step: Step",
    "step": ", step",
    "start": 'HERE / f"weights/{args.name}_start.safetensors"',
    "folders": '"weights", "logs", f"plots/{args.name}"',
    "log": 'f"logs/{args.name}.log"',
    "metrics": 'f"logs/{args.name}.csv"',
    "weights": 'f"weights/{args.name}.safetensors"',
    "plots": 'f"plots/{args.name}"',
}


def _utils(values: dict[str, Any]) -> str:
    texts = module_texts(values)
    steps = environment().get_template("hand_in/steps.py.j2").render(values)
    names = ("utils", "images", "optim", "weights")
    modules = [*(texts[name] for name in names if name in texts), steps]
    return merged(modules, own={f"{values['helpers']}.images"})


def _main(values: Sequence[dict[str, Any]], utils: Merged, nets: Sequence[NetCode]) -> str:
    template = environment().get_template("hand_in/main.py.j2")
    versions = []
    for value, net, names in zip(values, nets, utils.names, strict=True):
        text = template.render({**value, "new_net": "step.make_model()", "net_call": net.call})
        versions.append(Version(text, modules={"utils": names}))
    count = len(values)
    docstring = (
        f"Train {'the model' if count == 1 else 'the models of the steps'}, or test the trained weights.\n\n"
        f"`python main.py test` or `python main.py train --model {count} --out again`\n"
    )
    helpers = values[0]["helpers"]
    local = f"import {helpers}{'' if helpers == 'utils' else ' as utils'}\n" + _models(count)
    main = merge_versions(versions, docstring, local=local)
    steps = [
        _step(number, value, main.names[number - 1], utils.names[number - 1])
        for number, value in enumerate(values, start=1)
    ]
    table = "STEPS = {\n" + "".join(steps) + "}\n"
    return f'{main.text}\n\n{table}\nif __name__ == "__main__":\n    main()\n'


def _models(count: int) -> str:
    names = [f"Model_{number}" for number in range(1, count + 1)]
    line = f"from model import {', '.join(names)}"
    if len(line) <= 88:
        return line
    return "from model import (\n" + "".join(f"    {name},\n" for name in names) + ")"


def _step(number: int, values: dict[str, Any], main: Mapping[str, str], utils: Mapping[str, str]) -> str:
    """Return the entry of a step in the table of main.py."""
    optimizer = "make_optimizers" if values["muon"] else "make_optimizer"
    has_schedule = values["schedule"].name != "constant"
    fields = {
        "make_model": main["make_net"] if values["probabilities"] else f"Model_{number}",
        "train": main["train"],
        **{field: f"utils.{utils[name]}" for field, name in _OF_STEP.items()},
        "make_optimizer": f"utils.{utils[optimizer]}",
        "make_schedule": f"utils.{utils['make_schedule']}" if has_schedule else "None",
        "epochs": values["epochs"],
        "batch_size": values["batch_size"],
        "seed": values["seed"],
    }
    lines = "".join(f"        {name}={value},\n" for name, value in fields.items())
    return f"    {number}: Step(\n{lines}    ),\n"
