"""Nets for tests: random notations for property tests, and modules from source text."""

import os
import types

from hypothesis import assume
from hypothesis import strategies as st
from torch import nn

from convsmith.errors import ShapeError
from convsmith.net.arithmetic import SpecAnalysis, analyze_notation
from convsmith.net.notation import parse
from convsmith.net.plan import Plan, plan
from convsmith.net.settings import NetSettings


def examples(count: int) -> int:
    """Return the number of examples of a property test: all with `make test-all`, else an eighth."""
    return count if os.environ.get("CONVSMITH_ALL_TESTS") else max(count // 8, 20)


def _convolution(draw: st.DrawFn, *, keep_size: bool) -> str:
    kind = draw(st.sampled_from("CSDP"))
    width = "" if kind == "D" else str(2 * draw(st.integers(1, 4)))
    text = f"{kind}{width}"
    if kind != "P":
        text += f":k{draw(st.sampled_from([1, 3, 5]))}"
        if draw(st.booleans()):
            text += f":d{draw(st.integers(1, 3))}"
        if not keep_size and draw(st.booleans()):
            text += f":p{draw(st.integers(0, 3))}"
    if kind in "CP" and draw(st.booleans()):
        text += ":g2"
    if not keep_size and draw(st.booleans()):
        text += ":s2"
    if draw(st.integers(0, 4)) == 0:
        text += draw(st.sampled_from([":n0", ":agelu", ":anone", ":n1:asilu"]))
    return text


@st.composite
def layers(draw: st.DrawFn) -> str:
    """Draw an item that fits an even number of channels."""
    choice = draw(st.integers(0, 7))
    if choice == 0:
        return draw(st.sampled_from(["M2", "A2", "M3:s2:p1", "M3:s1:p1", "A3:s2"]))
    if choice == 1:
        inner = " ".join(_convolution(draw, keep_size=True) for _ in range(draw(st.integers(1, 2))))
        times = f"*{draw(st.integers(2, 3))}" if draw(st.booleans()) else ""
        return f"+({inner}){draw(st.sampled_from(['', '', ':arelu', ':asilu']))}{times}"
    return _convolution(draw, keep_size=False)


@st.composite
def notations(draw: st.DrawFn) -> str:
    """Draw a net for an input with an even number of channels and about 64 pixels a side."""
    blocks = [
        " ".join(draw(layers()) for _ in range(draw(st.integers(1, 3))))
        for _ in range(draw(st.integers(1, 2)))
    ]
    head = draw(st.sampled_from(["G F10", "G P10", "P10 G", "F6 F10"]))
    return " / ".join([*blocks, head])


net_settings = st.builds(
    NetSettings,
    bias=st.sampled_from([True, False, "auto"]),
    norm=st.sampled_from(["batch", "group", "layer", "instance", "none"]),
    norm_groups=st.sampled_from([1, 2]),
    activation=st.sampled_from(["relu", "gelu", "silu", "leaky-relu", "hardswish", "none"]),
    order=st.sampled_from(["conv-norm-activation", "conv-activation-norm"]),
    classifier_norm=st.booleans(),
    dropout=st.sampled_from([0.0, 0.1]),
    dropout_at=st.sampled_from(["layer", "block", "classifier"]),
)


def legal(text: str, config: NetSettings, shape: tuple[int, int, int] = (2, 40, 40)) -> Plan:
    """Return the plan of a random net; discard a net that does not fit its input."""
    try:
        return plan(parse(text), shape, config)
    except ShapeError:
        assume(condition=False)
        raise


def analysis_of(net: str, **settings: object) -> SpecAnalysis:
    """Analyse a notation for images of 3x32x32."""
    return analyze_notation(net, (3, 32, 32), NetSettings.model_validate(settings))


def net_from_source(text: str) -> nn.Module:
    """Create the `Net` of a source text."""
    module = types.ModuleType("model")
    exec(compile(text, "model.py", "exec"), module.__dict__)  # noqa: S102 - the text is convsmith's own
    net: nn.Module = module.__dict__["Net"]()
    return net
