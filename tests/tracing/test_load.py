"""Structure, hints, remedies, briefs in files, and modules from files."""

from pathlib import Path

import pytest
import torch
from torch import nn

from convsmith.briefs.checks import RunMetrics, judge
from convsmith.briefs.hints import hints
from convsmith.briefs.loader import brief_names, load_brief
from convsmith.briefs.remedies import dilate_or_stride, narrow
from convsmith.briefs.schema import BlockPattern, Brief
from convsmith.briefs.structure import blocks, count_kind
from convsmith.briefs.verdicts import hint_lines, verdict_lines, verdict_record, verdict_table
from convsmith.errors import FileError, ModuleError, RecipeError
from convsmith.net.analysis import Analysis
from convsmith.net.arithmetic import SpecAnalysis, analyze
from convsmith.net.module import build
from convsmith.net.notation import parse
from convsmith.net.plan import plan
from convsmith.net.settings import NetSettings
from convsmith.recipes.loader import load
from convsmith.tracing.load import load_module
from convsmith.tracing.trace import trace
from helpers import measured, modules

IMAGE = (3, 32, 32)


def spec(net: str, **values: object) -> SpecAnalysis:
    return analyze(plan(parse(net), IMAGE, NetSettings.model_validate(values)))


@pytest.mark.parametrize(
    ("kind", "counts"),
    [
        (modules.ResNet20, {"residual": 9, "strided": 4, "global-average-pooling": 1, "fully-connected": 1}),
        (modules.DenseBlockNet, {"concatenation": 8, "average-pooling": 1, "residual": 0}),
        (modules.InceptionNet, {"concatenation": 2, "max-pooling": 3}),
        (modules.MobileNetBlock, {"depthwise-separable": 3, "residual": 2, "strided": 2}),
        (modules.ConvMixer, {"depthwise-separable": 0, "residual": 4, "strided": 1}),
        (modules.UNet, {"transposed": 2, "max-pooling": 2, "concatenation": 2, "fully-connected": 0}),
        (modules.DirectParameters, {"dilated": 1, "strided": 1, "global-average-pooling": 1}),
        (modules.Functional, {"max-pooling": 1, "average-pooling": 1, "global-average-pooling": 1}),
    ],
)
def test_kinds_of_layer_in_modules(kind: type[nn.Module], counts: dict[str, int]) -> None:
    rows = trace(kind(), IMAGE).rows
    assert {name: count_kind(rows, name) for name in counts} == counts  # type: ignore[arg-type]


def test_a_pool_over_the_whole_map_is_global() -> None:
    analysis = spec("C8:s4 / A8 / F10")
    assert count_kind(analysis.rows, "global-average-pooling") == 1
    assert count_kind(analysis.rows, "average-pooling") == 0


@pytest.mark.parametrize(
    ("net", "sizes", "ends"),
    [
        ("C8 C8 C8:s2 / S8 C8 C8:d2 / G F10", [3, 3], [True, True]),
        ("C8 M2 / D P8 / C10 G", [1, 2, 1], [False, False, False]),
        ("+(C8 C8:s2) / G C10", [3], [True]),
    ],
)
def test_blocks_and_their_ends(net: str, sizes: list[int], ends: list[bool]) -> None:
    found = blocks(spec(net).rows)
    assert [len(block.convolutions) for block in found] == sizes
    assert [block.ends_strided_or_dilated for block in found] == ends


@pytest.mark.parametrize("name", ["cifar10-classic", "cifar10-rmsprop", "cifar10-sprint"])
def test_the_course_brief_passes_on_its_nets(name: str) -> None:
    model = load(name).model
    analysis = analyze(plan(parse(model.net), IMAGE, model))
    names = ("HorizontalFlip", "ShiftScaleRotate", "CoarseDropout")
    checks = judge(
        load_brief("course-cifar10"), analysis, augmentations=names, metrics=RunMetrics(accuracy=0.85)
    )
    assert {check.verdict for check in checks} == {"pass"}
    assert len(checks) == 10


def test_the_mnist_net_fails_the_course_brief_in_many_points() -> None:
    model = load("mnist-classic").model
    analysis = analyze(plan(parse(model.net), (1, 28, 28), model))
    checks = judge(load_brief("course-cifar10-blocks"), analysis, augmentations=("ShiftScaleRotate",))
    assert [check.title for check in checks if check.verdict == "fail"] == [
        "parameters",
        "receptive field",
        "depthwise-separable",
        "dilated",
        "global-average-pooling",
        "no max-pooling",
        "blocks of convolutions",
        "convolutions in each block",
        "stride or dilation at block ends",
        "augmentation HorizontalFlip",
        "augmentation CoarseDropout",
    ]


@pytest.mark.parametrize(
    ("name", "failing"),
    [
        ("cifar10-classic", []),
        ("cifar10-rmsprop", ["convolutions in each block"]),
        ("cifar10-sprint", ["blocks of convolutions", "convolutions in each block"]),
    ],
)
def test_the_block_pattern_of_the_course(name: str, failing: list[str]) -> None:
    model = load(name).model
    analysis = analyze(plan(parse(model.net), IMAGE, model))
    brief = Brief(blocks=load_brief("course-cifar10-blocks").blocks)
    assert [check.title for check in judge(brief, analysis) if check.verdict == "fail"] == failing


def test_a_traced_net_passes_the_pattern_too() -> None:
    def block(inputs: int, outputs: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(inputs, outputs, 3), nn.ReLU(), nn.Conv2d(outputs, outputs, 3, stride=2, padding=1)
        )

    net = nn.Sequential(block(3, 8), block(8, 8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
    brief = Brief(blocks=BlockPattern(count=2, convolutions=2, shrink="strided-or-dilated"))
    assert {check.verdict for check in judge(brief, trace(net, IMAGE))} == {"pass"}


@pytest.mark.parametrize(
    ("field", "number"),
    [
        ("max_activation_bytes", spec("C16 C16:s2 / G F10").peak_activation_bytes),
        ("max_file_bytes", spec("C16 C16:s2 / G F10").file_bytes["fp32"]),
    ],
)
def test_memory_bounds_are_inclusive(field: str, number: int) -> None:
    for bound, verdict in ((number, "pass"), (number - 1, "fail")):
        (check,) = judge(Brief.model_validate({field: bound}), spec("C16 C16:s2 / G F10"))
        assert check.verdict == verdict
        assert bool(check.fix) == (verdict == "fail")


def test_the_file_is_as_large_as_told(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    analysis = spec("C16 C16:s2 / S8 / G F10")
    save_file(build(analysis.plan).state_dict(), tmp_path / "weights.safetensors")
    content = (tmp_path / "weights.safetensors").read_bytes()
    # Eight bytes tell the length of the header.
    header = int.from_bytes(content[:8], "little")
    assert len(content) - 8 - header == analysis.file_bytes["fp32"]
    assert analysis.file_bytes["fp32"] - analysis.file_bytes["fp16"] == 2 * analysis.parameters


def test_peak_memory_of_a_chain_and_of_a_branch() -> None:
    # The second convolution holds 8 maps in and 16 out; elsewhere less is alive.
    assert spec("C8 C16 / G F10", norm="none").peak_activation_bytes == 4 * (8 + 16) * 32 * 32
    # Within a residual the input is kept beside what the body makes.
    assert spec("C8 +(C8 C8) / G F10", norm="none").peak_activation_bytes == 4 * (8 + 8 + 8) * 32 * 32


def test_coverage_of_the_image() -> None:
    (check,) = judge(Brief(full_coverage=True), spec("C8:k1:s2 / G F10"))
    assert (check.verdict, check.actual) == ("fail", "16 and 16 rows and columns are missed")
    (check,) = judge(Brief(full_coverage=True), spec("C8:s2 / G F10"))
    assert check.verdict == "pass"
    # Holes of a dilation are filled by the layer before it.
    assert spec("C8:d3:s3:p0 / G F10").uncovered == (21, 21)
    assert spec("C8 C8:d3:s3:p0 / G F10").uncovered == (0, 0)
    assert spec("C8:k2:d4:s8:p0 / G F10").uncovered == (24, 24)


@pytest.mark.parametrize("text", ["C8:k2:d4:s8:p0", "M3:s3 C8:k1:s2", "C4:k2:s5:p0 C8:d2:p0"])
def test_coverage_by_gradients(text: str) -> None:
    analysis = spec(f"{text} / G F10", norm="none", activation="none", bias=False)
    seen = measured.pixels_seen(measured.positive(build(analysis.plan)[:-1]), torch.ones(1, *IMAGE))
    missed = [int((~seen.any(across)).sum()) for across in (1, 0)]
    assert tuple(missed) == analysis.uncovered


def test_remedies_hold() -> None:
    analysis = spec("C64 C128:s2 C128 / G F10")
    most = 180_000
    text = narrow(analysis, lambda other: other.parameters <= most)
    assert text == "narrow C128:s2 to C96:s2 at character 5"
    assert spec("C64 C96:s2 C128 / G F10").parameters <= most < spec("C64 C104:s2 C128 / G F10").parameters
    text = narrow(analysis, lambda other: other.parameters <= 20_000)
    assert text == "keep 2/8 of the channels in every layer"
    assert spec("C16 C32:s2 C32 / G F10").parameters <= 20_000 < spec("C24 C48:s2 C48 / G F10").parameters
    assert narrow(analysis, lambda _: False) == ""
    text = dilate_or_stride(spec("C8 C8 C8:s2 / G F10"), lambda other: (other.receptive_field or 0) >= 9)
    assert text == "change C8 to C8:d2 at character 1"
    assert spec("C8:d2 C8 C8:s2 / G F10").receptive_field == 9
    assert dilate_or_stride(analysis, lambda _: False) == ""


@pytest.mark.parametrize(
    ("net", "values", "topic", "layer"),
    [
        ("C8:k9*4 C8 / G F10", {}, "beyond the image", "C8 (block1.conv5)"),
        ("C64 C8:s4 / G F10", {}, "bottleneck", "C8:s4 (block1.conv2)"),
        ("C12 C16 / G F10", {}, "vector lanes", "C12 (block1.conv1)"),
        ("C8:o0.1 C8 / G F10", {}, "dropout before batch norm", "C8:o0.1 (block1.dropout1)"),
        ("C8 / G F10", {"bias": True}, "bias before batch norm", "C8 (block1.conv1)"),
    ],
)
def test_hints(net: str, values: dict[str, object], topic: str, layer: str) -> None:
    analysis = spec(net, **values)
    found = [hint for hint in hints(analysis) if hint.topic == topic]
    assert found[0].layer == layer
    assert topic in {hint.topic for hint in hints(trace_of(analysis))}


def trace_of(analysis: SpecAnalysis) -> Analysis:
    net = build(analysis.plan)
    for parent in list(net.modules()):
        for name, child in parent.named_children():
            if type(child).__name__ == "Dropout":
                setattr(parent, name, nn.Dropout(0.1))
    return trace(net, analysis.input_shape)


def test_a_clean_net_has_no_hints() -> None:
    assert hints(spec("C16 C16:s2 C32 / G F10")) == ()


def test_verdicts_as_lines_table_and_record() -> None:
    analysis = spec("C12 C16 / G F10")
    checks = judge(Brief(max_parameters=10, min_accuracy=0.5, forbid=("max-pooling",)), analysis)
    lines = verdict_lines(checks)
    assert lines[0].startswith(" 1. FAIL           parameters     2,")
    assert "NOT APPLICABLE test accuracy  not trained (required: at least 50.00%)" in "\n".join(lines)
    table = verdict_table(checks).splitlines()
    assert "❌ fail" in table[2]
    assert "✅ pass" in table[3]
    values = verdict_record(checks, hints(analysis))
    assert values["passed"] is False
    assert [each["verdict"] for each in values["checks"]] == ["fail", "pass", "not applicable"]
    assert values["hints"][0]["topic"] == "vector lanes"
    (line,) = hint_lines(hints(analysis))
    assert line.startswith("hint: vector lanes: C12 (block1.conv1): 12 channels take as long as 16: ")


def test_briefs_on_the_shelf_and_in_files(tmp_path: Path) -> None:
    sizes = ("course-cifar10-100k", "course-cifar10-31k", "course-cifar10-50k")
    course = ("course-cifar10", *sizes, "course-cifar10-blocks")
    assert brief_names() == (*course, "mlperf-tiny-image-classification")
    plain, blocks_too = load_brief("course-cifar10"), load_brief("course-cifar10-blocks")
    assert blocks_too.model_copy(update={"blocks": None}) == plain
    own = tmp_path / "own.toml"
    own.write_text('extends = "course-cifar10"\nmax_parameters = 5\n')
    assert load_brief(str(own)) == plain.model_copy(update={"max_parameters": 5})
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('brief = "course-cifar10"\n')
    assert load_brief(str(recipe)) == plain
    own.write_text("max_parameter = 5\nmin_accuracy = 2.0\n")
    with pytest.raises(RecipeError) as caught:
        load_brief(str(own))
    assert [(each.where, each.fix) for each in caught.value.problems][1] == (
        "max_parameter",
        "did you mean 'max_parameters'?",
    )
    with pytest.raises(RecipeError, match="unknown brief 'course-cifar'"):
        load_brief("course-cifar")


def test_a_recipe_names_a_brief_and_changes_a_field() -> None:
    recipe = load("digits", ["brief.min_accuracy=0.5", "brief=course-cifar10"])
    assert (recipe.brief.max_parameters, recipe.brief.min_accuracy) == (199_999, 0.5)
    assert load("cifar10-sprint").brief == load_brief("course-cifar10")


MODEL = """
from torch import nn
from helper import WIDTH

class Net(nn.Sequential):
    def __init__(self, classes, width=WIDTH):
        super().__init__(nn.Conv2d(3, width, 3), nn.Flatten(), nn.LazyLinear(classes))

class Broken(nn.Module):
    def __init__(self):
        raise ValueError("no")

net = nn.Conv2d(3, 4, 1)
number = 3
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "helper.py").write_text("WIDTH = 5\n")
    (tmp_path / "model.py").write_text(MODEL)
    return tmp_path / "model.py"


def test_modules_from_a_file(model: Path) -> None:
    assert trace(load_module(f"{model}:Net(7)"), IMAGE).num_outputs == 7
    assert trace(load_module(f"{model}:Net(classes=2, width=3)"), IMAGE).rows[0].width == (3, 3)
    assert trace(load_module(f"{model}:net"), IMAGE).parameters == 16


@pytest.mark.parametrize(
    ("name", "what", "fix"),
    [
        ("Nets", "no class 'Nets' in this file", "did you mean 'Net'?"),
        (
            "Net",
            "cannot be created with these arguments: missing a required argument: 'classes'",
            "model.py:Net(classes=10)'",
        ),
        ("Net(1, 2, 3)", "too many positional arguments", "Net(classes=10)"),
        ("Net(open('x'))", "found \"Net(open('x'))\", expected the name of a class", "model.py:Net"),
        ("Broken", "the constructor of Broken fails: ValueError: no", ""),
        ("number", "no class 'number' in this file", "choose from 'Broken', 'Net'"),
        ("", "found '', expected the name of a class", "model.py:Net"),
    ],
)
def test_a_module_that_cannot_be_made(model: Path, name: str, what: str, fix: str) -> None:
    with pytest.raises(ModuleError) as caught:
        load_module(f"{model}:{name}")
    (problem,) = caught.value.problems
    assert what in problem.what
    assert fix in problem.fix


def test_a_file_that_cannot_be_run(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no such file"):
        load_module(f"{tmp_path}/nowhere.py:Net")
    broken = tmp_path / "broken.py"
    for text, line in (("x = 1\nimport nowhere_at_all\n", 2), ("def f(:\n", 1)):
        broken.write_text(text)
        with pytest.raises(ModuleError) as caught:
            load_module(f"{broken}:Net")
        assert caught.value.problems[0].where == f"{broken}, line {line}"
