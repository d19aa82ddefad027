"""Initial weights."""

import torch

from convsmith.net.module import build
from convsmith.net.notation import parse
from convsmith.net.plan import plan
from convsmith.net.settings import NetSettings


def test_dirac_initialization_preserves_channels() -> None:
    settings = NetSettings(init="dirac", norm="none", activation="none", bias=False)
    net = build(plan(parse("C4 C8 / P10 G"), (4, 6, 6), settings))
    images = torch.randn(2, 4, 6, 6)
    hidden = net.get_submodule("block1")(images)
    assert torch.allclose(hidden[:, :4], images, atol=1e-6)
    logits = net.get_submodule("block2.conv1")(hidden)
    assert not torch.allclose(logits[:, :4], hidden[:, :4], atol=0.1)
