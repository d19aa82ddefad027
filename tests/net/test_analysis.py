"""Sizes of files, peak memory, coverage of the image, and the printed table."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from convsmith.net.module import build
from convsmith.net.tables import compact_table
from helpers import measured
from helpers.nets import analysis_of

IMAGE = (3, 32, 32)


def test_file_size(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    analysis = analysis_of("C16 C16:s2 / S8 / G F10")
    save_file(build(analysis.plan).state_dict(), tmp_path / "weights.safetensors")
    content = (tmp_path / "weights.safetensors").read_bytes()
    # The first eight bytes are the length of the header.
    header = int.from_bytes(content[:8], "little")
    assert len(content) - 8 - header == analysis.file_bytes["fp32"]
    assert analysis.file_bytes["fp32"] - analysis.file_bytes["fp16"] == 2 * analysis.parameters


def test_peak_memory_of_a_chain_and_of_a_branch() -> None:
    # The second convolution has 8 input maps and 16 output maps, the maximum.
    assert analysis_of("C8 C16 / G F10", norm="none").peak_activation_bytes == 4 * (8 + 16) * 32 * 32
    # A residual keeps its input until its body has run.
    assert analysis_of("C8 +(C8 C8) / G F10", norm="none").peak_activation_bytes == 4 * (8 + 8 + 8) * 32 * 32


@pytest.mark.parametrize("text", ["C8:k2:d4:s8:p0", "M3:s3 C8:k1:s2", "C4:k2:s5:p0 C8:d2:p0"])
def test_coverage_by_gradients(text: str) -> None:
    analysis = analysis_of(f"{text} / G F10", norm="none", activation="none", bias=False)
    mask = measured.covered_pixels(measured.positive(build(analysis.plan)[:-1]), torch.ones(1, *IMAGE))
    missed = [int((~mask.any(across)).sum()) for across in (1, 0)]
    assert tuple(missed) == analysis.uncovered


def test_repr_is_the_compact_table_with_totals() -> None:
    analysis = analysis_of("C16 C16:s2 / G F10")
    title, *table, totals = repr(analysis).splitlines()
    assert title == "C16 C16:s2 / G F10"
    assert "\n".join(table) == compact_table(analysis)
    assert totals == "2,970 parameters, 1.0 M MACs per image, receptive field 5 pixels"
    assert str(analysis) == repr(analysis)


def test_html_is_escaped() -> None:
    analysis = analysis_of("C16 / G F10")
    row = replace(analysis.rows[0], layer="<script>", notes=("<b>",))
    page = replace(analysis, title="a & b", rows=(row, *analysis.rows[1:]))._repr_html_()
    assert "<script>" not in page
    assert "<b>" not in page
    assert "&lt;script&gt;" in page
    assert "a &amp; b" in page
    assert page.count("<tr>") == 1 + len(compact_table(analysis).splitlines()) - 2
