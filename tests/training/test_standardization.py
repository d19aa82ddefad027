"""Weight standardization."""

import torch
from torch.nn.utils import parametrize

from convsmith.data.normalize import Normalizer
from convsmith.recipes.loader import load
from convsmith.recipes.session import Session
from convsmith.training.metrics import (
    evaluate_split,
)
from convsmith.training.trainer import fit
from helpers.trained import Recorder


def test_standardization_is_removed_after_training() -> None:
    overrides = ["train.epochs=2", "model.net=C4 S8:s2 / F6 F10", "model.norm=none"]
    recipe = load("digits", [*overrides, "train.weight_standardization=true", "train.precision=fp32"])
    session = Session.load(recipe)
    net = session.build_net()
    names, recorder = set(net.state_dict()), Recorder()
    fit(net, session.data, recipe.train, recipe.augment, seed=0, callbacks=[recorder])
    assert set(net.state_dict()) == set(recorder.weights[-1]) == names
    weights = {name: tensor for name, tensor in net.state_dict().items() if name.endswith("weight")}
    *hidden, classifier = weights.values()
    for weight in hidden:
        flat = weight.flatten(1)
        assert torch.allclose(flat.mean(1), torch.zeros(len(flat)), atol=1e-5)
        assert torch.allclose(flat.norm(dim=1), torch.full((len(flat),), 1.7129), atol=1e-3)
    assert not torch.allclose(classifier.mean(1), torch.zeros(10), atol=1e-5)
    normalize = Normalizer.of(session.data, torch.device("cpu"))
    assert evaluate_split(net, session.data.test, normalize, torch.float32) == recorder.epochs[-1].test
    assert not parametrize.is_parametrized(net.get_submodule("block1.conv1"))
