"""A hand-written file with nets, as users have them, and a file beside it."""

from pathlib import Path

import convsmith as cs

# The layers of `C4 C8:s2 / G F10` in their order, with names of its own, and three kinds of outputs.
CODE = """
from torch import nn
from torch.nn import functional as F
from layers import width_of

class Net(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.conv1 = nn.Conv2d(1, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width_of(8), 3, stride=2, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(8)
        self.drop = nn.Dropout(0.05)
        self.fc = nn.Linear(8, 10)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.drop(F.relu(self.bn2(self.conv2(x))))
        return F.log_softmax(self.fc(x.mean((2, 3))), dim=-1)

class Softmax(Net):
    def forward(self, x):
        return super().forward(x).exp()
"""
LAYERS = "def width_of(width):\n    return width\n"


def write_nets(folder: Path) -> Path:
    """Write `model.py`, with the classes `Net` and `Softmax`, and `layers.py`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.py").write_text(CODE)
    (folder / "layers.py").write_text(LAYERS)
    return folder / "model.py"


def train_net(folder: Path, name: str, net: str, *overrides: str) -> Path:
    """Train a net of `write_nets` on digits; return the run folder."""
    code = write_nets(folder / "code")
    recipe = cs.load_recipe(
        "digits", "train.epochs=2", f"name={name}", f"model.module={code}:{net}", *overrides
    )
    return cs.train(recipe, runs=folder / "runs").folder
