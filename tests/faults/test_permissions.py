"""Missing permissions: every command, every file and folder, as a user who is not the superuser."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.paths import HELPERS
from helpers.permissions import prepare

# The user and group that own nothing.
NOBODY = 65534


@pytest.fixture
def base(tiny_run: Path, tiny_bundle: Path) -> Iterator[Path]:
    """A folder of another user; pytest's own folders are the superuser's alone."""
    # The path must not have the name of this user's folder.
    folder = Path(tempfile.mkdtemp(prefix="permissions-"))
    prepare(folder, tiny_run, tiny_bundle)
    if os.geteuid() == 0:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() == 0 and not shutil.which("setpriv"), reason="there is no other user")
def test_a_missing_permission_is_named_by_every_command(base: Path) -> None:
    other = [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    command = [sys.executable, str(HELPERS / "permissions.py"), str(base)]
    environment = {
        **os.environ, "HOME": str(base), "TMPDIR": str(base / "tmp"), "MPLCONFIGDIR": str(base / "tmp"),
        "CONVSMITH_CACHE": str(base / "cache"), "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(HELPERS.parent), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }  # fmt: skip
    done = subprocess.run(
        ["setpriv", *other, *command] if os.geteuid() == 0 else command,
        check=False, capture_output=True, text=True, cwd=base, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    wrong = []
    for path, mode, arguments, code, err in answers:
        named = re.match(r"error\[E0\d\d\]: \S", err) and "\n  fix: " in err
        named = named and ("ermission denied" in err or path in err or str(Path(path).parent) in err)
        # What a complete run answers to `resume`, and equal runs to `compare`, whatever the permissions.
        as_ever = "already complete" in err or "listed twice" in err
        if code not in {0, 1} and not (code == 2 and (named or as_ever)):
            wrong.append(f"{path} {mode:o} {' '.join(arguments)}: {code}\n{err}")
    assert wrong == [], "\n".join(wrong)
    refused = sum(code == 2 for *_, code, _ in answers)
    assert len(answers) > 200
    assert refused > 100
