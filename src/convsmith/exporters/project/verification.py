"""Whether the net of a project computes what that of the run does, in a Python without convsmith."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import safetensors.torch
import torch
from torch import nn

from convsmith.errors import RunError
from convsmith.exporters.project.net_code import Layout, NetCode, weights_path
from convsmith.text import one_line

# In seconds: PyTorch may be read from a slow disk.
_TIMEOUT = 300
_IMAGES = 4
_OTHER_OUTPUTS = 3
_SCRIPT = """\
import copy, sys
sys.modules["convsmith"] = None
sys.path[0] = "."
import torch
from safetensors.torch import load_file
from {net.module} import {net.name}

model = {net.call}
model.load_state_dict(load_file(sys.argv[1]))
expected = load_file(sys.argv[2])
with torch.inference_mode():
    outputs = model.eval()(expected["images"]).float()
if {probabilities}:
    outputs = outputs.clamp_min(torch.finfo(torch.float32).tiny).log()
if not torch.allclose(outputs, expected["outputs"], rtol=1e-3, atol=1e-3):
    sys.exit({_OTHER_OUTPUTS})
"""


def check_net(net: NetCode, module: nn.Module, project: Path, layout: Layout, *, where: str) -> None:
    """Check that the files of a module run in a project without convsmith, and compute the same outputs.

    Args:
        net: The code of the net in the project.
        module: The net of the run with its weights, on the CPU in evaluation mode.
        project: The folder of the project, with the weights.
        layout: Of the project.
        where: The run, for messages.

    Raises:
        RunError: They do not.
    """
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(_IMAGES, *net.analysis.input_shape, generator=generator)
    with torch.inference_mode():
        outputs = module(images).float()
    script = _SCRIPT.format(
        net=net, probabilities=net.outputs == "probabilities", _OTHER_OUTPUTS=_OTHER_OUTPUTS
    )
    with tempfile.TemporaryDirectory(prefix="convsmith-") as scratch:
        expected = Path(scratch) / "expected.safetensors"
        safetensors.torch.save_file({"images": images, "outputs": outputs.clone()}, expected)
        command = [sys.executable, "-c", script, weights_path(layout), str(expected)]
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        try:
            done = subprocess.run(  # noqa: S603 - Python itself
                command, cwd=project, env=environment, stdin=subprocess.DEVNULL,
                capture_output=True, text=True, errors="replace", timeout=_TIMEOUT, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            reason = f"it does not end within {_TIMEOUT} seconds"
        else:
            if not done.returncode:
                return
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            reason = one_line(lines[-1] if lines else f"it ends with exit code {done.returncode}")
            if done.returncode == _OTHER_OUTPUTS:
                reason = "it computes other outputs than the net that was trained"
    fix = "write the net and what it imports into one file, and train again"
    raise RunError(
        f"the code of the net does not run in the project: {reason}",
        where=f"{where}: {net.main or net.module}",
        fix=f"use --layout package, or {fix}" if layout == "flat" and len(net.files) > 1 else fix,
    )
