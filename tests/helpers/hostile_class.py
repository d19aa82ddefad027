"""A class with hostile submissions: graded once, then everything that could be harmed is compared."""

import hashlib
import os
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import convsmith as cs
from convsmith.api.grade import Grades
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


@contextmanager
def temporary_files(folder: Path) -> Iterator[None]:
    """Let sandboxes be in a folder of this test: others may run on the machine."""
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before


def strangers(folder: Path) -> list[str]:
    """Return the commands of processes whose environment or command has a folder's path."""
    commands = []
    mark = os.fsencode(folder)
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
            if mark in command or mark in (process / "environ").read_bytes():
                commands.append(command.decode(errors="replace"))
        except OSError:
            continue
    return commands


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
    place, home, temporary = (tmp_path / name for name in ("class", "home", "temporary"))
    for folder in (place, home, temporary):
        folder.mkdir()
    # Another user must get to its copy.
    for folder in (temporary, *temporary.parents):
        if folder.stat().st_uid == os.getuid() and folder.is_relative_to(tempfile.gettempdir()):
            folder.chmod(folder.stat().st_mode | 0o111)
    (home / "secret.txt").write_text(SECRET, encoding="utf-8")
    (home / ".bashrc").write_text("# mine", encoding="utf-8")
    with listener() as (port, connections), temporary_files(temporary):
        for write in others:
            write(place)
        for attack in attacks:
            folder = attack.write(place, home, port)
            if attack.name != "reads another":
                (folder / "secret.txt").write_text(SECRET, encoding="utf-8")
        before = digest(place), digest(home)
        grades = cs.grade(place, out=tmp_path / "graded", **options)
        assert (digest(place), digest(home)) == before
        assert strangers(temporary) == []
        assert connections == []
        # Libraries of this process may have caches there.
        assert [path for path in temporary.iterdir() if "grade" in path.name] == []
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
