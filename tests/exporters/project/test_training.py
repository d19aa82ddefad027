"""The training of a project: gradients in bf16, and the statistics of averaged weights."""

import contextlib
import copy
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.stats import chisquare
from sklearn.utils.class_weight import compute_class_weight
from torch import nn

from convsmith.exporters.project.code import Storage
from convsmith.recipes.loader import load
from helpers.projects import imported, written

Modules = Callable[..., dict[str, Any]]


@pytest.fixture
def modules(tmp_path: Path) -> Iterator[Modules]:
    """Return a function that writes the code of a recipe on digits and imports its modules."""
    with contextlib.ExitStack() as stack:

        def write(*overrides: str) -> dict[str, Any]:
            recipe = load("digits", list(overrides))
            written(recipe, Storage(kind="digits"), tmp_path, list("0123456789"), own_test=False)
            (tmp_path / "model" / "__init__.py").touch()
            found = stack.enter_context(imported(tmp_path, "model.model", "utils.utils", "main"))
            return dict(zip(("model", "utils", "main"), found, strict=True))

        yield write
    log = logging.getLogger("training")
    for handler in list(log.handlers):
        log.removeHandler(handler)
        handler.close()


@pytest.mark.parametrize("parts", [1, 2])
def test_gradients_of_dilated_filters_are_right_in_a_bf16_project(parts: int, modules: Modules) -> None:
    """The oracle: gradients in fp64. In bf16 those of PyTorch 2.13 can be infinite on a CPU."""
    sizes = [f"train.batch_size={4 * parts}", "train.microbatch_size=4", "data.resize=32"]
    # Without kinks, at which a rounding error would change a gradient.
    net = ("model.net=C12 D:d2 C12:d3 / G F10", "model.activation=none")
    project = modules(*net, "train.precision=bf16", "train.schedule=constant", *sizes)
    torch.manual_seed(0)
    images, labels = torch.randn(4 * parts, 1, 32, 32), torch.randint(10, (4 * parts,))
    model = project["model"].Net()
    exact = copy.deepcopy(model).double().train()
    for some, some_labels in zip(images.chunk(parts), labels.chunk(parts), strict=True):
        torch.autograd.backward(nn.functional.cross_entropy(exact(some.double()), some_labels) / parts)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    criterion, device = nn.CrossEntropyLoss(), torch.device("cpu")
    project["utils"].train(model, [(images, labels)], criterion, optimizer, device)
    for found, expected in zip(model.parameters(), exact.parameters(), strict=True):
        assert found.grad is not None
        assert expected.grad is not None
        torch.testing.assert_close(found.grad, expected.grad.float(), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("parts", [1, 2])
def test_the_l1_penalty_of_a_project(parts: int, modules: Modules) -> None:
    """The oracle: autograd, of the mean loss and of the penalty with every weight named."""
    sizes = [f"train.batch_size={4 * parts}", "train.microbatch_size=4"]
    project = modules(
        "model.net=C4 S4:s2 / G F10", "model.norm=layer", "train.l1=0.01", "train.schedule=constant", *sizes
    )
    images, labels = torch.randn(4 * parts, 1, 8, 8), torch.randint(10, (4 * parts,))
    model = project["model"].Net()
    expected = copy.deepcopy(model)
    loss = nn.functional.cross_entropy(expected(images), labels)
    penalised = [name for name, _ in model.named_parameters() if "norm" not in name and "weight" in name]
    assert len(penalised) == 4
    penalty = sum(expected.get_parameter(name).abs().sum() for name in penalised)
    torch.autograd.backward(loss + 0.01 * penalty)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    project["utils"].train(model, [(images, labels)], nn.CrossEntropyLoss(), optimizer, torch.device("cpu"))
    for name, found in model.named_parameters():
        torch.testing.assert_close(found.grad, expected.get_parameter(name).grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("average", ["train.ema=0.5", "train.lookahead={k=2, alpha=0.5}"])
def test_statistics_of_averaged_weights_in_a_project(
    average: str, modules: Modules, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oracle: the statistics over all images of the sample at once."""
    project = modules(average, "model.net=C4 C4:s2 / G F10", "train.schedule=constant", "augment=false")
    main, calls = project["main"], []
    original = main.update_bn

    def watched(loader: Any, model: nn.Module, device: torch.device) -> None:
        original(loader, model, device)
        calls.append(([images for images, _ in loader], copy.deepcopy(model)))

    monkeypatch.setattr(main, "update_bn", watched)
    monkeypatch.setattr(main, "save_plots", lambda *_: None)
    main.main(["train", "--epochs", "1", "--out", str(tmp_path / "again"), "--workers", "0"])
    ((batches, model),) = calls
    # Each counts equally in the statistics.
    assert [len(each) for each in batches] == [500, 500]
    first = next(each for each in model.modules() if isinstance(each, nn.BatchNorm2d))
    convolution = next(each for each in model.modules() if isinstance(each, nn.Conv2d))
    with torch.no_grad():
        maps = convolution(torch.cat(batches)).double()
    torch.testing.assert_close(first.running_mean, maps.mean((0, 2, 3)).float(), rtol=1e-4, atol=1e-5)
    # The variance of each half is around its own mean, which is nearly that of both.
    torch.testing.assert_close(first.running_var, maps.var((0, 2, 3)).float(), rtol=1e-2, atol=1e-5)


WEIGHTS = [0.25 * (digit + 1) for digit in range(10)]
TABLE = "{" + ", ".join(f"{digit}={weight}" for digit, weight in enumerate(WEIGHTS)) + "}"


@pytest.mark.parametrize("parts", [1, 2])
def test_weights_of_the_classes_and_clipping_in_a_project(parts: int, modules: Modules) -> None:
    """The oracle: PyTorch's loss of the whole batch, and its gradients after `clip_grad_norm_`."""
    sizes = [f"train.batch_size={8 * parts}", "train.microbatch_size=8", "train.label_smoothing=0.1"]
    fields = [f"train.class_weights={TABLE}", "train.clip_gradient_norm=0.05", "train.schedule=constant"]
    project = modules("model.net=C4 S4:s2 / G F10", "model.norm=none", *fields, *sizes)
    images, labels = torch.randn(8 * parts, 1, 8, 8), torch.randint(10, (8 * parts,))
    model = project["model"].Net()
    expected = copy.deepcopy(model)
    weight = torch.tensor(project["utils"].CLASS_WEIGHTS)
    assert weight.tolist() == WEIGHTS
    criterion = nn.CrossEntropyLoss(weight, label_smoothing=0.1)
    expected_loss = criterion(expected(images), labels)
    expected_loss.backward()
    assert nn.utils.clip_grad_norm_(expected.parameters(), 0.05) > 0.05
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    device = torch.device("cpu")
    loss, _ = project["utils"].train(model, [(images, labels)], criterion, optimizer, device)
    assert loss == pytest.approx(expected_loss.item(), rel=1e-5)
    for ours, theirs in zip(model.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-6)


def test_balanced_weights_in_a_project(modules: Modules) -> None:
    labels = np.repeat([0, 1, 2], [70, 20, 10])
    weights = modules("train.class_weights=balanced")["utils"]
    weights.CLASSES = ["a", "b", "c"]
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    assert weights.balanced_weights(labels).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("sampling", ["shuffle", "balanced"])
def test_weights_of_mixed_images_in_a_project_have_the_mean_1(
    sampling: str, modules: Modules, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = [f"train.class_weights={TABLE}", f"train.sampling={sampling}", 'augment.mix={name="mixup"}']
    project = modules("model.net=C4 / G F10", "train.schedule=constant", *fields)
    weights: list[torch.Tensor] = []

    def noted(_: nn.Module, __: Any, criterion: nn.CrossEntropyLoss, *___: Any) -> tuple[float, float]:
        assert criterion.weight is not None
        weights.append(criterion.weight)
        return 0.0, 0.0

    monkeypatch.setattr(project["utils"], "train", noted)
    monkeypatch.setattr(project["main"], "save_plots", lambda *_: None)
    project["main"].main(["train", "--epochs", "1", "--out", str(tmp_path / "again"), "--workers", "0"])
    drawn = project["utils"].load_images()["train"][1] if sampling == "shuffle" else np.arange(10)
    assert weights[0][drawn].mean().item() == pytest.approx(1)
    assert (weights[0] / weights[0][0]).tolist() == pytest.approx([digit + 1 for digit in range(10)])


def test_a_project_thaws_the_layers_that_it_froze_and_no_others(modules: Modules) -> None:
    project = modules("model.net=C4 / C8:s2 / G F10", "train.freeze=body", "train.freeze_epochs=1")
    model = project["model"].Net()
    own = model.block1.conv1.weight.requires_grad_(requires_grad=False)
    frozen = project["utils"].freeze(model)
    assert not any(each.requires_grad for each in (*model.block1.parameters(), *model.block2.parameters()))
    assert all(each.requires_grad for each in model.block3.parameters())
    assert own not in set(frozen)
    assert {*frozen, own} == {*model.block1.parameters(), *model.block2.parameters()}


def test_balanced_sampling_in_a_project(modules: Modules) -> None:
    utils = modules("train.sampling=balanced")["utils"]
    labels = np.repeat([0, 1, 2], [700, 200, 100])
    images = utils.Images((np.zeros((1000, 8, 8, 1), np.uint8), labels), utils.plain_transform())
    torch.manual_seed(0)
    drawn = torch.cat([some for _, some in utils.make_balanced_loader(images, 64, 0)])
    assert len(drawn) == 1000
    assert chisquare(torch.bincount(drawn).numpy()).pvalue > 0.001


def test_the_best_epoch_of_a_project(
    modules: Modules, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oracle: the validation loss of the saved weights is the least of all epochs."""
    fields = ["train.keep=best", "train.monitor=loss", "train.early_stopping={patience=2}"]
    rate = ["train.optimizer.lr=0.3", "train.schedule=constant", "data.validation=0.2", "augment=false"]
    project = modules("model.net=C4 C4:s2 / G F10", *fields, *rate)
    main, utils = project["main"], project["utils"]
    monkeypatch.setattr(main, "save_plots", lambda *_: None)
    out = tmp_path / "again"
    main.main(["train", "--epochs", "12", "--out", str(out), "--workers", "0"])
    losses = [row["validation_loss"] for row in utils.read_metrics(out / "logs" / "metrics.csv")]
    model = project["model"].Net()
    model.load_state_dict(load_file(out / "model" / "model.safetensors"))
    validation = utils.load_images()["validation"]
    loader = main.plain_loader(validation, 0)
    loss, _ = utils.score(*utils.predict(model, loader, torch.device("cpu")))
    assert loss == pytest.approx(min(losses), rel=1e-4)
    best = losses.index(min(losses)) + 1
    assert len(losses) == min(best + 2, 12)
    log = (out / "logs" / "train.log").read_text()
    assert f"The weights are those of epoch {best}" in log
    assert ("Stopped early" in log) == (len(losses) < 12)
