"""The training of a project: gradients in bf16, and the statistics of averaged weights."""

import contextlib
import copy
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
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
