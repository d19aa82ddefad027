"""Knowledge distillation: the loss, records of the teacher, and invalid teachers."""

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import convsmith as cs
from convsmith.errors import BundleError, RecipeError, RunError, StoppedError
from convsmith.models.teacher import load_teacher
from convsmith.recipes.loader import load
from convsmith.recipes.schema import Recipe
from convsmith.recipes.session import Session
from convsmith.training.callbacks import Callback
from convsmith.training.config import Distillation
from convsmith.training.distillation import Teacher, distillation_loss
from convsmith.training.metrics import BatchMetrics
from convsmith.training.trainer import fit
from helpers.markers import needs_bf16

TINY = ["train.epochs=2", "model.net=C4 C8:s2 / G F10"]


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with a high accuracy."""
    recipe = load("digits", ["train.epochs=10", "name=teacher"])
    return cs.train(recipe, runs=tmp_path_factory.mktemp("teachers")).folder


def student(teacher: Path, *overrides: str) -> Recipe:
    return load("digits", [*TINY, "name=student", f"train.teacher={teacher}", *overrides])


def softened(logits: np.ndarray, temperature: float) -> np.ndarray:
    powers = np.exp(logits / temperature)
    shares: np.ndarray = powers / powers.sum(1, keepdims=True)
    return shares


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_distillation_loss_against_the_paper(temperature: float) -> None:
    random = np.random.default_rng(0)
    own, other = random.normal(size=(2, 7, 5)) * 3
    p, q = softened(other, temperature), softened(own, temperature)
    expected = temperature**2 * (p * (np.log(p) - np.log(q))).sum(1).mean()
    found = distillation_loss(torch.tensor(own), torch.tensor(other), temperature)
    assert found.item() == pytest.approx(expected, rel=1e-9)


def test_distillation_gradient_against_the_paper() -> None:
    """T (softmax(z / T) - softmax(v / T)) / N : equation 2 of the paper, times T**2."""
    random = np.random.default_rng(1)
    own, other = random.normal(size=(2, 4, 6)) * 2
    logits = torch.tensor(own, requires_grad=True)
    (gradient,) = torch.autograd.grad(distillation_loss(logits, torch.tensor(other), 3.0), logits)
    expected = 3.0 * (softened(own, 3.0) - softened(other, 3.0)) / 4
    np.testing.assert_allclose(gradient.numpy(), expected, rtol=1e-9, atol=1e-12)


def test_loss_combines_labels_and_teacher() -> None:
    teacher = Teacher(net=nn.Identity(), config=Distillation(temperature=2.0, alpha=0.3))
    own, other = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    expected = 0.7 * 1.5 + 0.3 * float(distillation_loss(own, other, 2.0))
    assert float(teacher.loss(torch.tensor(1.5), own, other)) == pytest.approx(expected, rel=1e-6)


class Losses(Callback):
    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_batch_end(self, batch: BatchMetrics) -> None:
        self.losses.append(batch.loss)


class Witness(nn.Module):
    """A teacher that records its inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[torch.Tensor] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.shown.append(images.clone())
        assert not torch.is_grad_enabled()
        return images.flatten(1)[:, :10]


@pytest.mark.parametrize("more", [[], ["train.microbatch_size=16"], ["augment.mix=mixup"]], ids=str)
def test_teacher_and_student_see_the_same_images(more: list[str]) -> None:
    """The first loss of the student, recomputed from the inputs of the teacher."""
    recipe = load("digits", [*TINY, "train.epochs=1", "train.precision=fp32", "train.batch_size=64", *more])
    session = Session.load(recipe)
    witness, seen = Witness(), Losses()
    net = session.build_net()
    fresh = session.build_net().train()
    teacher = Teacher(net=witness, config=Distillation(temperature=4.0, alpha=1.0))
    fit(
        net, session.data, recipe.train, recipe.augment, seed=0, teacher=teacher, callbacks=[seen]
    )  # fmt: skip
    parts = sorted(witness.shown[: recipe.train.num_microbatches], key=len)
    assert sum(map(len, parts)) == 64
    with torch.no_grad():
        losses = [float(distillation_loss(fresh(part), part.flatten(1)[:, :10], 4.0)) for part in parts]
    assert seen.losses[0] == pytest.approx(np.mean(losses), rel=1e-4)


def learned(recipe: Recipe, teacher: Teacher) -> float:
    """Return the test accuracy of a student."""
    session = Session.load(recipe)
    net = session.build_net()
    facts = fit(net, session.data, recipe.train, recipe.augment, seed=0, teacher=teacher)[-1]
    assert facts.test is not None
    return facts.test.accuracy


def test_a_student_learns_without_labels(taught: Path) -> None:
    """With alpha = 1; from constant logits it learns nothing."""
    recipe = load("digits", ["train.epochs=5", f"train.teacher={taught}", "train.distillation.alpha=1.0"])
    known = load_teacher(recipe, Session.load(recipe).data)
    assert known is not None
    assert learned(recipe, known.teacher) > 0.9
    silent = Teacher(net=Silent(), config=Distillation(alpha=1.0))
    assert learned(student(taught, "train.epochs=1"), silent) < 0.3


class Silent(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(images), 10)


def test_run_records_the_teacher(taught: Path, tmp_path: Path) -> None:
    run = cs.train(student(taught), runs=tmp_path).folder
    record = json.loads((run / "teacher.json").read_text())
    accuracy = json.loads((taught / "results.json").read_text())["test"]["accuracy"]
    assert record["place"] == str(taught)
    assert record["test_accuracy"] == pytest.approx(accuracy)
    assert record["parameters"] == 11_498
    assert record["notes"] == []
    assert (
        "Teacher: taught by teacher-1 (C16 C16 / C24:s2 C24 / G F10; 11,498" in (run / "log.txt").read_text()
    )
    for page in ("README.md", "report.html"):
        text = (run / page).read_text()
        assert "taught by teacher-1" in text
        assert record["sha256"][:12] in text
    assert "teacher.json" in json.loads((run / "manifest.json").read_text())
    # A new report does not need the teacher.
    cs.report(run)


@needs_bf16
def test_self_distillation(taught: Path, tmp_path: Path) -> None:
    again = ["train.epochs=1", "train.microbatch_size=32", "train.precision=bf16", f"train.teacher={taught}"]
    assert cs.train(load("digits", again), runs=tmp_path).test.accuracy > 0.15


class Stop(Callback):
    def __init__(self, batches: int) -> None:
        self.left = batches

    def on_batch_end(self, batch: BatchMetrics) -> None:
        self.left -= 1
        if not self.left:
            signal.raise_signal(signal.SIGTERM)


@pytest.mark.slow
def test_resumed_distillation_has_the_same_weights(taught: Path, tmp_path: Path) -> None:
    recipe = student(taught)
    whole = cs.train(recipe, runs=tmp_path / "whole").folder
    with pytest.raises(StoppedError):
        cs.train(recipe, runs=tmp_path / "cut", callbacks=[Stop(25)])
    cut = tmp_path / "cut" / "student-1"
    # The teacher may be in another folder.
    moved = shutil.copytree(taught, tmp_path / "moved")
    text = (cut / "recipe.toml").read_text()
    (cut / "recipe.toml").write_text(text.replace(str(taught), str(moved)))
    cs.resume(cut)
    assert (cut / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


@pytest.mark.slow
def test_resume_detects_another_teacher(taught: Path, tmp_path: Path) -> None:
    other = cs.train(load("digits", [*TINY, "name=other"]), runs=tmp_path).folder
    with pytest.raises(StoppedError):
        cs.train(student(taught), runs=tmp_path, callbacks=[Stop(25)])
    cut = tmp_path / "student-1"
    text = (cut / "recipe.toml").read_text()
    (cut / "recipe.toml").write_text(text.replace(str(taught), str(other)))
    with pytest.raises(RunError, match="changed since the checkpoint") as caught:
        cs.resume(cut)
    assert "teacher.sha256" in str(caught.value)
    cs.resume(cut, accept_changes=True)
    assert json.loads((cut / "teacher.json").read_text())["place"] == str(other)


def _flip_a_weight(run: Path) -> None:
    content = bytearray((run / "model.safetensors").read_bytes())
    content[-5] ^= 1
    (run / "model.safetensors").write_bytes(content)


def _unfinish(run: Path) -> None:
    (run / "manifest.json").unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [(_flip_a_weight, "damaged"), (_unfinish, "is not finished"), (shutil.rmtree, "no such folder")],
)
def test_invalid_teacher(spoil: Callable[[Path], None], message: str, taught: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(taught, tmp_path / "copy")
    spoil(copy)
    with pytest.raises((RunError, BundleError), match=message):
        cs.train(student(copy), runs=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


@pytest.fixture(scope="module")
def bundled(taught: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "kept"
    cs.export_bundle(taught, folder)
    return folder


def test_bundle_and_run_teach_alike(taught: Path, bundled: Path) -> None:
    """Except for the rounding of the weights to 16 bits."""
    session = Session.load(student(taught))
    of_run, of_bundle = (
        load_teacher(student(place), session.data) for place in (taught, bundled)
    )  # fmt: skip
    assert of_run is not None
    assert of_bundle is not None
    images = torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        of_bundle.teacher.logits(images), of_run.teacher.logits(images), rtol=0.02, atol=0.02
    )
    for name in ("net", "parameters", "notes"):
        assert getattr(of_bundle, name) == getattr(of_run, name)
    assert of_bundle.accuracy == pytest.approx(of_run.accuracy, abs=0.01)


def test_damaged_bundle_is_rejected(bundled: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(bundled, tmp_path / "copy")
    _flip_a_weight(copy)
    with pytest.raises(BundleError, match="damaged"):
        cs.train(student(copy), runs=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_teacher_from_the_zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if a folder has the same name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    run = cs.train(student(Path("digits")), runs=tmp_path / "runs").folder
    record = json.loads((run / "teacher.json").read_text())
    assert record["place"] == "digits"
    assert record["parameters"] == 11_498
    assert record["notes"] == []


@pytest.mark.slow
def test_bundle_records_the_teacher(taught: Path, bundled: Path, tmp_path: Path) -> None:
    runs = [
        cs.train(student(teacher, *more), runs=tmp_path / "runs").folder
        for teacher, more in ((taught, ()), (bundled, ("data.split_seed=5",)))
    ]
    for number, run in enumerate(runs):
        cs.export_bundle(run, tmp_path / f"bundle-{number}")
    record = json.loads((runs[1] / "teacher.json").read_text())
    facts = (tmp_path / "bundle-1" / "bundle.json").read_text()
    assert json.loads(facts)["origin"]["taught"] == [record["told"], *record["notes"]]
    cards = [(tmp_path / f"bundle-{number}" / "README.md").read_text() for number in range(2)]
    assert "\nTaught by teacher-1 (C16 C16 / C24:s2 C24 / G F10; 11,498" in cards[0]
    assert f'teacher = "{taught.name}"' in cards[0]
    assert "may have been trained on" not in cards[0]
    assert "- The teacher held out other test images, so it may have been trained on some" in cards[1]
    # Nets that it teaches record it too, from its run and from its bundle.
    heirs = [student(folder, "data.split_seed=5") for folder in (runs[1], tmp_path / "bundle-1")]
    heirs.append(student(cs.train(heirs[0], runs=tmp_path / "runs").folder, "data.split_seed=5"))
    for heir in heirs:
        known = load_teacher(heir, Session.load(heir).data)
        assert known is not None
        assert known.notes == tuple(f"of an earlier teacher: {note}" for note in record["notes"])
    # The path of the teacher is not recorded.
    assert not any(str(folder.parent) in text for folder in (taught, bundled) for text in (*cards, facts))


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ([], []),
        # The teacher was trained on images that are now held out.
        (["data.validation=0.2"], ["validation"]),
        (["data.split_seed=5"], ["test"]),
        (["data.test_fraction=0.25", "data.validation=0.2"], ["validation", "test"]),
    ],
)
def test_notes_name_splits_that_the_teacher_may_have_seen(
    bundled: Path, overrides: list[str], told: list[str]
) -> None:
    session = Session.load(student(bundled, *overrides))
    known = load_teacher(session.recipe, session.data)
    assert known is not None
    assert [note.split()[5] for note in known.notes] == told


def test_teacher_with_other_classes_or_images(
    taught: Path, tmp_path: Path, image_folder: Callable[..., Path]
) -> None:
    folder = image_folder({"train": 12, "test": 4}, size=12)
    other = load(
        "digits", ["model.net=C4 / G F3", f"data.source={folder}", "name=s", f"train.teacher={taught}"]
    )
    with pytest.raises(RecipeError) as caught:
        cs.train(other, runs=tmp_path)
    assert [problem.where for problem in caught.value.problems] == ["train.teacher", "train.teacher"]
    assert "one, two, zero" in str(caught.value)
    assert "1, 12, 12" in str(caught.value)


def test_teacher_must_accept_the_smaller_images(tmp_path: Path) -> None:
    flat = cs.train(load("digits", ["train.epochs=1", "model.net=C4:s2 / F10", "name=flat"]), runs=tmp_path)
    small = student(flat.folder, "train.progressive={start_size=6, until=0.5}")
    with pytest.raises(RecipeError, match="cannot process images of 6 pixels"):
        cs.train(small, runs=tmp_path)


def test_distillation_needs_a_teacher() -> None:
    with pytest.raises(RecipeError, match="distillation needs a teacher"):
        load("digits", ["train.distillation.temperature=2.0"])
    assert load("digits", ["train.teacher=runs/x"]).train.distillation == Distillation()


def test_teacher_of_another_split_is_renormalized_and_noted(taught: Path, tmp_path: Path) -> None:
    """Its inputs have the normalization of its training, and a note names the splits it may have seen."""
    session = Session.load(student(taught, "data.split_seed=5", "data.validation=0.2"))
    known = load_teacher(session.recipe, session.data)
    assert known is not None
    assert len(known.notes) == 2
    plain = Session.load(load(str(taught / "recipe.toml")))
    net = plain.build_net()
    from convsmith.data.normalize import Normalizer
    from convsmith.runs.folder import RunFolder

    RunFolder.open(taught).load_weights(net)
    pixels = torch.from_numpy(np.array(plain.data.test.images[:16])).permute(0, 3, 1, 2)
    cpu = torch.device("cpu")
    with torch.no_grad():
        expected = net.eval()(Normalizer.of(plain.data, cpu)(pixels))
    found = known.teacher.logits(Normalizer.of(session.data, cpu)(pixels))
    assert plain.data.mean != session.data.mean
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
