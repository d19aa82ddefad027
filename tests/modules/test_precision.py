"""Modules whose code creates weights of half or double precision."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.parameter import is_lazy

from convsmith.modules.architecture import ModuleArchitecture, architecture_of
from convsmith.modules.config import ModuleConfig
from convsmith.modules.precision import other_precisions, use_single_precision
from convsmith.net.module import seeded

CODE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 10))
        self.register_buffer("scale", torch.tensor(0.1, dtype=torch.float64))
        self.register_buffer("calls", torch.tensor(0))
        for module in self.modules():
            if not isinstance(module, nn.BatchNorm2d):
                module.half()

    def forward(self, x):
        return self.layers(x) * self.scale

class Lazy(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.LazyLinear(10, dtype=torch.float64))
"""


@pytest.mark.parametrize(("name", "types"), [("Net", "float16"), ("Lazy", "float64")])
def test_weights_are_converted_and_a_note_says_so(tmp_path: Path, name: str, types: str) -> None:
    (tmp_path / "model.py").write_text(CODE)
    architecture = architecture_of(ModuleConfig(module=f"{tmp_path / 'model.py'}:{name}"))
    probed = architecture.probe((1, 8, 8), 10)
    assert [note for note in probed.notes if f"creates weights of {types}, which are float32 here" in note]
    net = probed.build((1, 8, 8), torch.Generator().manual_seed(3))
    assert {each.dtype for each in net.state_dict().values()} <= {torch.float32, torch.int64}
    with seeded(torch.Generator().manual_seed(3)):
        assert isinstance(architecture, ModuleArchitecture)
        own = architecture.loaded.create()
    for parameter, drawn in zip(net.parameters(), own.parameters(), strict=True):
        if not is_lazy(drawn):
            assert torch.equal(parameter, drawn.float())
    assert net(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


def test_single_precision_stays_as_it_is() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    weight = net[0].weight
    assert other_precisions(net) == ()
    use_single_precision(net)
    assert net[0].weight is weight
    assert other_precisions(net.double()) == ("float64",)
