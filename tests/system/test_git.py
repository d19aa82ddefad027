"""What a repository says about a folder, against git itself."""

import shutil
import subprocess
from pathlib import Path

import pytest

from convsmith.system.git import github_name, is_ignored, repository_root

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def git(*arguments: str, folder: Path) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@needs_git
def test_the_root_and_the_name_as_git_has_them(tmp_path: Path) -> None:
    root = tmp_path / "repository"
    folder = root / "a" / "b"
    folder.mkdir(parents=True)
    assert repository_root(folder) is None or repository_root(folder) == repository_root(tmp_path)
    git("init", folder=root)
    assert github_name(root) == ""
    git("remote", "add", "fork", "https://github.com/eve/other.git", folder=root)
    assert github_name(root) == "eve/other"
    git("remote", "add", "origin", "git@github.com:ada/mnist.git", folder=root)
    assert github_name(root) == "ada/mnist"
    assert repository_root(folder) == root.resolve()
    assert str(root.resolve()) == git("rev-parse", "--show-toplevel", folder=folder)


@needs_git
def test_ignored_files(tmp_path: Path) -> None:
    git("init", folder=tmp_path)
    (tmp_path / ".gitignore").write_text("*.pth\n")
    assert is_ignored(tmp_path / "net.pth")
    assert not is_ignored(tmp_path / "net.py")


def test_a_folder_that_is_no_repository(tmp_path: Path) -> None:
    assert github_name(tmp_path) == ""
    (tmp_path / ".git").write_text("gitdir: nowhere\n")
    assert github_name(tmp_path) == ""
    assert not is_ignored(tmp_path / "net.pth")
