"""Whether the nets of a project compute what those of the runs do, in a Python without convsmith."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from convsmith.errors import RunError
from convsmith.exporters.project.net_code import NetCode
from convsmith.text import one_line

# In seconds: PyTorch may be read from a slow disk.
_TIMEOUT = 300
_IMAGES = 4
_OTHER_OUTPUTS = 3
_SCRIPT = """\
import copy, importlib, json, sys
sys.modules["convsmith"] = None
sys.path[0] = "."
import torch
from safetensors.torch import load_file

for place, (module, name, call, weights, probabilities) in enumerate(json.loads(sys.argv[1])):
    print(place, file=sys.stderr)
    model = eval(call, {"copy": copy, name: getattr(importlib.import_module(module), name)})
    model.load_state_dict(load_file(weights))
    expected = load_file(f"{sys.argv[2]}/{place}.safetensors")
    with torch.inference_mode():
        outputs = model.eval()(expected["images"]).float()
    if probabilities:
        outputs = outputs.clamp_min(torch.finfo(torch.float32).tiny).log()
    if not torch.allclose(outputs, expected["outputs"], rtol=1e-3, atol=1e-3):
        sys.exit(3)
"""


@dataclass(frozen=True)
class TrainedNet:
    """A net of a project, with the one of its run.

    Attributes:
        code: The code of the net in the project.
        module: The net of the run with its weights, on the CPU in evaluation mode.
        weights: Their file in the project.
        where: The run, for messages.
    """

    code: NetCode
    module: nn.Module
    weights: str
    where: str


def check_nets(nets: Sequence[TrainedNet], project: Path) -> None:
    """Check that nets run in a project without convsmith, and compute the same outputs.

    Args:
        nets: The nets.
        project: The folder of the project, with the weights.

    Raises:
        RunError: They do not.
    """
    with tempfile.TemporaryDirectory(prefix="convsmith-") as scratch:
        for place, net in enumerate(nets):
            generator = torch.Generator().manual_seed(0)
            images = torch.randn(_IMAGES, *net.code.analysis.input_shape, generator=generator)
            with torch.inference_mode():
                outputs = net.module(images).float()
            expected = Path(scratch) / f"{place}.safetensors"
            safetensors.torch.save_file({"images": images, "outputs": outputs.clone()}, expected)
        jobs = [
            (net.code.module, net.code.name, net.code.call, net.weights, net.code.outputs == "probabilities")
            for net in nets
        ]
        command = [sys.executable, "-c", _SCRIPT, json.dumps(jobs), scratch]
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        try:
            done = subprocess.run(  # noqa: S603 - Python itself
                command, cwd=project, env=environment, stdin=subprocess.DEVNULL,
                capture_output=True, text=True, errors="replace", timeout=_TIMEOUT, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            # Bytes or a text, depending on the system.
            errors: Any = error.stderr or ""
            text = errors if isinstance(errors, str) else errors.decode(errors="replace")
            raise _failure(nets, text, f"it does not end within {_TIMEOUT} seconds") from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        reason = one_line(lines[-1] if lines else f"it ends with exit code {done.returncode}")
        if done.returncode == _OTHER_OUTPUTS:
            reason = "it computes other outputs than the net that was trained"
        raise _failure(nets, done.stderr, reason)


def _failure(nets: Sequence[TrainedNet], errors: str, reason: str) -> RunError:
    """Return the error of the net whose number was written last."""
    numbers = [int(line) for line in errors.splitlines() if line.isdecimal() and int(line) < len(nets)]
    net = nets[numbers[-1] if numbers else 0]
    return RunError(
        f"the code of the net does not run in the project: {reason}",
        where=f"{net.where}: {net.code.main or net.code.module}",
        fix="write the net and what it imports into one file, and train again",
    )
