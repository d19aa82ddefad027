"""The zoo: every model reproduces its accuracy."""

from pathlib import Path

import pytest

import convsmith as cs
from convsmith.cli import run as command
from convsmith.data.dataset import load as load_data
from convsmith.errors import BundleError, ConvsmithError
from convsmith.models import bundle
from convsmith.models.teacher import with_absolute_paths
from convsmith.models.zoo import zoo_folder, zoo_name, zoo_names


def test_a_zoo_model_passes_the_brief_of_the_course(capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["check", str(zoo_folder("cifar10-sprint")), "--brief", "course-cifar10-relaxed"]) == 0
    measured = bundle.read(zoo_folder("cifar10-sprint")).metadata.measured
    assert f"{measured.accuracy:.2%} (required: at least 85.00%)" in capsys.readouterr().out
    assert command(["check", str(zoo_folder("cifar10-sprint")), "brief.min_accuracy=0.9"]) == 1


def test_zoo_models_are_small_and_have_a_recipe() -> None:
    assert set(zoo_names()) <= {recipe.name for recipe in cs.list_recipes()}
    for name in zoo_names():
        folder = zoo_folder(name)
        assert sum(path.stat().st_size for path in folder.iterdir()) < 1_000_000
        metadata = bundle.read(folder).metadata
        recipe = cs.load_recipe(name)
        assert (metadata.name, metadata.spec.model_dump()["net"]) == (name, recipe.notation.net)
        assert f"convsmith train {name} seed={metadata.origin.seed}" in (folder / "README.md").read_text()
    with pytest.raises(ConvsmithError, match="no trained net"):
        zoo_folder("resnet")


def test_best_is_the_most_accurate_model_of_a_data_set() -> None:
    measured = {name: bundle.read(zoo_folder(name)).metadata for name in zoo_names()}
    for data in {metadata.origin.data.source for metadata in measured.values()}:
        accuracies = {
            name: metadata.measured.correct / metadata.measured.total
            for name, metadata in measured.items()
            if metadata.origin.data.source == data
        }
        best = zoo_name(f"{data}-best")
        assert best is not None
        assert accuracies[best] == max(accuracies.values())
        assert zoo_folder(f"{data}-best") == zoo_folder(best)
    assert (zoo_name("best"), zoo_name("resnet-best")) == (None, None)
    assert cs.load("digits-best").labels == cs.load("digits").labels
    settled = with_absolute_paths(cs.load_recipe("digits", "train.teacher=digits-best"))
    assert settled.train.teacher == "digits"
    with pytest.raises(BundleError, match="did you mean 'cifar10-best'"):
        cs.load("cifar-best")


def stated_accuracy_holds(name: str) -> None:
    metadata = bundle.read(zoo_folder(name)).metadata
    test = load_data(metadata.origin.data).test
    predicted = cs.load(name).logits(test.images).argmax(1)
    right = predicted == test.labels
    assert len(test) == metadata.measured.total
    # Other processors sum in another order, which may swap two nearly equal classes.
    assert abs(int(right.sum()) - metadata.measured.correct) <= 3
    for label, counts in enumerate(metadata.measured.classes):
        assert abs(int(right[test.labels == label].sum()) - counts.correct) <= 3


def test_the_accuracy_of_digits_is_reproduced() -> None:
    stated_accuracy_holds("digits")


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.parametrize("name", [name for name in zoo_names() if name != "digits"])
def test_the_accuracy_of_a_zoo_model_is_reproduced(name: str, real_data: Path) -> None:
    stated_accuracy_holds(name)
