"""First recipes against the loop that users write: a ResNet-18 in plain PyTorch, in the same minutes.

Data sets are those of `$FIRST_RECIPE_DATA`, values of `data.source` separated by colons; by default digits.
`$FIRST_RECIPE_MINUTES` is the budget of each training, 10 by default, `$FIRST_RECIPE_SEEDS` their number, 3.
Each result is a row of `$FIRST_RECIPE_RESULTS`, by default first-recipe.csv; rows that are there are not
measured again, so that an interrupted benchmark continues.

ResNet-18: the stem of ImageNet, batch norm, Adam with a rate of 0.001 without a schedule, batches of 32,
horizontal flips, images of the recipe's size; where the source has its own test split, also of 224 pixels,
which is what tutorials write. Both are trained on all training images and judged by the same test images.
"""

import csv
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

import convsmith as cs
from convsmith.data.dataset import ImageDataset, Split, load

COLUMNS = ("source", "method", "seed", "minutes", "epochs", "seconds", "parameters", "accuracy", "balanced")
_TUTORIAL_SIDE, _BATCH = 224, 32


class Block(nn.Module):
    """Two convolutions and a shortcut (He and others, arXiv 1512.03385)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        same = stride == 1 and inputs == outputs
        self.shortcut: nn.Module = nn.Identity()
        if not same:
            conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut = nn.Sequential(conv, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


def resnet18(channels: int, classes: int) -> nn.Sequential:
    """Return the net of torchvision, for images with other channels too."""
    stem = [
        nn.Conv2d(channels, 64, 7, 2, 3, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
    ]
    widths = ((64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2))
    stages = [layer for a, b, stride in widths for layer in (Block(a, b, stride), Block(b, b, 1))]
    return nn.Sequential(*stem, *stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, classes))


def main() -> str:
    """Measure what is missing, and return the table."""
    sources = os.environ.get("FIRST_RECIPE_DATA", "digits").split(":")
    minutes = float(os.environ.get("FIRST_RECIPE_MINUTES", "10"))
    seeds = int(os.environ.get("FIRST_RECIPE_SEEDS", "3"))
    path = Path(os.environ.get("FIRST_RECIPE_RESULTS", "first-recipe.csv"))
    for source in sources:
        starter = None
        for seed in range(seeds):
            for method in ("init", "resnet18", "resnet18-224"):
                if (source, method, str(seed), f"{minutes:g}") in _done(path):
                    continue
                starter = starter or cs.start_recipe(source, minutes=minutes)
                row = _measured(starter.text, method, seed, minutes)
                if row:
                    values = {"source": source, "method": method, "seed": seed, "minutes": f"{minutes:g}"}
                    _append(path, {**values, **row})
    return path.read_text(encoding="utf-8")


def _measured(text: str, method: str, seed: int, minutes: float) -> dict[str, Any] | None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "first.toml"
        file.write_text(text, encoding="utf-8")
        recipe = cs.load_recipe(str(file), f"seed={seed}")
        if method == "init":
            started = time.perf_counter()
            run = cs.train(recipe, runs=Path(folder) / "runs").folder
            seconds = time.perf_counter() - started
            results = cs.results(run)
            recalls = [each["accuracy"] for each in results["classes"] if each["accuracy"] is not None]
            return {
                "epochs": recipe.train.epochs,
                "seconds": f"{seconds:.1f}",
                "parameters": cs.resolve(str(run)).analysis.parameters,
                "accuracy": f"{results['test']['accuracy']:.4f}",
                "balanced": f"{np.mean(recalls):.4f}",
            }
        config = recipe.data.model_copy(update={"validation": 0.0})
        if method == "resnet18-224":
            if load(config).test_is_split_off:
                # Images of another size would have another test set.
                return None
            config = config.model_copy(update={"resize": _TUTORIAL_SIDE})
        return _train_resnet(load(config), seed, 60 * minutes)


def _train_resnet(data: ImageDataset, seed: int, seconds: float) -> dict[str, Any]:
    torch.manual_seed(seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    net = resnet18(data.image_shape[0], len(data.class_names)).to(device)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.001)
    random = np.random.default_rng(seed)
    started, steps, count = time.perf_counter(), 0, len(data.train)
    while time.perf_counter() - started < seconds:
        net.train()
        order = random.permutation(count)
        for start in range(0, max(count - 1, 1), _BATCH):
            images, labels = _batch(data, data.train, order[start : start + _BATCH], device)
            flipped = torch.rand(len(images), device=device) < 0.5
            images[flipped] = images[flipped].flip(3)
            loss = functional.cross_entropy(net(images), labels)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            steps += 1
            if time.perf_counter() - started >= seconds:
                break
    trained = time.perf_counter() - started
    predicted = _predicted(net, data, device)
    correct = predicted == data.test.labels
    recalls = [correct[data.test.labels == label].mean() for label in np.unique(data.test.labels)]
    return {
        "epochs": f"{steps * _BATCH / count:.1f}",
        "seconds": f"{trained:.1f}",
        "parameters": sum(each.numel() for each in net.parameters()),
        "accuracy": f"{correct.mean():.4f}",
        "balanced": f"{np.mean(recalls):.4f}",
    }


def _batch(data: ImageDataset, split: Split, indices: Any, device: torch.device) -> tuple[Tensor, Tensor]:
    pixels = torch.from_numpy(np.asarray(split.select(indices).images)).to(device).permute(0, 3, 1, 2)
    mean, std = (torch.tensor(each, device=device).view(1, -1, 1, 1) for each in (data.mean, data.std))
    return (pixels / 255 - mean) / std, torch.from_numpy(split.labels[indices]).to(device)


@torch.no_grad()
def _predicted(net: nn.Module, data: ImageDataset, device: torch.device) -> Any:
    net.eval()
    every = np.arange(len(data.test))
    parts = (_batch(data, data.test, every[i : i + 256], device)[0] for i in range(0, len(every), 256))
    return np.concatenate([net(part).argmax(1).cpu().numpy() for part in parts])


def _done(path: Path) -> set[tuple[str, ...]]:
    if not path.is_file():
        return set()
    with path.open(encoding="utf-8", newline="") as file:
        return {tuple(row[name] for name in COLUMNS[:4]) for row in csv.DictReader(file)}


def _append(path: Path, row: dict[str, Any]) -> None:
    is_new = not path.is_file()
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if is_new:
            writer.writeheader()
        writer.writerow(row)
