"""Nets and checkpoints as well-known trainers write them."""

import argparse
import collections
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

State = dict[str, torch.Tensor]


def small_net(classes: int = 10, seed: int = 0) -> nn.Sequential:
    """Return a net with every kind of tensor: weights, biases, statistics and a counter of batches."""
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(4, classes),
    )  # fmt: skip
    net(torch.randn(8, 3, 6, 6))
    return net


def state_of(net: nn.Module) -> State:
    return {name: tensor.clone() for name, tensor in net.state_dict().items()}


def optimizer_of(net: nn.Module) -> torch.optim.Optimizer:
    """Return an Adam optimizer with state: tensors by name, as a state_dict has."""
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.randn(4, 3, 6, 6)).sum().backward()
    state = state_of(net)
    optimizer.step()
    net.load_state_dict(state)
    return optimizer


class LightningModule(nn.Module):
    """A net inside a module for training, with the weights of its loss as a buffer."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.model = net
        self.criterion = nn.CrossEntropyLoss(weight=torch.ones(10))


class Config(dict[str, Any]):
    """A dict of a class of its own, with attributes."""


def compiled(net: nn.Module) -> nn.Module:
    """Return a compiled net, without the compiler's back end, which takes long to import."""
    wrapped: Any = torch.compile(net, backend="eager")
    assert isinstance(wrapped, nn.Module)
    return wrapped


def averaged(net: nn.Module) -> nn.Module:
    average = torch.optim.swa_utils.AveragedModel(net)
    average.update_parameters(net)
    return average


# Each returns the object that is saved for a net; the weights that are to be found are always the net's.
TRAINERS: dict[str, Callable[[nn.Module], Any]] = {
    "state_dict": lambda net: net.state_dict(),
    "kuangliu": lambda net: {"net": net.state_dict(), "acc": 91.25, "epoch": 7},
    "numpy numbers": lambda net: {"net": net.state_dict(), "acc": np.float64(91.25), "seen": np.arange(3)},
    "DataParallel": lambda net: {"net": nn.DataParallel(net).state_dict(), "acc": 91.25, "epoch": 7},
    "torch.compile": lambda net: compiled(net).state_dict(),
    "compiled in DataParallel": lambda net: nn.DataParallel(compiled(net)).state_dict(),
    "imagenet": lambda net: {
        "epoch": 3,
        "arch": "resnet18",
        "state_dict": nn.DataParallel(net).state_dict(),
        "best_acc1": torch.tensor(76.5),
        "optimizer": optimizer_of(net).state_dict(),
        "scheduler": {"base_lrs": [0.1], "_get_lr_called_within_step": False},
    },
    "timm": lambda net: {
        "epoch": 3,
        "arch": "resnet18",
        "state_dict": small_net(seed=1).state_dict(),
        "optimizer": optimizer_of(net).state_dict(),
        "version": 2,
        "args": argparse.Namespace(lr=0.1, opt="sgd", data_dir=pathlib.PurePosixPath("/data")),
        "amp_scaler": {"scale": 65536.0, "_growth_tracker": 0},
        "state_dict_ema": net.state_dict(),
        "metric": np.float64(76.5),
    },
    "Lightning": lambda net: {
        "epoch": 3,
        "global_step": 40,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": LightningModule(net).state_dict(),
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 4}}}},
        "callbacks": {
            "ModelCheckpoint{'monitor': 'val_loss'}": {
                "monitor": "val_loss",
                "best_model_score": torch.tensor(0.25),
                "best_model_path": "epoch=3.ckpt",
            }
        },
        "optimizer_states": [optimizer_of(net).state_dict()],
        "lr_schedulers": [],
        "hparams_name": "kwargs",
        "hyper_parameters": {"lr": 0.1, "num_classes": 10},
    },
    "fastai": lambda net: {
        "model": net.state_dict(),
        "opt": {"state": [{"grad_avg": torch.ones(4), "sqr_avg": torch.ones(4)}], "hypers": [{"lr": 0.1}]},
    },
    "averaged": lambda net: {
        "model": small_net(seed=1).state_dict(),
        "swa_model": averaged(net).state_dict(),
    },
    "averaged alone": lambda net: averaged(net).state_dict(),
    "nested average": lambda net: {
        "model": small_net(seed=1).state_dict(),
        "ema": {"decay": 0.999, "state_dict": net.state_dict()},
    },
    "rich": lambda net: {
        "model_state_dict": net.state_dict(),
        "history": collections.defaultdict(list, {"loss": [1.0, 0.5]}),
        "config": Config(lr=0.1),
        "rng": {"torch": torch.get_rng_state(), "numpy": np.random.get_state()},  # noqa: NPY002 - as trainers do
        "sampler": (3, {"seen": {1, 2}}),
        "class": argparse.ArgumentParser,
    },
    "custom dict": lambda net: Config(model=collections.OrderedDict(net.state_dict())),
    "list": lambda net: [net.state_dict(), optimizer_of(net).state_dict()],
    "tuple": lambda net: (3, net.state_dict()),
    "double": lambda net: {"net": {name: _double(each) for name, each in net.state_dict().items()}},
    "with epoch": lambda net: {**net.state_dict(), "epoch": 3, "classes": ["cat", "dog"]},
}


def _double(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor
