"""Compare inspectors of nets with measured numbers: right, wrong, none, or an error.

Runs convsmith and those of `torchinfo`, `torchscan`, `ptflops` and `fvcore` that are installed. The reference
is measured: parameters by counting each tensor once, multiply-accumulates by PyTorch's FLOP counter, the
receptive field before the head by gradients.
"""

import io
import logging
import sys
import time
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from convsmith.evaluation.receptive_field import last_map
from convsmith.net import source
from convsmith.net.arithmetic import analyze
from convsmith.net.cells import axes_text
from convsmith.net.notation import parse
from convsmith.net.plan import plan
from convsmith.recipes.loader import load
from convsmith.text import markdown_table
from convsmith.tracing.trace import trace

# The nets and the measurements are those of the tests.
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from helpers import measured, modules

COURSE_NETS = {"cifar10-classic": (3, 32, 32), "cifar10-rmsprop": (3, 32, 32), "mnist-classic": (1, 28, 28)}
PEERS = ("torchinfo", "torchscan", "ptflops", "fvcore")
QUANTITIES = ("parameters", "MACs", "receptive field")
Shape = tuple[int, int, int]
Features = Callable[[nn.Module, Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Net:
    """A net under inspection."""

    name: str
    make: Callable[[], nn.Module]
    features: Features
    input_shape: Shape


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The output of an inspector. None: not reported; `warned`: reported as incomplete."""

    parameters: int | None = None
    macs: int | None = None
    field: tuple[int, ...] | None = None
    warned: bool = False
    error: str = ""


def main() -> str:
    tools = {"convsmith": convsmith, **{name: TOOLS[name] for name in PEERS if installed(name)}}
    nets = [*course_nets(), *(family(module) for module in modules.ALL)]
    truths = {net.name: truth(net) for net in nets}
    answers = {(net.name, tool): inspect(run, net) for net in nets for tool, run in tools.items()}
    missing = [name for name in PEERS if name not in tools]
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", *tools))
    note = f"\n\nNot installed: {', '.join(missing)}." if missing else ""
    tables = [f"**{quantity}**\n\n{table(quantity, truths, answers, list(tools))}" for quantity in QUANTITIES]
    return "\n\n".join([f"{time.strftime('%Y-%m-%d', time.gmtime())}; {versions}.{note}", *tables])


def installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


# The nets.


def course_nets() -> Iterator[Net]:
    """Yield the nets of the course projects as `convsmith export --code` writes them: plain modules."""
    for name, input_shape in COURSE_NETS.items():
        model = load(name).notation
        planned = plan(parse(model.net), input_shape, model)
        written = types.ModuleType(name)
        exec(source.source(planned), written.__dict__)  # noqa: S102 - the text is ours
        features = output_of(last_map(analyze(planned)).name)
        yield Net(name=name, make=written.__dict__["Net"], features=features, input_shape=input_shape)


def family(module: type[nn.Module]) -> Net:
    def features(net: nn.Module, images: Tensor) -> Tensor:
        maps: Tensor = net.features(images)  # type: ignore[operator]
        return maps

    return Net(name=module.__name__, make=module, features=features, input_shape=(3, 32, 32))


def output_of(layer: str) -> Features:
    """Return a function that computes the output of a submodule; later layers need not fit the images."""

    class OutputReached(Exception):  # noqa: N818 - carries a result
        def __init__(self, maps: Tensor) -> None:
            self.maps = maps

    def stop(_: nn.Module, __: Any, output: Tensor) -> None:
        raise OutputReached(output)

    def features(net: nn.Module, images: Tensor) -> Tensor:
        hook = net.get_submodule(layer).register_forward_hook(stop)
        try:
            net(images)
        except OutputReached as reached:
            return reached.maps
        finally:
            hook.remove()
        raise AssertionError(layer)

    return features


def truth(net: Net) -> Answer:
    module = net.make()
    field = measured.receptive_field(module, net.features, channels=net.input_shape[0])
    return Answer(
        parameters=measured.parameters(module), macs=measured.macs(module, net.input_shape), field=field
    )


# The inspectors.


def inspect(run: Callable[[nn.Module, Shape], Answer], net: Net) -> Answer:
    """Run an inspector, which may print, warn and fail."""
    with quiet():
        try:
            return run(net.make().eval(), net.input_shape)
        except Exception as error:  # noqa: BLE001 - any failure of a tool is its result
            return Answer(error=f"{type(error).__name__}: {' '.join(str(error).split())[:80]}")


@contextmanager
def quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def convsmith(net: nn.Module, input_shape: Shape) -> Answer:
    analysis = trace(net, input_shape)
    return Answer(
        parameters=analysis.parameters,
        macs=analysis.known_macs,
        field=analysis.final_receptive_field.sizes or None,
        warned=bool(analysis.unknown_macs),
    )


def torchinfo(net: nn.Module, input_shape: Shape) -> Answer:
    summary = import_module("torchinfo").summary(net, input_size=(1, *input_shape), verbose=0)
    return Answer(parameters=summary.total_params, macs=summary.total_mult_adds)


def torchscan(net: nn.Module, input_shape: Shape) -> Answer:
    # The "receptive field" of 0.2.0 is the window of each single layer.
    totals = import_module("torchscan").crawl_module(net, input_shape)["totals"]
    macs = totals["macs"]
    return Answer(
        parameters=totals["parameters"]["value"],
        macs=macs["known_value"],
        warned=macs["status"] != "complete",
    )


def ptflops(net: nn.Module, input_shape: Shape) -> Answer:
    count = import_module("ptflops").get_model_complexity_info
    counts = count(net, input_shape, as_strings=False, print_per_layer_stat=False)
    if counts[0] is None:
        return Answer(error="it gives up")
    return Answer(parameters=int(counts[1]), macs=int(counts[0]))


def fvcore(net: nn.Module, input_shape: Shape) -> Answer:
    counting = import_module("fvcore.nn")
    # fvcore counts a multiply-accumulate as one flop.
    flops = counting.FlopCountAnalysis(net, torch.zeros(1, *input_shape))
    macs = int(flops.total())
    skipped = any("conv" in name or "mm" in name for name in flops.unsupported_ops())
    return Answer(parameters=counting.parameter_count(net)[""], macs=macs, warned=skipped)


TOOLS: dict[str, Callable[[nn.Module, Shape], Answer]] = {
    "torchinfo": torchinfo,
    "torchscan": torchscan,
    "ptflops": ptflops,
    "fvcore": fvcore,
}


# The verdicts.


def table(
    quantity: str, truths: dict[str, Answer], answers: dict[tuple[str, str], Answer], tools: list[str]
) -> str:
    """Return one row per net, one column per inspector, and how often each is right."""
    right = dict.fromkeys(tools, 0)
    rows = []
    for name, expected in truths.items():
        cells = []
        for tool in tools:
            cell = verdict(quantity, answers[name, tool], expected)
            right[tool] += cell == "right"
            cells.append(cell)
        rows.append([name, _format(quantity, expected), *cells])
    rows.append(["right", "", *(f"{count} of {len(truths)}" for count in right.values())])
    return markdown_table(["net", "measured", *tools], rows)


def verdict(quantity: str, answer: Answer, expected: Answer) -> str:
    """Return one cell: right, or the deviation.

    >>> verdict("MACs", Answer(macs=99), Answer(macs=90))
    '+10 %'
    >>> verdict("receptive field", Answer(field=(9,)), Answer(field=(9, 9)))
    'right'
    """
    if answer.error:
        return f"fails: {answer.error}"
    if quantity == "receptive field":
        if answer.field is None or expected.field is None:
            return "none"
        # One number applies to both axes.
        both = answer.field * 2 if len(answer.field) == 1 else answer.field
        return "right" if both == expected.field else axes_text(both)
    value, true = (each.parameters if quantity == "parameters" else each.macs for each in (answer, expected))
    if value is None or true is None:
        return "none"
    if value == true:
        return "right"
    off = 100 * (value - true) / true
    note = ", reported" if answer.warned and quantity == "MACs" else ""
    return f"{off:+.0f} %{note}" if abs(off) >= 10 else f"{off:+.2g} %{note}"


def _format(quantity: str, answer: Answer) -> str:
    if quantity == "receptive field":
        return axes_text(answer.field or ())
    return f"{answer.parameters if quantity == 'parameters' else answer.macs:,}"
