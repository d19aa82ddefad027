"""The nets of a submission: where they are created, which of them is the hand-in, what equal ones share."""

from pathlib import Path

import pytest
import torch

from convsmith.grading.choice import Choice, choose
from convsmith.grading.discovery import Candidate
from convsmith.grading.files import MOST, files_of
from convsmith.grading.signatures import source_of, structure_of, weights_of
from convsmith.grading.uses import Use, uses_in
from convsmith.modules.reference import parse_reference
from convsmith.modules.source_text import parse_python
from convsmith.net.arithmetic import analyze_notation


def candidate(reference: str, structure: str = "", *, trained: bool = False, fits: bool = True) -> Candidate:
    parsed = parse_reference(reference)
    use = Use(file="S7.ipynb", place="cell 1, line 1", name=parsed.name, trained=True)
    return Candidate(
        reference=parsed,
        parameters=100,
        fits=fits,
        structure=structure or reference,
        source=structure or reference,
        uses=(use,) if trained else (),
    )


def chosen(*candidates: Candidate, several: bool = False, weights: str = "", passing: str = "") -> Choice:
    return choose(candidates, several=several, weights=[weights], passes=lambda each: each.name == passing)


def names(choice: Choice) -> list[str]:
    return [each.name for each in choice.nets]


NET, OLD, OTHER = (candidate(f"model.py:{name}") for name in ("Tiny", "Old", "Other"))


def test_the_evidence_in_its_order() -> None:
    assert names(chosen(NET)) == ["model.py:Tiny"]
    assert names(chosen(NET, OLD, weights="model.py:Old", passing="model.py:Tiny")) == ["model.py:Old"]
    trained = candidate("model.py:Other", trained=True)
    assert names(chosen(NET, OLD, trained, passing="model.py:Old")) == ["model.py:Other"]
    assert names(chosen(NET, OLD, passing="model.py:Old")) == ["model.py:Old"]
    assert names(chosen(NET, candidate("model.py:Net"))) == ["model.py:Net"]


def test_without_evidence_none_is_chosen() -> None:
    choice = chosen(NET, OLD)
    assert choice.nets == ()
    assert choice.problem == "2 nets fit, and nothing says which is the hand-in: model.py:Tiny, model.py:Old"


def test_equal_nets_are_one_and_the_python_file_names_it() -> None:
    copies = (
        candidate("S7.ipynb:Net", "same"),
        candidate("old/model.py:Net", "same"),
        candidate("model.py:Net", "same"),
    )
    assert names(chosen(*copies)) == ["model.py:Net"]


def test_steps_are_those_with_numbers_though_two_are_equal() -> None:
    nets = [candidate(f"model.py:Model_{number}", "same") for number in (10, 2, 1)]
    assert names(chosen(*nets, candidate("model.py:Helper"), several=True)) == [
        "model.py:Model_1",
        "model.py:Model_2",
        "model.py:Model_10",
    ]


def test_steps_in_files_of_their_own() -> None:
    nets = [candidate(f"model_{number}.py:Net", f"{number // 2}") for number in (1, 2, 3)]
    copy = candidate("S7.ipynb:Net", "1")
    assert names(chosen(*nets, copy, several=True)) == [f"model_{number}.py:Net" for number in (1, 2, 3)]


def test_no_net_fits() -> None:
    wrong = candidate("model.py:Wide", fits=False)
    assert names(chosen(wrong)) == ["model.py:Wide"]
    both = chosen(wrong, candidate("model.py:Deep", fits=False))
    assert both.nets == ()
    assert both.problem.startswith("none of 2 nets fits")
    assert chosen().problem == "no net was found: no class derives from torch.nn.Module"


def uses(text: str) -> list[tuple[str, str, str, bool]]:
    source = parse_python(text.encode(), "main.py")
    return [(use.name, use.call, use.origin, use.trained) for use in uses_in(source, "main.py")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("from nets.model_2 import Net\nnet = Net().to('cpu')\ntrain(net)", ("Net", "", "model_2", True)),
        ("from model import *\nnet = Net(8)\n", ("Net", "(8)", "model", False)),
        ("import nets.model_3 as m\nnet = m.Net(0.1).to('cpu')", ("Net", "(0.1)", "model_3", False)),
        ("from models import resnet\nnet = resnet.Net(4)", ("Net", "(4)", "resnet", False)),
        ("import models\nnet = models.Net(norm='bn')", ("Net", "(norm='bn')", "models", False)),
        ("def main():\n    net = Net()\n    opt = Adam(net.parameters())", ("Net", "", "", True)),
        ("if __name__ == '__main__':\n    Net()", ("Net", "", "", False)),
    ],
)
def test_calls_that_create_nets(text: str, expected: tuple[str, str, str, bool]) -> None:
    assert expected in uses(text)


def test_calls_in_classes_and_tests_create_no_hand_in() -> None:
    assert uses("class Net(Module):\n    def __init__(self):\n        self.block = Block(8)") == []
    source = parse_python(b"net = Net()", "tests/test_model.py")
    for file in ("tests/test_model.py", "Test/a.py", "test_net.ipynb", "conftest.py"):
        assert uses_in(source, file) == []
    # Not a test by its name.
    for file in ("latest_model.py", "contests/a.py"):
        assert len(uses_in(source, file)) == len(uses_in(source, "model.py"))


def source_hash(text: str, name: str = "Net") -> str:
    return source_of(parse_python(text.encode(), "model.py"), name)


TEXT = (
    "class Net(nn.Module):\n    def __init__(self):\n        self.a = Block(8)\n\n"
    "class Block(nn.Module):\n    width = 3\n"
)


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("self.a", "self.conv", True),
        ("Block", "Piece", True),
        ("width", "size", True),
        ("    width = 3", "    # mine\n    width  =  3", True),
        ("class Net", "import os\nclass Net", True),
        ("8", "9", False),
        ("width = 3", "width = 4", False),
        ("nn.Module", "nn.Sequential", False),
    ],
)
def test_source_text_without_names(old: str, new: str, *, same: bool) -> None:
    assert (source_hash(TEXT.replace(old, new)) == source_hash(TEXT)) is same


def test_structure_follows_settings_and_connections() -> None:
    def structure(net: str) -> str:
        return structure_of(analyze_notation(net, (1, 8, 8)))

    nets = ["C8 C8 / G F10", "C8 C8:d2 / G F10", "C8 C9 / G F10", "C8 C8 / F10"]
    hashes = {structure(net) for net in nets}
    assert len(hashes) == 4
    assert structure(nets[0]) == structure(nets[0])


def test_weights_without_names_and_order() -> None:
    generator = torch.Generator().manual_seed(0)
    one, two = torch.randn(3, 4, generator=generator), torch.randn(5, generator=generator)
    assert weights_of({"a": one, "b": two}) == weights_of({"x": two, "y": one})
    assert weights_of({"a": one, "b": two}) == weights_of({"a": one, "n.num_batches_tracked": one, "b": two})
    assert weights_of({"a": one, "b": two}) != weights_of({"a": one, "b": two + 1e-6})
    assert weights_of({"a": one}) != weights_of({"a": one.reshape(4, 3)})


def test_files_by_kind(tmp_path: Path) -> None:
    for name in ("README.md", "b/net.pth", "a10.py", "a9.py", "venv/lib.py", ".git/x.py", "deep/er/S7.ipynb"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "link.py").symlink_to(tmp_path / "a9.py")
    files = files_of(tmp_path)
    assert files.code == ("a9.py", "a10.py", "deep/er/S7.ipynb")
    assert (files.weights, files.texts, files.count) == (("b/net.pth",), ("README.md",), 5)
    assert files.notes == ("links and special files were left out: 1",)


def test_a_folder_that_is_too_deep_is_named(tmp_path: Path) -> None:
    folder = tmp_path.joinpath(*"abcdefghij")
    folder.mkdir(parents=True)
    (folder / "model.py").touch()
    files = files_of(tmp_path)
    assert (files.count, files.notes) == (0, ("folders more than 8 levels down were not read",))


def test_many_files_are_read_up_to_a_limit(tmp_path: Path) -> None:
    for number in range(MOST + 1):
        (tmp_path / f"{number}.py").touch()
    files = files_of(tmp_path)
    assert len(files.code) == MOST
    assert files.notes == (f"{MOST + 1} files of code: the first {MOST} were read",)
