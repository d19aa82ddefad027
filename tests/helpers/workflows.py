"""Run a workflow of GitHub Actions step by step, as a runner does, without one."""

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

# What the current environment must not pass on.
_OWN = ("GITHUB_", "RUNNER_", "PYTEST_")


@dataclass(frozen=True)
class Step:
    """A step that has run.

    `uses` is the action of one that runs none of our commands.
    """

    name: str
    code: int = 0
    output: str = ""
    summary: str = ""
    uses: str = ""
    settings: dict[str, Any] = field(default_factory=dict)


def read_workflow(path: Path) -> dict[str, Any]:
    """Return a workflow. YAML 1.1 reads the key `on` as true."""
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {"on" if key is True else key: value for key, value in workflow.items()}


def run_workflow(path: Path, workspace: Path, temporary: Path) -> list[Step]:
    """Run the only job of a workflow in a clone of its repository.

    Args:
        path: The workflow.
        workspace: The clone, `GITHUB_WORKSPACE`.
        temporary: An empty folder, `RUNNER_TEMP`.
    """
    (job,) = read_workflow(path)["jobs"].values()
    assert job["runs-on"] == "ubuntu-latest"
    folder = job.get("defaults", {}).get("run", {}).get("working-directory", ".")
    commands = _commands(temporary / "bin")
    steps: list[Step] = []
    for number, step in enumerate(job["steps"]):
        failed = any(each.code for each in steps)
        if failed and "cancelled()" not in step.get("if", "success()"):
            continue
        name = step.get("name", step.get("uses", ""))
        if "uses" in step:
            steps.append(Step(name, uses=step["uses"], settings=step.get("with", {})))
            continue
        steps.append(
            _run(name, step["run"], workspace / folder, _environment(workspace, temporary, number, commands))
        )
    return steps


def _run(name: str, script: str, folder: Path, environment: dict[str, str]) -> Step:
    file = Path(environment["RUNNER_TEMP"]) / "script.sh"
    file.write_text(script)
    # As the runner starts a step without `shell`.
    done = subprocess.run(
        ["bash", "-e", str(file)],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        check=False,
    )
    summary = Path(environment["GITHUB_STEP_SUMMARY"]).read_text(encoding="utf-8")
    return Step(name, done.returncode, done.stdout, summary)


def _environment(workspace: Path, temporary: Path, number: int, commands: Path) -> dict[str, str]:
    """Return the variables that GitHub documents for every step."""
    files = {
        name: temporary / f"{name.lower()}_{number}"
        for name in ("GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT", "GITHUB_ENV", "GITHUB_PATH")
    }
    for file in files.values():
        file.touch()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OWN)}
    return {
        **kept,
        **{name: str(file) for name, file in files.items()},
        "PATH": f"{commands}:{kept['PATH']}",
        "CI": "true",
        "GITHUB_ACTIONS": "true",
        "GITHUB_WORKSPACE": str(workspace),
        "GITHUB_REPOSITORY": "ada/mnist",
        "GITHUB_EVENT_NAME": "push",
        "GITHUB_REF": "refs/heads/main",
        "GITHUB_JOB": "check",
        "RUNNER_OS": "Linux",
        "RUNNER_TEMP": str(temporary),
    }


def _commands(folder: Path) -> Path:
    """Write the commands that an installation would put on the path; `pip install` records its arguments."""
    folder.mkdir(parents=True)
    python = f'exec "{sys.executable}"'
    scripts = {
        "python": f'if [ "$1 $2 $3" = "-m pip install" ]; then echo "pip: $*"; exit 0; fi\n{python} "$@"\n',
        "convsmith": f'{python} -m convsmith "$@"\n',
    }
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/bash\n{script}")
        (folder / name).chmod(0o755)
    return folder
