"""Fine-tuning from runs, bundles, the zoo and files: what is loaded, recorded, resumed and refused."""

import hashlib
import json
import os
import shutil
import signal
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from torch import nn

import convsmith as cs
from convsmith.errors import (
    BundleError,
    ConvsmithError,
    FileError,
    ModuleError,
    RecipeError,
    RunError,
    StoppedError,
)
from convsmith.models.net_subjects import subject_of_name
from convsmith.models.start import read_start, with_start
from convsmith.modules.access import NO_CODE
from convsmith.modules.architecture import architecture_of
from convsmith.modules.config import ModuleConfig
from convsmith.recipes.fit import parts_of_net, with_frozen
from convsmith.recipes.loader import load
from convsmith.recipes.schema import Recipe
from convsmith.recipes.session import Session
from convsmith.runs.folder import RunFolder
from convsmith.training.callbacks import Callback
from convsmith.training.config import TrainConfig
from convsmith.training.freezing import net_parts
from convsmith.training.metrics import BatchMetrics
from helpers.transformer import Transformer

TINY = ["model.net=C4 / C8:s2 / G F10", "train.epochs=2", "augment.transforms=[]"]


def recipe(*overrides: str, name: str = "tuned") -> Recipe:
    return load("digits", [*TINY, f"name={name}", *overrides])


def started(*overrides: str) -> Session:
    found = with_start(Session.load(recipe(*overrides)))
    assert found is not None
    return found.session


def notes_of(*overrides: str) -> str:
    found = with_start(Session.load(recipe(*overrides)))
    assert found is not None
    return "\n".join(found.record.notes)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    return cs.train(recipe("train.ema=0.9", name="base"), runs=tmp_path_factory.mktemp("bases")).folder


@pytest.fixture(scope="module")
def bundle(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "exported"
    cs.export_bundle(base, folder)
    return folder


@pytest.fixture(scope="module")
def tuned(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that began with the weights of another one, with its body frozen."""
    overrides = (f"train.start_from={base}", "train.freeze=body", "train.head=new")
    return cs.train(recipe(*overrides), runs=tmp_path_factory.mktemp("tuned")).folder


def weights_of(run: Path, file: str = "model.safetensors") -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(run / file)


def test_the_net_begins_with_the_averaged_weights_of_a_run(base: Path) -> None:
    net = started(f"train.start_from={base}").build_net().state_dict()
    for name, tensor in weights_of(base).items():
        assert torch.equal(net[name], tensor), name


def test_a_bundle_gives_its_weights_in_single_precision(base: Path, bundle: Path) -> None:
    net = started(f"train.start_from={bundle}").build_net().state_dict()
    for name, tensor in weights_of(base).items():
        assert torch.equal(net[name], tensor.half().float() if tensor.is_floating_point() else tensor), name


def test_a_file_gives_a_new_head_unless_it_is_kept(base: Path, tmp_path: Path) -> None:
    torch.save(
        {"model": {f"module.{name}": each for name, each in weights_of(base).items()}}, tmp_path / "a.pth"
    )
    plain = Session.load(recipe()).build_net().state_dict()
    new = started(f"train.start_from={tmp_path / 'a.pth'}").build_net().state_dict()
    kept = started(f"train.start_from={tmp_path / 'a.pth'}", "train.head=start").build_net().state_dict()
    head, body, source = "block3.linear1.weight", "block1.conv1.weight", weights_of(base)
    assert torch.equal(new[head], plain[head])
    assert torch.equal(kept[head], source[head])
    assert torch.equal(new[body], source[body])
    text = notes_of(f"train.start_from={tmp_path / 'a.pth'}")
    assert "the images that the start was trained on are not known" in text


def test_a_frozen_body_is_that_of_the_start_and_the_run_says_where_it_came_from(
    base: Path, tuned: Path
) -> None:
    source, first, last = weights_of(base), weights_of(tuned, "start.safetensors"), weights_of(tuned)
    for name in source:
        is_head = name.startswith("block3.")
        assert torch.equal(source[name], first[name]) is not is_head, name
        assert torch.equal(first[name], last[name]) is not is_head, name
    record = json.loads((tuned / "start.json").read_text())
    assert record["place"] == str(base.resolve())
    results = json.loads((base / "results.json").read_text())["test"]
    assert record["test_accuracy"] == results["correct"] / results["total"]
    assert record["sha256"] == _sha256(base / "model.safetensors")
    log, page = (tuned / "log.txt").read_text(), (tuned / "README.md").read_text()
    for text in (log, page):
        assert "the training began with the weights of the run base-1" in text
        assert "all layers but the head are frozen, with their running statistics" in text
    assert "| block3.linear1 | new: train.head is " in log
    assert "Trainable params: 90" in (tuned / "summary.txt").read_text()


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_training_the_recipe_of_a_run_again_gives_the_same_weights(tuned: Path, tmp_path: Path) -> None:
    again = cs.train(cs.load_recipe(str(tuned / "recipe.toml")), runs=tmp_path).folder
    assert _sha256(again / "model.safetensors") == _sha256(tuned / "model.safetensors")


def test_images_are_normalised_as_for_the_start_unless_the_recipe_names_other_numbers(base: Path) -> None:
    overrides = (f"train.start_from={base}", "data.split_seed=5")
    session, source = started(*overrides), json.loads((base / "data.json").read_text())
    assert session.data.mean == session.recipe.data.mean == tuple(source["mean"])
    assert Session.load(recipe("data.split_seed=5")).data.mean != session.data.mean
    named = started(*overrides, "data.mean=[0.5]", "data.std=[0.25]")
    assert (named.data.mean, named.data.std) == ((0.5,), (0.25,))
    one = started(*overrides, "data.std=[0.25]")
    assert (one.data.mean, one.data.std) == (tuple(source["mean"]), (0.25,))


class Stop(Callback):
    """Stops a training within its second epoch, as Ctrl-C does."""

    def __init__(self) -> None:
        self.count = 0

    def on_batch_end(self, batch: BatchMetrics) -> None:
        self.count += 1
        if self.count == 25:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.usefixtures("usual_signals")
def test_resuming_needs_no_start_and_gives_the_same_weights(base: Path, tmp_path: Path) -> None:
    start = tmp_path / "start"
    shutil.copytree(base, start)
    tune = recipe(
        f"train.start_from={start}", "train.freeze=body", "train.freeze_epochs=1", "train.layer_decay=0.5"
    )
    whole = cs.train(tune, runs=tmp_path / "whole").folder
    with pytest.raises(StoppedError):
        cs.train(tune, runs=tmp_path / "stopped", callbacks=[Stop()])
    shutil.rmtree(start)
    resumed = cs.resume(tmp_path / "stopped" / "tuned-1").folder
    assert _sha256(resumed / "model.safetensors") == _sha256(whole / "model.safetensors")
    assert "its weights are in the checkpoint" in (resumed / "log.txt").read_text()


@pytest.mark.usefixtures("usual_signals")
def test_another_start_in_the_recipe_of_a_stopped_run_is_a_change(base: Path, tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        cs.train(recipe(f"train.start_from={base}"), runs=tmp_path, callbacks=[Stop()])
    path = tmp_path / "tuned-1" / "recipe.toml"
    path.write_text(path.read_text().replace(str(base.resolve()), "/elsewhere/base-1"))
    with pytest.raises(RunError, match="has changed since the checkpoint") as error:
        cs.resume(tmp_path / "tuned-1")
    assert "train.start_from: was" in error.value.problems[0].context


def write_classes(root: Path, names: tuple[str, ...], mode: str = "L") -> Path:
    """Write images of digits as classes of a folder."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    for number, name in enumerate(names):
        folder = root / name
        folder.mkdir(parents=True)
        for index, pixels in enumerate(digits.images[digits.target == number][:12]):
            image = Image.fromarray((pixels * 15.9375).astype(np.uint8)).convert(mode)
            image.save(folder / f"{index}.png")
    return root


def test_other_classes_get_a_new_head(base: Path, tmp_path: Path) -> None:
    folder = write_classes(tmp_path / "three", ("a", "b", "c"))
    overrides = (f"data.source={folder}", "model.net=C4 / C8:s2 / G F3", f"train.start_from={base}")
    found = with_start(Session.load(recipe(*overrides)))
    assert found is not None
    assert "| block3.linear1 | new: 10 classes there, 3 here |" in found.record.table
    with pytest.raises(RecipeError, match="the head of the start does not fit") as error:
        started(*overrides, "train.head=start")
    assert "10x8 there, 3x8 here" in error.value.problems[0].what


def test_classes_in_another_order_are_named(base: Path, tmp_path: Path) -> None:
    source = tmp_path / "changed"
    shutil.copytree(base, source)
    names = json.loads((source / "data.json").read_text())
    names["class_names"] = names["class_names"][::-1]
    (source / "data.json").write_text(json.dumps(names))
    manifest = json.loads((source / "manifest.json").read_text())
    manifest["data.json"] = {
        "sha256": _sha256(source / "data.json"),
        "bytes": (source / "data.json").stat().st_size,
    }
    (source / "manifest.json").write_text(json.dumps(manifest))
    found = with_start(Session.load(recipe(f"train.start_from={source}")))
    assert found is not None
    assert "new: the same classes in another order: class 0 is 9 there, 0 here" in found.record.table


def test_grey_weights_are_adapted_to_colour_and_the_mean_is_repeated(base: Path, tmp_path: Path) -> None:
    folder = write_classes(tmp_path / "colour", tuple("0123456789"), mode="RGB")
    session = started(f"data.source={folder}", f"train.start_from={base}")
    source = json.loads((base / "data.json").read_text())
    assert session.data.mean == tuple(source["mean"]) * 3
    filters = session.build_net().get_submodule("block1.conv1").weight
    expected = weights_of(base)["block1.conv1.weight"].repeat(1, 3, 1, 1) / 3
    torch.testing.assert_close(filters, expected)


def test_a_start_that_has_seen_the_test_images_is_a_warning(base: Path, bundle: Path) -> None:
    assert "warning" not in notes_of(f"train.start_from={base}")
    assert "warning" not in notes_of(f"train.start_from={bundle}")
    split = "data.split_seed=5"
    assert "test images have the pixels of an image" in notes_of(f"train.start_from={base}", split)
    assert "it may have seen test images" in notes_of(f"train.start_from={bundle}", split)
    held_out = notes_of(f"train.start_from={base}", "data.validation=0.1")
    # All were training images of the start.
    assert "warning: 120 of 120 validation images have the pixels of an image that the start" in held_out


def test_single_test_images_that_a_start_was_trained_on_are_counted(base: Path, tmp_path: Path) -> None:
    """Another data set, which has seven test images of the training of the start."""
    data = Session.load(recipe()).data
    train, test = data.test, data.train.select(np.arange(7))
    fresh = np.random.default_rng(0).integers(256, size=(30, 8, 8, 1), dtype=np.uint8)
    file = tmp_path / "other.npz"
    np.savez(
        file,
        x_train=train.images, y_train=train.labels,
        x_test=np.concatenate([test.images, fresh]), y_test=np.concatenate([test.labels, np.arange(30) % 10]),
    )  # fmt: skip
    notes = notes_of(f"data.source={file}", f"train.start_from={base}")
    assert "warning: 7 of 37 test images have the pixels of an image that the start was trained on" in notes


def test_weights_that_standardization_would_change_are_a_warning(base: Path, tmp_path: Path) -> None:
    standard = "train.weight_standardization=true"
    warning = "warning: weight standardization changes the weights of 2 layers of the start"
    assert warning in notes_of(f"train.start_from={base}", standard)
    # Frozen layers are not standardised.
    assert "weight standardization" not in notes_of(f"train.start_from={base}", standard, "train.freeze=body")
    run = cs.train(recipe("train.epochs=1", standard), runs=tmp_path).folder
    assert "weight standardization" not in notes_of(f"train.start_from={run}", standard)


def test_what_is_not_on_this_machine_is_judged_by_its_split(base: Path, tmp_path: Path) -> None:
    """A run that was moved here without its images."""
    moved = tmp_path / "moved"
    shutil.copytree(base, moved)
    text = (moved / "recipe.toml").read_text().replace('source = "digits"', 'source = "/nowhere/digits"')
    (moved / "recipe.toml").write_text(text)
    (moved / "manifest.json").unlink()
    RunFolder(path=moved).write_manifest()
    notes = notes_of(f"train.start_from={moved}", "data.split_seed=5")
    assert "by another split: it has seen test images" in notes


def test_the_start_of_a_start_counts_too(tuned: Path) -> None:
    assert len(read_start(str(tuned)).seen) == 2


@pytest.mark.parametrize(
    ("start", "kind", "message", "fix"),
    [
        ("runs/nope", BundleError, "no such folder or file", "name a finished run, a bundle"),
        ("digit", BundleError, "no trained net is called 'digit'", "did you mean 'digits'"),
        ("C4 / G F10", RecipeError, "this notation has no trained weights", "name a finished run"),
        ("model.py:Net", RecipeError, "this module has no trained weights", "name a finished run"),
    ],
)
def test_names_without_weights(start: str, kind: type[ConvsmithError], message: str, fix: str) -> None:
    with pytest.raises(kind, match=message) as error:
        read_start(start)
    assert fix in error.value.problems[0].fix


def test_a_folder_that_is_no_run_and_an_unfinished_run(base: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match="not a trained run"):
        read_start(str(tmp_path / "empty"))
    unfinished = tmp_path / "unfinished"
    shutil.copytree(base, unfinished)
    (unfinished / "manifest.json").unlink()
    with pytest.raises(RunError, match="not finished") as error:
        read_start(str(unfinished))
    assert "convsmith resume" in error.value.problems[0].fix


def test_damaged_weights_of_a_run(base: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(base, damaged)
    content = bytearray((damaged / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (damaged / "model.safetensors").write_bytes(bytes(content))
    with pytest.raises(RunError, match="damaged"):
        read_start(str(damaged))


class _Program:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch /tmp/start-was-run",)


def test_files_that_are_no_weights(tmp_path: Path) -> None:
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.ones(3))])
    torch.save({"optimizer": optimizer.state_dict()}, tmp_path / "optimizer.pth")
    with pytest.raises(ModuleError, match="no state_dict"):
        read_start(str(tmp_path / "optimizer.pth"))
    torch.save({"net": _Program()}, tmp_path / "program.pth")
    with pytest.raises(FileError, match="it holds a program"):
        read_start(str(tmp_path / "program.pth"))
    assert not Path("/tmp/start-was-run").exists()  # noqa: S108


def test_another_architecture_names_the_net_to_use(base: Path) -> None:
    with pytest.raises(ModuleError, match="weights of another net") as error:
        started(f"train.start_from={base}", "model.net=C6 / C12:s2 / G F10")
    assert error.value.problems[0].fix == "use its net: C4 / C8:s2 / G F10"


def test_nothing_is_left_if_a_start_does_not_fit(base: Path, tmp_path: Path) -> None:
    with pytest.raises(ModuleError):
        cs.train(recipe(f"train.start_from={base}", "model.net=C6 / C12:s2 / G F10"), runs=tmp_path / "runs")
    assert not list((tmp_path / "runs").glob("*"))


def test_whitening_filters_of_the_start_are_kept(tmp_path: Path) -> None:
    whitened = ("model.net=C8:k3:n0 / C8:s2 / G F10", "train.whitening=true", "train.epochs=1")
    run = cs.train(recipe(*whitened), runs=tmp_path).folder
    other = cs.train(recipe(*whitened, f"train.start_from={run}", "data.split_seed=5"), runs=tmp_path).folder
    assert torch.equal(weights_of(run)["block1.conv1.weight"], weights_of(other)["block1.conv1.weight"])


@pytest.mark.parametrize("name", ["cifar10-200k", "digits", "cifar10-classic", "mnist-classic"])
def test_counts_of_frozen_parameters_are_those_of_the_module(name: str) -> None:
    from convsmith.data.dataset import CANONICAL

    made = load(name)
    shape = CANONICAL[made.data.source].info.image_shape
    architecture = architecture_of(made.model)
    net, analysis = architecture.build(shape), architecture.analyze(shape)
    parts = net_parts(net, torch.zeros(2, *shape))
    assert parts_of_net(architecture, analysis) == parts
    for freeze in ("body", 1, ("block1", "*1")):
        train = made.train.model_copy(update={"freeze": freeze})
        expected = frozen_values(net, parts.frozen(train))
        counted = with_frozen(architecture, analysis, train)
        assert counted.parameters - counted.trainable == expected
        assert sum(size for _, size in counted.frozen) == expected


def frozen_values(net: nn.Module, layers: Collection[str]) -> int:
    return sum(each.numel() for path, each in net.named_parameters() if path.rpartition(".")[0] in layers)


@pytest.mark.parametrize("freeze", ["body", 1, 3, "blocks.1"])
def test_blocks_of_a_module_are_of_its_layers_not_of_its_operations(freeze: str | int) -> None:
    """An operation may add a parameter of the net, and an attention projects without a call of a layer."""
    net = Transformer()
    architecture = architecture_of(ModuleConfig(module="Transformer"), net)
    analysis = architecture.analyze((1, 8, 8))
    parts = net_parts(net, torch.zeros(2, 1, 8, 8))
    assert parts_of_net(architecture, analysis) == parts
    train = TrainConfig(epochs=1, freeze=freeze)
    counted = with_frozen(architecture, analysis, train)
    assert counted.parameters - counted.trainable == frozen_values(net, parts.frozen(train))


def test_a_brief_on_trainable_parameters_counts_the_head_alone() -> None:
    frozen = recipe("train.freeze=body", "brief.parameters_count=trainable", "brief.max_parameters=90")
    (check,) = [each for each in cs.check(frozen) if each.title == "trainable parameters"]
    assert check.verdict == "pass"
    assert check.actual.startswith("90 (90 trainable, 348 frozen")


@pytest.mark.parametrize(
    ("field", "value"),
    [("start_from", "digits"), ("freeze", "body"), ("layer_rates", '[{layers="head", factor=2}]')],
)
def test_a_search_refuses_what_names_weights_or_layers(field: str, value: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="a search trains nets of other layers") as error:
        cs.search("course-mnist", recipe(f"train.{field}={value}"), study=tmp_path / "study", trials=1)
    assert f"train.{field}=false" in str(error.value)


def test_the_model_card_and_a_bundle_say_that_the_training_began_elsewhere(
    tuned: Path, tmp_path: Path
) -> None:
    cs.export_bundle(tuned, tmp_path / "bundle")
    card = (tmp_path / "bundle" / "README.md").read_text()
    assert "The training began with the weights of the run base-1" in card
    assert "set `train.start_from` to the weights that it began with" in card
    assert 'start_from = "base-1"' in card


def test_a_check_says_what_would_be_taken_and_refuses_another_net(base: Path) -> None:
    start = f"train.start_from={base}"
    net = subject_of_name("digits", [*TINY, start], access=NO_CODE)
    assert net.remarks == ("begins with the weights of the run base-1: 5 layers (464 values) from the start",)
    with pytest.raises(ModuleError, match="weights of another net"):
        subject_of_name("digits", [*TINY, "model.net=C6 / C12:s2 / G F10", start], access=NO_CODE)
