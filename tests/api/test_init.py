"""A student's repository with a brief, a workflow and a badge; the workflow run step by step."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

import convsmith as cs
from convsmith.briefs.loader import load_brief
from convsmith.cli import run as run_command
from convsmith.errors import FileError, ModuleError, RecipeError
from convsmith.modules.load import load_module
from helpers.github import annotations
from helpers.junit import check_junit
from helpers.workflows import read_workflow, run_workflow

CODE = """from torch import nn


class Net(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.conv = nn.Conv2d(1, width, 3, padding=1)
        self.fc = nn.Linear(width, 10)

    def forward(self, x):
        return self.fc(self.conv(x).relu().mean((2, 3)))
"""
BRIEF = 'max_parameters = 100\nrequire = ["global-average-pooling"]\nmin_accuracy = 0.999\n'
CONFIG = '[core]\n\tbare = false\n[remote "origin"]\n\turl = git@github.com:ada/mnist.git\n'


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A student's repository, as the working directory."""
    for name in [name for name in os.environ if name.startswith("GITHUB_")]:
        monkeypatch.delenv(name)
    folder = tmp_path / "repository"
    (folder / ".git").mkdir(parents=True)
    (folder / ".git" / "config").write_text(CONFIG)
    monkeypatch.chdir(folder)
    Path("model.py").write_text(CODE)
    torch.manual_seed(0)
    torch.save(load_module("model.py:Net").create().state_dict(), "net.pth")
    (tmp_path / "task.toml").write_text(BRIEF)
    return folder


def test_the_files_and_the_badge(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["init", "--ci", "course-a3-mnist-25k", "--data", "mnist"]) == 0
    output = capsys.readouterr().out
    address = "https://github.com/ada/mnist/actions/workflows/convsmith.yml"
    assert output.splitlines()[-1] == f"[![convsmith]({address}/badge.svg)]({address})"
    assert "now: model.py:Net: " in output
    assert load_brief("brief.toml") == load_brief("course-a3-mnist-25k")
    workflow = read_workflow(Path(".github/workflows/convsmith.yml"))
    assert workflow["on"] == {"push": None, "pull_request": None}
    assert workflow["permissions"] == {"contents": "read"}
    steps = workflow["jobs"]["check"]["steps"]
    uses = [step["uses"] for step in steps if "uses" in step]
    assert [each.split("@")[0] for each in uses] == [
        "actions/checkout",
        "actions/setup-python",
        "actions/upload-artifact",
    ]
    assert all(re.fullmatch(r"[\w/-]+@v\d+", each) for each in uses)
    assert f"convsmith=={cs.__version__}" in steps[2]["run"]
    # A second time nothing changes, and nothing is replaced.
    assert run_command(["init", "--ci", "brief.toml", "--data", "mnist"]) == 0


def test_existing_files_are_kept_without_force(repository: Path) -> None:
    Path("brief.toml").write_text("max_parameters = 3\n")
    with pytest.raises(FileError, match="another file exists already"):
        cs.init(ci="../task.toml", input_shape="1x8x8")
    assert Path("brief.toml").read_text() == "max_parameters = 3\n"
    assert not Path(".github").exists()
    cs.init(ci="../task.toml", input_shape="1x8x8", force=True)
    assert load_brief("brief.toml") == load_brief("../task.toml")


def test_a_brief_that_extends_another_is_copied_whole(repository: Path) -> None:
    Path("own.toml").write_text('extends = "course-cifar10"\nmax_parameters = 90000\nmin_accuracy = false\n')
    cs.init(ci="own.toml", nets=["C8:d2 / G F10"], input_shape="3x32x32")
    assert "extends" not in Path("brief.toml").read_text()
    assert load_brief("brief.toml") == load_brief("own.toml")


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("git@github.com:ada/era-v1.git", "ada/era-v1"),
        ("https://github.com/ada/era.v1", "ada/era.v1"),
        ("https://token@github.com/ada/era-v1.git/", "ada/era-v1"),
        ("ssh://git@github.com:22/ada/era-v1.git", "ada/era-v1"),
        ("https://gitlab.com/ada/era-v1.git", "OWNER/REPO"),
        ("/srv/git/era-v1.git", "OWNER/REPO"),
    ],
)
def test_the_remote_of_the_badge(repository: Path, url: str, name: str) -> None:
    (repository / ".git" / "config").write_text(
        f'[remote "fork"]\n\turl = https://example.com/x\n[remote "origin"]\n\turl = {url}\n[branch "b"]\n'
    )
    badge = cs.init(ci="../task.toml", input_shape="1x8x8").badge
    assert f"https://github.com/{name}/actions/" in badge


def test_a_worktree_has_its_settings_elsewhere(repository: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "model.py").write_text(CODE)
    inner = repository / ".git" / "worktrees" / "tree"
    inner.mkdir(parents=True)
    (inner / "commondir").write_text("../..\n")
    (tree / ".git").write_text(f"gitdir: {inner}\n")
    assert "ada/mnist" in cs.init(tree, ci="../task.toml", input_shape="1x8x8").badge


@pytest.mark.parametrize(
    ("arguments", "kind", "text"),
    [
        ({"ci": "nix"}, RecipeError, "unknown brief 'nix'"),
        ({"ci": "../task.toml"}, RecipeError, "the images of the task are not known"),
        ({"ci": "../task.toml", "folder": "no"}, FileError, "no such folder"),
        ({"ci": "../task.toml", "input_shape": "1x8x8", "nets": ["model.py:Nit"]}, ModuleError, "Nit"),
        ({"ci": "../task.toml", "input_shape": "1x8x8", "train": True}, RecipeError, "need images"),
        (
            {"ci": "../task.toml", "input_shape": "1x8x8", "data": "digits"},
            RecipeError,
            "a shape of their own",
        ),
        ({"ci": "../task.toml", "data": "digits", "weights": ["no.pth"]}, FileError, "no.pth"),
        ({"ci": "../task.toml", "data": "digits", "weights": ["other.pth"]}, ModuleError, "conv.weight"),
        (
            {"ci": "../task.toml", "data": "digits", "weights": ["net.pth"] * 2},
            RecipeError,
            "2 files of weights",
        ),
        ({"ci": "../task.toml", "data": "../images"}, FileError, "not in the repository"),
        (
            {"ci": "../task.toml", "data": "digits", "weights": ["net.pth"], "train": True},
            RecipeError,
            "of its own",
        ),
    ],
)
def test_mistakes_write_nothing(
    repository: Path, arguments: dict[str, object], kind: type[Exception], text: str
) -> None:
    Path("../images").mkdir()
    torch.save(load_module("model.py:Net(width=4)").create().state_dict(), "other.pth")
    with pytest.raises(kind) as error:
        cs.init(**arguments)  # type: ignore[arg-type]
    assert text in str(error.value)
    assert not Path(".github").exists()
    assert not Path("brief.toml").exists()


def test_several_nets_are_listed(repository: Path) -> None:
    Path("model.py").write_text(
        CODE + "\n\nclass Model_2(Net):\n    pass\n\n\nclass Wide(Net):\n"
        "    def __init__(self, width):\n        super().__init__(width)\n"
    )
    Path("test_model.py").write_text("from torch.nn import Module\nraise SystemExit\n")
    with pytest.raises(ModuleError) as error:
        cs.init(ci="../task.toml", input_shape="1x8x8")
    message = str(error.value)
    assert "found 2 nets, expected one" in message
    assert "model.py:Net: 170 parameters" in message
    assert "model.py:Wide(width): needs arguments" in message
    assert "--net model.py:" in message
    setup = cs.init(ci="../task.toml", input_shape="1x8x8", nets=["model.py:Net", "model.py:Model_2"])
    assert [re.sub(r"\d checks", "n checks", each) for each in setup.outcomes] == [
        "model.py:Net: 1 of n checks failed",
        "model.py:Model_2: 1 of n checks failed",
    ]
    Path("model.py").write_text("x = 1  # Module\n")
    with pytest.raises(ModuleError, match="found no net"):
        cs.init(ci="../task.toml", input_shape="1x8x8")


def test_a_name_that_github_would_replace_is_refused(repository: Path) -> None:
    shutil.copy("model.py", "${{ x }}.py")
    with pytest.raises(RecipeError, match="cannot stand in a workflow"):
        cs.init(ci="../task.toml", input_shape="1x8x8", nets=["${{ x }}.py:Net"])


def git(*arguments: str, folder: Path) -> None:
    names = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", *names, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
@pytest.mark.parametrize("place", [".", "Session 7, final"])
def test_the_workflow_runs_in_a_clone(repository: Path, tmp_path: Path, place: str) -> None:
    """Only what is committed is in the clone, and the annotations name lines of its files."""
    shutil.rmtree(".git")
    git("init", folder=repository)
    folder = repository / place
    folder.mkdir(exist_ok=True)
    if place != ".":
        shutil.move("model.py", folder)
        shutil.move("net.pth", folder)
    Path(".gitignore").write_text("*.pth\n")
    setup = cs.init(place, ci=str(tmp_path / "task.toml"), data="digits", weights=["net.pth"])
    assert any("net.pth is left out by .gitignore" in note for note in setup.notes)
    git("add", "-f", ".", folder=repository)
    git("commit", "-m", "All", folder=repository)
    clone = tmp_path / "clone"
    git("clone", str(repository), str(clone), folder=tmp_path)
    path = clone / setup.files[1].relative_to(repository)
    steps = run_workflow(path, clone, tmp_path / "runner")

    checkout, python, install, check, upload = steps
    assert (checkout.uses, python.uses) == ("actions/checkout@v6", "actions/setup-python@v6")
    assert f"convsmith=={cs.__version__}" in install.output
    assert (install.code, check.code) == (0, 1), check.output

    shown = annotations(check.output)
    errors = [each for each in shown if each.name == "error"]
    assert [each.properties["title"] for each in errors] == ["parameters", "test accuracy"]
    for each in errors:
        source = (clone / each.properties["file"]).read_text().splitlines()
        assert source[int(each.properties["line"]) - 1] == "class Net(nn.Module):"
        assert re.match(r"found .*, required .*\nfix: ", each.message)
    assert errors[0].message.startswith("found 170, required at most 100")
    # Untrained weights: their accuracy is near chance.
    assert any(each.name == "warning" and "near chance" in each.message for each in shown)
    # One line for each command, with nothing but the documented parameters.
    lines = [line for line in check.output.splitlines() if line.startswith("::")]
    assert len(lines) == len(shown)
    for line in lines:
        assert re.fullmatch(
            r"::(error|warning|notice)( (file|line|title)=[^,:]*(,(file|line|title)=[^,:]*)*)?::.*", line
        )

    assert upload.uses == "actions/upload-artifact@v6"
    report, junit = upload.settings["path"].split("\n")[:2]
    assert (clone / report).read_text("utf-8").endswith(check.summary)
    (suite,) = check_junit((clone / junit).read_text("utf-8"))
    titles = [case.get("name") for case in suite.findall("testcase")]
    assert re.match(rf"## ❌ model.py:Net: 2 of {len(titles)} checks failed\n", check.summary)
    table = [line for line in check.summary.splitlines() if line.startswith("|")]
    assert len({line.count(" | ") for line in table}) == 1
    assert [line.split(" | ")[2].strip() for line in table[2:]] == titles


@pytest.mark.slow
def test_a_workflow_that_trains(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "task.toml").write_text(
        'epochs = [1, 2]\nmin_accuracy = 0.01\nforbid = ["fully-connected"]\n'
    )
    setup = cs.init(ci=str(tmp_path / "task.toml"), data="digits", train=True)
    steps = run_workflow(setup.files[1], repository, tmp_path / "runner")
    check = steps[3]
    assert check.code == 1, check.output
    (error,) = (each for each in annotations(check.output) if each.name == "error")
    assert error.properties["file"] == "model.py"
    assert "Epoch 2" in check.output
    assert "test accuracy" in check.summary
