"""From plan to the source text of a plain PyTorch file that does not import convsmith.

The `Net` in the file has the same `state_dict` keys as the module from `net.module.build`, so weights load
into either. Nothing here needs torch.
"""

from collections.abc import Sequence
from textwrap import wrap

from convsmith.net.analysis import Analysis
from convsmith.net.arithmetic import analyze
from convsmith.net.cells import axes_text
from convsmith.net.layers.convolution import STRIDED_POINTWISE
from convsmith.net.layers.operation import Operation
from convsmith.net.plan import Branch, Plan, Step
from convsmith.net.rows import Row
from convsmith.net.settings import NetSettings

# The default line length of `ruff format` and `black`.
WIDTH = 88
_INDENT = 4

_LOADING = """\
The initial weights are PyTorch's. Load trained weights, which have the same names, with

    from safetensors.torch import load_file

    net = Net()
    net.load_state_dict(load_file("model.safetensors"))
    net.eval()
"""

_SEQUENCE = '''\
def sequence(**layers: nn.Module) -> nn.Sequential:
    """Return a sequence of named layers."""
    net = nn.Sequential()
    for name, layer in layers.items():
        net.add_module(name, layer)
    return net
'''

_RESIDUAL = '''\
class Residual(nn.Module):
    """`projection(x) + body(x)`; without a projection the input is added unchanged."""

    def __init__(self, body: nn.Module, projection: nn.Module | None = None) -> None:
        super().__init__()
        self.body = body
        self.projection = nn.Identity() if projection is None else projection

    def forward(self, maps: Tensor) -> Tensor:
        skip = self.projection(maps)
        return skip + self.body(maps)
'''

_STRIDED_POINTWISE = '''\
class StridedPointwise(nn.Conv2d):
    """A 1x1 convolution with a stride, computed without stride on every n-th pixel.

    On some CPUs the gradient of PyTorch 2.13's strided one writes out of bounds.
    """

    def forward(self, maps: Tensor) -> Tensor:
        rows, columns = self.stride
        maps = maps[:, :, ::rows, ::columns]
        return functional.conv2d(maps, self.weight, self.bias, groups=self.groups)
'''


def source(plan: Plan, notes: Sequence[str] = (), *, alone: bool = True) -> str:
    """Return a net as a Python file.

    Args:
        plan: A net for one input shape `(C, H, W)`.
        notes: Sentences for the docstring of the file, such as how images are normalised.
        alone: Whether the file explains the loading of weights and the notation. In a project, other files
            do.

    Returns:
        The text of the file, formatted as by `ruff format`: the class `Net`, its helpers, and a main part
        that prints the output shape and the number of parameters.

    Example:
        >>> from convsmith.net.notation import parse
        >>> from convsmith.net.plan import plan
        >>> text = source(plan(parse("C8 / G F10"), (3, 32, 32)))
        >>> print(text[text.index("        self.block1") : text.index("        self.block2")])
                self.block1 = sequence(
                    # C8: 8x32x32, receptive field 3
                    conv1=nn.Conv2d(3, 8, 3, padding=1, bias=False),
                    norm1=nn.BatchNorm2d(8),
                    activation1=nn.ReLU(inplace=True),
                )
        <BLANKLINE>
    """
    analysis = analyze(plan)
    branches = any(row.operation == "Add" for row in analysis.rows)
    body = _net_class(plan, analysis, alone=alone)
    strided = f"={STRIDED_POINTWISE}(" in body
    parts = [
        _head(notes, alone=alone),
        "import torch\nfrom torch import Tensor, nn\n"
        + ("from torch.nn import functional\n" if strided else ""),
        _SEQUENCE,
        *([_STRIDED_POINTWISE] if strided else []),
        *([_RESIDUAL] if branches else []),
        body,
        _main(plan),
    ]
    # One empty line after the docstring, two around functions and classes.
    return f"{parts[0]}\n" + "\n\n".join(parts[1:])


def _head(notes: Sequence[str], *, alone: bool) -> str:
    paragraphs = ["\n".join(wrap(note, WIDTH)) + "\n" for note in notes]
    body = "\n".join([_LOADING, *paragraphs] if alone else paragraphs)
    return f'"""A convolutional image classifier in plain PyTorch.\n\n{body}"""\n'


def _net_class(plan: Plan, analysis: Analysis, *, alone: bool) -> str:
    rows = {row.name: row for row in analysis.rows}
    lines = [
        "class Net(nn.Module):",
        *_docstring(plan, analysis, alone=alone),
        "",
        "    def __init__(self) -> None:",
    ]
    lines.append("        super().__init__()")
    for number, block in enumerate(plan.blocks, start=1):
        lines += _sequence(f"self.block{number} = ", block, rows, depth=2)
    lines += ["", "    def forward(self, images: Tensor) -> Tensor:"]
    calls = [
        f"self.block{number}({'x' if number > 1 else 'images'})" for number in range(1, len(plan.blocks) + 1)
    ]
    lines += [*(f"        x = {call}" for call in calls[:-1]), f"        return {calls[-1]}"]
    return "\n".join(lines) + "\n"


def _docstring(plan: Plan, analysis: Analysis, *, alone: bool) -> list[str]:
    shape = ", ".join(map(str, plan.input_shape))
    origin = f"The net in convsmith's notation; settings: {_settings(plan.settings)}."
    paragraphs = [
        str(plan.net),
        origin
        if alone
        else "One word for each layer, a slash between blocks; README.md explains the notation.",
        f"Takes images `(N, {shape})`, returns logits `(N, {plan.num_classes})`.",
        f"{analysis.totals_line()}.",
    ]
    room = WIDTH - _INDENT - 3
    notation, *others = (
        wrap(text, room, break_long_words=False, break_on_hyphens=False) for text in paragraphs
    )
    lines = [f'"""{notation[0]}', *notation[1:], "", *(line for text in others for line in text), '"""']
    return [" " * _INDENT + line if line else "" for line in lines]


def _settings(settings: NetSettings) -> str:
    """The norm, the activation, and all settings that differ from their defaults."""
    texts = [
        f"{name} = {_toml(value)}"
        for name, field in NetSettings.model_fields.items()
        if name in {"norm", "activation"} or getattr(settings, name) != field.default
        for value in (getattr(settings, name),)
    ]
    return ", ".join(texts)


def _toml(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value).lower()


def _main(plan: Plan) -> str:
    shape = ", ".join(map(str, (1, *plan.input_shape)))
    return "\n".join(
        [
            'if __name__ == "__main__":',
            "    net = Net().eval()",
            "    with torch.inference_mode():",
            f"        logits = net(torch.zeros({shape}))",
            '    print("output", tuple(logits.shape))',
            '    print("parameters", sum(each.numel() for each in net.parameters()))',
            "",
        ]
    )


def _sequence(prefix: str, steps: Sequence[Step], rows: dict[str, Row], *, depth: int) -> list[str]:
    """`prefix` and a call of `sequence`, one line for each layer."""
    indent = " " * _INDENT * depth
    lines = [f"{indent}{prefix}sequence("]
    for step in steps:
        lines += _step(step, rows, depth=depth + 1)
    return [*lines, f"{indent}){'' if prefix.endswith(' = ') else ','}"]


def _step(step: Step, rows: dict[str, Row], *, depth: int) -> list[str]:
    indent, name = " " * _INDENT * depth, step.name.rsplit(".", 1)[1]
    if isinstance(step, Branch):
        inner = _sequence("body=", step.body, rows, depth=depth + 1)
        if step.projection:
            inner += _sequence("projection=", step.projection, rows, depth=depth + 1)
        return [f"{indent}{name}=Residual(", *inner, f"{indent}),"]
    function, arguments = step.source()
    line = f"{indent}{name}={function}({', '.join(arguments)}),"
    lines = [line]
    if len(line) > WIDTH:
        split = [f"{indent}{' ' * _INDENT}{argument}," for argument in arguments]
        lines = [f"{indent}{name}={function}(", *split, f"{indent}),"]
    return [*_comment(step, rows[step.name], indent), *lines]


def _comment(operation: Operation, row: Row, indent: str) -> list[str]:
    """A comment with the output shape and receptive field, except for norms and elementwise operations."""
    if row.elementwise or "Norm" in operation.operation:
        return []
    shape = "x".join(map(str, operation.out_shape))
    field = axes_text(row.out_field.sizes) if row.out_field.axes else "full image"
    layer = "projection" if ".projection." in operation.name.removeprefix(row.block) else operation.layer
    part = f", {operation.part}" if operation.part else ""
    return [f"{indent}# {layer}{part}: {shape}, receptive field {field}"]
