"""The sandbox: each limit ends a command in a known way, and nothing of it is left."""

import ctypes
import errno
import json
import os
import socket
import struct
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from convsmith.grading import linux as linux_calls
from convsmith.grading.outcome import Limits, Outcome, outcome_of
from convsmith.grading.protection import Protection, detect
from convsmith.grading.sandbox import Isolation, Keepers, Sandbox

TINY = Limits(
    time=20, memory=2**28, disk=2**23, file_size=2**22, files=400, processes=6, output=2**16, record=2**12
)
linux = pytest.mark.skipif(sys.platform != "linux", reason="limits and namespaces of Linux")


@pytest.fixture(scope="module")
def protection() -> Protection:
    return detect()


@pytest.fixture(scope="module", params=["strongest", "limits only"])
def isolation(request: pytest.FixtureRequest, protection: Protection) -> Isolation:
    return protection.isolation if request.param == "strongest" else Isolation()


def run(code: str, isolation: Isolation, limits: Limits = TINY, **environment: str) -> Outcome:
    """Run Python code as a submission."""
    with Sandbox(isolation) as sandbox:
        return sandbox.run([sys.executable, "-P", "-c", code], limits, environment=environment)


def processes_with(mark: str) -> list[int]:
    """Return the processes whose command line has a text."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "cmdline").read_bytes() and int(folder.name) != os.getpid():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def test_a_record_is_saved(isolation: Isolation) -> None:
    with Sandbox(isolation) as sandbox:
        code = "open('record/RECORD.json', 'w').write('{}'); print('done')"
        outcome = sandbox.run([sys.executable, "-P", "-c", code], TINY)
        assert (outcome.kind, outcome.detail, outcome.output) == ("ok", "", "done\n")
        assert sandbox.saved_record.read_text(encoding="utf-8") == "{}"
        base = sandbox.base
    assert not base.exists()


@pytest.mark.parametrize(
    ("code", "kind", "detail"),
    [
        ("import os; os._exit(0)", "no record", "it ended before it was judged, with exit code 0"),
        ("import os; os._exit(7)", "crash", "exit code 7"),
        ("1 / 0", "crash", "exit code 1: ZeroDivisionError: division by zero"),
        ("import os; os.abort()", "crash", "ended by SIGABRT"),
        ("import os; os.kill(os.getpid(), 9)", "crash", "ended by SIGKILL"),
        ("bytearray(30 * 2**30)", "memory", "it needs more than 256.0 MiB of memory"),
        ("print('x' * 10**6)", "output", "stopped after printing "),
        ("import os; os.symlink('/etc/passwd', 'record/RECORD.json')", "no record", "read: Too many"),
        ("import os; os.mkfifo('record/RECORD.json')", "no record", "cannot be read: not a regular file"),
        ("open('record/RECORD.json', 'wb').write(bytes(5000))", "no record", "5,000 bytes, expected"),
        ("import os; os.rmdir('record'); print('x')", "no record|crash", "before it was judged|busy|denied"),
    ],
)  # fmt: skip
@linux
def test_how_a_command_ended(code: str, kind: str, detail: str, isolation: Isolation) -> None:
    outcome = run(code, isolation)
    assert outcome.kind in kind.split("|"), outcome
    assert any(each in outcome.detail for each in detail.split("|")), outcome


@linux
def test_time(isolation: Isolation) -> None:
    limits = replace(TINY, time=1)
    for code in (
        "while True: pass",
        "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)",
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)",
    ):
        outcome = run(code, isolation, limits)
        assert (outcome.kind, outcome.detail) == ("time", "stopped after 1 seconds")


@linux
def test_memory_of_several_processes_counts_together(isolation: Isolation) -> None:
    code = (
        "import os, time\n"
        "for _ in range(3):\n"
        "    if not os.fork():\n"
        "        block = bytearray(os.urandom(2**20) * 120); time.sleep(20); os._exit(0)\n"
        "time.sleep(20)"
    )
    outcome = run(code, isolation)
    assert outcome.kind == "memory"
    assert outcome.peak_memory > TINY.memory


@linux
def test_pages_that_processes_share_count_once(isolation: Isolation) -> None:
    code = (
        "import os, time\n"
        "block = bytearray(os.urandom(2**20) * 80)\n"
        "for _ in range(4):\n"
        "    if not os.fork(): time.sleep(0.6); os._exit(0)\n"
        "for _ in range(4): os.wait()"
    )
    assert run(code, isolation).kind == "no record"


@linux
def test_processes(isolation: Isolation) -> None:
    code = "import os, time\nfor _ in range(12): os.fork() or (time.sleep(20), os._exit(0))\ntime.sleep(20)"
    outcome = run(code, isolation)
    assert outcome.kind == "processes"
    assert outcome.detail.endswith("; 6 are allowed")
    assert 6 < outcome.peak_processes <= 13


@linux
def test_a_file_and_a_disk_have_a_limit(isolation: Isolation) -> None:
    large = run("open('a', 'wb').write(bytes(2**23))", isolation)
    assert large.kind in {"files", "crash"}
    assert "8.0 MiB or 400 files" in large.detail or "File too large" in large.detail
    many = "import time\nfor n in range({}): open(f'{{n}}', 'w').write({})\ntime.sleep(20)"
    assert run(many.format(40, "'x' * 2**20"), isolation).kind == "files"
    assert run(many.format(1000, "''"), isolation).kind == "files"


@linux
def test_a_daemon_ends_with_its_submission(isolation: Isolation) -> None:
    mark = f"daemon-{os.getpid()}-{len(isolation.parts)}"
    code = (
        "import os, sys, time\n"
        "if not os.fork():\n"
        "    os.setsid()\n"
        "    code = 'import time; time.sleep(30)'\n"
        f"    if not os.fork(): os.execv(sys.executable, [sys.executable, '-c', code, '{mark}'])\n"
        "    os._exit(0)\n"
        "time.sleep(0.5)"
    )
    assert run(code, isolation).peak_processes >= 2
    assert processes_with(mark) == []


def test_the_environment_has_no_secrets(isolation: Isolation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "secret")
    code = "import os, sys; print(dict(os.environ)); print(repr(sys.stdin.read()))"
    outcome = run(code, isolation, EXTRA="1")
    assert "secret" not in outcome.output
    assert str(Path.home()) + "'" not in outcome.output
    assert "'EXTRA': '1'" in outcome.output
    assert outcome.output.endswith("''\n")


def test_what_is_printed_is_kept_at_both_ends(isolation: Isolation) -> None:
    limits = replace(TINY, output=2**20)
    outcome = run("print('begin' + 'x' * 200_000 + 'end')", isolation, limits)
    assert outcome.output.startswith("begin")
    assert outcome.output.endswith("end\n")
    assert "bytes ..." in outcome.output
    assert len(outcome.output) < 2**16 + 100


def test_no_connection_and_no_other_files(protection: Protection, tmp_path: Path) -> None:
    if not protection.complete:
        pytest.skip("this system has no namespaces")
    other = tmp_path / "other.py"
    other.write_text("theirs", encoding="utf-8")
    other.chmod(0o666)
    tmp_path.chmod(0o755)
    attempts = (
        "import os, socket\n"
        "def attempt(action):\n"
        "    try: return repr(action())\n"
        "    except OSError as error: return type(error).__name__\n"
        "print(attempt(lambda: socket.create_connection(('127.0.0.1', {port}), 1)))\n"
        "print(attempt(lambda: open({other!r}).read()), attempt(lambda: open({other!r}, 'w')))\n"
        "print(attempt(lambda: os.kill({process}, 0)), attempt(lambda: os.kill(os.getppid(), 9)))\n"
        "print(attempt(lambda: os.listdir('/home')), attempt(lambda: os.listdir('/tmp')))\n"
        "print(attempt(lambda: open('/usr/written', 'w')), attempt(lambda: os.setuid(0)))\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        port = server.getsockname()[1]
        code = attempts.format(port=port, other=str(other), process=os.getpid())
        outcome = run(code, protection.isolation)
        with pytest.raises(TimeoutError):
            server.accept()
    lines = [line.split() for line in outcome.output.splitlines()]
    assert lines[0][0] == "OSError"
    assert lines[1] == ["FileNotFoundError", "FileNotFoundError"]
    assert lines[2][0] == "ProcessLookupError"
    # In a namespace the first process ignores signals from inside.
    assert lines[2][1] in {"PermissionError", "None"}
    assert lines[3][0] == "FileNotFoundError"
    assert lines[4][0] in {"OSError", "PermissionError"}
    # A user namespace has no other user.
    assert lines[4][1] in {"PermissionError", "OSError"}
    assert other.read_text(encoding="utf-8") == "theirs"


@linux
def test_no_memory_that_is_not_counted(protection: Protection) -> None:
    code = (
        "import ctypes, os\n"
        "c = ctypes.CDLL(None, use_errno=True)\n"
        "def memfd():\n"
        "    try: return os.memfd_create('x')\n"
        "    except OSError: return -1\n"
        "print(memfd(), c.shmget(0, ctypes.c_size_t(4096), 0o1600), c.msgget(0, 0o1600), end=' ')\n"
        "print(c.unshare(0x10020000))"
    )
    # In a namespace of users it could mount a file system in memory.
    expected = "-1 -1 -1 -1" if "files" in protection.isolation.parts else "-1 -1 -1"
    if protection.all_counted:
        assert run(code, protection.isolation).output.startswith(expected)


@linux
def test_each_call_of_a_list_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The filter, run by an interpreter, refuses other machines and other sets of calls too."""
    programs = []

    def prctl(option: object, mode: object, header: Any) -> None:
        count, address = struct.unpack("HP", header.raw[:16])
        programs.append(struct.unpack(count * "HBBI", ctypes.string_at(address, 8 * count)))

    monkeypatch.setattr(linux_calls, "_library", lambda: SimpleNamespace(prctl=prctl))
    for name, (machine, refused) in linux_calls._REFUSED.items():
        monkeypatch.setattr("os.uname", lambda name=name: SimpleNamespace(machine=name))
        linux_calls.refuse_calls()
        permitted = [n for n in range(600) if _answer_of(programs[-1], machine, n) == 0x7FFF0000]
        assert permitted == [n for n in range(600) if n not in refused]
        assert _answer_of(programs[-1], machine, 0x40000001) == 0x50000 | errno.ENOSYS
        assert _answer_of(programs[-1], 0x40000003, 1) == 0x50000 | errno.ENOSYS


def _answer_of(program: tuple[int, ...], machine: int, number: int) -> int:
    line, value = 0, 0
    while True:
        code, yes, no, operand = program[4 * line : 4 * line + 4]
        if code == 0x20:
            value = {0: number, 4: machine}[operand]
        elif code == 0x06:
            return operand
        else:
            line += yes if (value == operand if code == 0x15 else value >= operand) else no
        line += 1


def test_named_folders_can_be_read_and_not_written(protection: Protection, tmp_path: Path) -> None:
    if not protection.no_reading:
        pytest.skip("this system hides no files")
    (tmp_path / "images").write_text("data", encoding="utf-8")
    tmp_path.chmod(0o755)
    code = f"print(open('{tmp_path}/images').read())\nopen('{tmp_path}/images', 'a')"
    with Sandbox(protection.isolation) as sandbox:
        outcome = sandbox.run([sys.executable, "-P", "-c", code], TINY, readable=[tmp_path])
    assert outcome.output.startswith("data\n")
    assert "Read-only file system" in outcome.output or "Permission denied" in outcome.output


@linux
def test_the_kernel_ends_a_submission_first(isolation: Isolation) -> None:
    assert run("print(open('/proc/self/oom_score_adj').read())", isolation).output.strip() == "1000"


def test_a_program_that_is_missing(isolation: Isolation) -> None:
    with Sandbox(isolation) as sandbox:
        outcome = sandbox.run(["/no/such/program"], TINY)
    assert outcome.kind == "not started"
    assert "No such file" in outcome.detail


def test_stopped_keepers_end_their_commands(isolation: Isolation) -> None:
    import threading

    keepers = Keepers()
    outcomes: list[Outcome] = []
    mark = f"stopped-{os.getpid()}"

    def work() -> None:
        with Sandbox(isolation, keepers=keepers) as sandbox:
            code = "import time; print('x'); time.sleep(30)"
            outcomes.append(sandbox.run([sys.executable, "-P", "-c", code, mark], TINY))

    thread = threading.Thread(target=work)
    thread.start()
    while not processes_with(mark):
        time.sleep(0.02)
    keepers.stop()
    thread.join()
    assert [outcome.kind for outcome in outcomes] == ["not started"]
    assert outcomes[0].detail == "it could not be run: stopped"
    assert processes_with(mark) == []


@linux
def test_a_system_without_proc_and_namespaces_ends_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS: the keeper neither sees descendants nor is a child told of its parent's end."""
    code = (
        "from convsmith.grading import linux, process_tree\n"
        "process_tree.descendants = lambda process: []\n"
        "linux.die_with_parent = linux.adopt_orphans = lambda *_: None\n"
        "from convsmith.grading.keeper import main\n"
        "main()"
    )
    monkeypatch.setattr("convsmith.grading.sandbox._KEEPER", ("-c", code))
    mark = f"session-{os.getpid()}"
    with Sandbox() as sandbox:
        command = "import os, time; os.fork(); time.sleep(30)"
        outcome = sandbox.run([sys.executable, "-P", "-c", command, mark], replace(TINY, time=1))
    assert outcome.kind == "time"
    assert processes_with(mark) == []


def test_a_record_is_data_of_a_stranger() -> None:
    result = {"exit_code": 0, "record": False, "record_problem": "not a regular file", "seconds": 1.0}
    outcome = outcome_of(result, TINY)
    assert outcome.kind == "no record"
    assert json.dumps(outcome.detail)


@linux
def test_folders_in_folders_without_end_are_removed() -> None:
    code = "import os\nfor _ in range(3000):\n    os.mkdir('d'); os.chdir('d')\nimport time; time.sleep(1)"
    with Sandbox() as sandbox:
        outcome = sandbox.run([sys.executable, "-P", "-c", code], replace(TINY, files=10_000))
        base = sandbox.base
    assert outcome.kind == "files"
    assert not base.exists()


def test_a_process_that_cannot_be_ended_is_named() -> None:
    outcome = outcome_of({"exit_code": 0, "record": True, "left": True}, Limits())
    assert (outcome.kind, outcome.detail) == ("processes", "a process that it started could not be ended")
