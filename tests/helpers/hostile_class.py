"""A class with hostile submissions: graded once, then everything that could be harmed is compared."""

import hashlib
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import convsmith as cs
from convsmith.api.grade import Grades
from convsmith.grading.sandbox import FIRST_USER
from helpers.hostile_submissions import ATTACKS, Attack

SECRET = "the secret of another"  # noqa: S105 - not one


@contextmanager
def listener() -> Iterator[tuple[int, list[object]]]:
    """Yield a port on the loopback address, and the connections that it has received."""
    connections: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            while True:
                try:
                    connections.append(server.accept())
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1], connections
        server.shutdown(socket.SHUT_RDWR)


def digest(folder: Path) -> str:
    """Return a hash of names, kinds, sizes and contents below a folder."""
    result = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        result.update(f"{path} {status.st_mode} {status.st_mtime_ns}".encode(errors="surrogateescape"))
        if path.is_file() and not path.is_symlink() and status.st_size < 2**24:
            result.update(path.read_bytes())
    return result.hexdigest()


def strangers() -> list[str]:
    """Return the commands of processes that belong to a sandbox: by their user or their environment."""
    commands = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            user = folder.stat().st_uid
            if user >= FIRST_USER or b"USER=submission" in (folder / "environ").read_bytes():
                commands.append((folder / "cmdline").read_bytes().decode(errors="replace"))
        except OSError:
            continue
    return commands


def left_over() -> set[Path]:
    """Return what sandboxes have left among the temporary files."""
    return {
        path
        for path in Path(tempfile.gettempdir()).iterdir()
        if path.name.startswith(("convsmith-grade-", ".scratch-grade"))
    }


def grade_with_attacks(
    tmp_path: Path,
    attacks: Sequence[Attack],
    others: Sequence[Callable[[Path], Path]] = (),
    **options: Any,
) -> Grades:
    """Grade a class, and check that no file, process or port outside of the sandboxes was touched.

    Args:
        tmp_path: An empty folder.
        attacks: The hostile submissions.
        others: Write further submissions into the folder of the class.
        options: Of `cs.grade`.
    """
    place, home = tmp_path / "class", tmp_path / "home"
    for folder in (place, home):
        folder.mkdir()
    (home / "secret.txt").write_text(SECRET, encoding="utf-8")
    (home / ".bashrc").write_text("# mine", encoding="utf-8")
    with listener() as (port, connections):
        for write in others:
            write(place)
        for attack in attacks:
            folder = attack.write(place, home, port)
            if attack.name != "reads another":
                (folder / "secret.txt").write_text(SECRET, encoding="utf-8")
        before = digest(place), digest(home), left_over()
        grades = cs.grade(place, out=tmp_path / "graded", **options)
        assert (digest(place), digest(home)) == before[:2]
        assert strangers() == []
        assert connections == []
        assert left_over() - before[2] == set()
    assert grades.complete
    return grades


def check_attacks(grades: Grades, attacks: Sequence[Attack] = ATTACKS) -> None:
    """Check the row of each hostile submission."""
    rows = {row.name: row for row in grades.rows}
    for attack in attacks:
        row = rows[attack.name]
        text = " ".join([*row.details, *row.record.notes])
        assert row.result in attack.results, (attack.name, row.result, text)
        assert any(each in text for each in attack.why), (attack.name, text)
        assert not any(each in text for each in attack.never), (attack.name, text)
