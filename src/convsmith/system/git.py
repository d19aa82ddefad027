"""What a git repository says about a folder, from its files: git itself need not be installed."""

import re
import shutil
import subprocess
from pathlib import Path

from convsmith.errors import FileError
from convsmith.system import paths, reading

_MAX_CONFIG = 2**20
_GITHUB = re.compile(
    r"(?:https?://(?:[^@/\s]+@)?|ssh://(?:[^@/\s]+@)?|(?:[^@/\s]+@)?)github\.com(?::\d+)?[/:]"
    r"(?P<owner>[\w-][\w.-]*)/(?P<name>[\w.-]+?)(?:\.git)?/?$",
    re.IGNORECASE,
)


def repository_root(folder: Path) -> Path | None:
    """Return the folder of the repository that a folder is in; None if it is in none."""
    folder = folder.resolve()
    return next((each for each in (folder, *folder.parents) if paths.exists(each / ".git")), None)


def github_name(root: Path) -> str:
    """Return "owner/name" of the remote `origin`, else of another remote, on GitHub; empty without one.

    Args:
        root: The folder of a repository.
    """
    try:
        text = reading.read_text(_config(root), _MAX_CONFIG)
    except FileError:
        return ""
    remotes: dict[str, str] = {}
    section = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            match = re.fullmatch(r'\[remote "(.*)"\].*', line)
            section = match[1] if match else ""
        elif section and (match := re.fullmatch(r"url\s*=\s*(.*)", line)):
            remotes.setdefault(section, match[1].strip('"'))
    for name in sorted(remotes, key=lambda name: name != "origin"):
        if match := _GITHUB.fullmatch(remotes[name]):
            return f"{match['owner']}/{match['name']}"
    return ""


def is_ignored(path: Path) -> bool:
    """Whether git leaves a file out by a rule of `.gitignore`; False where git is not installed."""
    git = shutil.which("git")
    if git is None:
        return False
    command = [git, "-C", str(path.parent), "check-ignore", "-q", "--", path.name]
    done = subprocess.run(command, check=False, capture_output=True, stdin=subprocess.DEVNULL)  # noqa: S603
    return done.returncode == 0


def _config(root: Path) -> Path:
    """Return the file of the settings: in a worktree and a submodule the file `.git` names the folder."""
    entry = root / ".git"
    if paths.is_file(entry):
        named = reading.read_text(entry, _MAX_CONFIG).removeprefix("gitdir:").strip()
        entry = root / named
        common = entry / "commondir"
        if paths.is_file(common):
            entry /= reading.read_text(common, _MAX_CONFIG).strip()
    return entry / "config"
