"""The suggested changes pass the failed check."""

from convsmith.briefs.remedies import dilate_or_stride, narrow
from helpers.nets import analysis_of


def parameters(net: str) -> int:
    return analysis_of(net).parameters


def test_narrow() -> None:
    analysis = analysis_of("C64 C128:s2 C128 / G F10")
    most = 180_000
    assert narrow(analysis, lambda other: other.parameters <= most) == (
        "narrow C128:s2 to C96:s2 at character 5"
    )
    assert parameters("C64 C96:s2 C128 / G F10") <= most < parameters("C64 C104:s2 C128 / G F10")
    assert narrow(analysis, lambda other: other.parameters <= 20_000) == (
        "keep 2/8 of the channels in every layer"
    )
    assert parameters("C16 C32:s2 C32 / G F10") <= 20_000 < parameters("C24 C48:s2 C48 / G F10")
    assert narrow(analysis, lambda _: False) == ""


def test_dilate_or_stride() -> None:
    analysis = analysis_of("C8 C8 C8:s2 / G F10")
    assert dilate_or_stride(analysis, lambda other: (other.receptive_field or 0) >= 9) == (
        "change C8 to C8:d2 at character 1"
    )
    assert analysis_of("C8:d2 C8 C8:s2 / G F10").receptive_field == 9
    assert dilate_or_stride(analysis, lambda _: False) == ""
