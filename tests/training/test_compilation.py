"""`train.compile`: the step is compiled before the first epoch, and the result is the same."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor

from convsmith.cli import run
from convsmith.recipes.loader import load
from convsmith.runs.log import LogWriter
from convsmith.training.callbacks import Callback
from helpers.markers import needs_bf16
from helpers.trained import Recorder, trained

if TYPE_CHECKING:
    from torch._dynamo.testing import CompileCounterWithBackend

# PyTorch's tracer and compiler use deprecated functions.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")

TINY = ["model.net=C4 C8:s2:d2 / G F10", "train.epochs=2", "train.batch_size=64"]
PARTS = ["train.microbatch_size=32", "train.progressive={start_size=6, until=0.6}"]


class Compilations(Callback):
    """Records the number of compilations at `on_compile_end`."""

    def __init__(self, compiler: "CompileCounterWithBackend") -> None:
        self.compiler, self.ahead, self.lines = compiler, 0, list[str]()
        self.log = LogWriter(self.lines.append)

    def on_compile_end(self, seconds: float) -> None:
        assert seconds > 0
        self.ahead = self.compiler.frame_count
        self.log.on_compile_end(seconds)


def tiny_net(overrides: Sequence[str], *watchers: Callback) -> tuple[dict[str, Tensor], Recorder]:
    net, recorder = trained(load("digits", [*TINY, *overrides]), callbacks=watchers)
    return net.state_dict(), recorder


@pytest.mark.parametrize(
    ("more", "shapes"),
    [
        # Microbatches of 32 and 23 images, of 6x6 and 8x8 pixels.
        (PARTS, 4),
        pytest.param(["train.precision=bf16", "train.ema=0.9"], 2, marks=needs_bf16),
        pytest.param(["train.weight_standardization=true", "model.norm=none"], 2, marks=pytest.mark.slow),
        (["train.whitening=true", "model.net=C18:p1 C6:s2 / G F10", "train.optimizer=muon"], 2),
    ],
    ids=["parts", "bf16", "standardised", "whitened"],
)
def test_compiled_training_equals_eager_training(
    more: list[str], shapes: int, compiler: "CompileCounterWithBackend"
) -> None:
    plain, expected = tiny_net(more)
    assert compiler.frame_count == 0
    watcher = Compilations(compiler)
    weights, found = tiny_net([*more, "train.compile=true"], watcher)
    assert watcher.ahead == compiler.frame_count == shapes
    (line,) = watcher.lines
    assert line.startswith("Compiled in 00:")
    for name, tensor in plain.items():
        assert torch.allclose(weights[name].float(), tensor.float(), atol=1e-5), name
    assert [facts.train.loss for facts in found.epochs] == pytest.approx(
        [facts.train.loss for facts in expected.epochs], rel=1e-4
    )


def test_a_second_training_is_compiled(compiler: "CompileCounterWithBackend") -> None:
    """PyTorch limits the number of compilations for all nets of a class together."""
    with torch._dynamo.config.patch(recompile_limit=2):
        for training in (1, 2):
            tiny_net(["train.epochs=1", "train.compile=true"])
            assert compiler.frame_count == 2 * training


def test_compilation_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def broken(graph: Any, inputs: Any) -> Any:
        raise RuntimeError("no compiler here")

    compile_with = torch.compile
    monkeypatch.setattr(torch, "compile", lambda net, **given: compile_with(net, backend=broken, **given))
    assert run(["train", "digits", *TINY, "train.compile=true", "--runs", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert "train.compile" in told
    assert "no compiler here" in told
    assert "train.compile=false" in told
    assert "Traceback" not in told


@pytest.mark.slow
@pytest.mark.skipif(
    not torch.cuda.is_available() and not shutil.which("g++"),
    reason="no CUDA device and no C++ compiler",
)
def test_with_inductor() -> None:
    plain, _ = tiny_net(["train.epochs=1", "train.batch_size=599"])
    compiled, _ = tiny_net(["train.epochs=1", "train.batch_size=599", "train.compile=true"])
    for name, tensor in plain.items():
        assert torch.allclose(compiled[name].float(), tensor.float(), atol=1e-3), name
