"""Choice of device, precision and number of threads."""

import os
import subprocess
import sys

import pytest
import torch

from convsmith.errors import RecipeError
from convsmith.system import device
from convsmith.system.device import choose_device, choose_precision, dtype_of, threads_for


def test_missing_device() -> None:
    if not torch.cuda.is_available():
        with pytest.raises(RecipeError, match="no cuda device"):
            choose_device("cuda")
    assert choose_device("cpu").type == "cpu"


def test_small_steps_use_one_thread() -> None:
    before = torch.get_num_threads()
    with threads_for(1_000):
        assert torch.get_num_threads() == 1
    with pytest.raises(ValueError, match="inside"), threads_for(1_000):
        raise ValueError("inside")
    assert torch.get_num_threads() == before
    with threads_for(10**10):
        assert torch.get_num_threads() == before


def test_auto_precision_is_bf16_if_it_is_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, large = torch.device("cpu"), 10**9
    assert choose_precision("fp32", cpu, large) == "fp32"
    assert choose_precision("bf16", cpu, 1) == "bf16"
    for has, macs, expected in ((True, large, "bf16"), (True, 10**6, "fp32"), (False, large, "fp32")):
        monkeypatch.setattr(device, "cpu_has_bf16", lambda has=has: has)
        assert choose_precision("auto", cpu, macs) == expected
    assert (dtype_of("bf16"), dtype_of("fp32")) == (torch.bfloat16, torch.float32)


@pytest.mark.parametrize(
    "variables",
    [{}, {"ATEN_CPU_CAPABILITY": "default"}, {"ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_CBWR": "COMPATIBLE"}],
    ids=str,
)
def test_the_instructions_are_recorded(variables: dict[str, str]) -> None:
    # PyTorch reads the variables once.
    script = (
        "import torch; from convsmith.system.device import cpu_instructions as now; "
        "print(now()); print(torch.backends.cpu.get_cpu_capability())"
    )
    clean = {name: value for name, value in os.environ.items() if "ISA" not in name and "ATEN" not in name}
    printed = subprocess.run(
        [sys.executable, "-c", script], env={**clean, **variables}, capture_output=True, text=True, check=True
    ).stdout
    instructions, capability = printed.splitlines()
    shown = [f"{name}={value}" for name, value in variables.items() if name != "ATEN_CPU_CAPABILITY"]
    assert instructions == ", ".join([capability, *shown])
    assert ("ATEN_CPU_CAPABILITY" in variables) == (capability in {"DEFAULT", "NO AVX"})
