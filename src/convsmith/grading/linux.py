"""System calls of Linux that Python 3.11 lacks: namespaces, mounts, and attributes of a process.

The module needs the standard library only: it runs before anything else in the process that guards a
submission.
"""

import contextlib
import ctypes
import errno
import os
import struct
from functools import cache
from pathlib import Path

NEW_MOUNTS, NEW_IPC, NEW_USER, NEW_PROCESSES, NEW_NETWORK = (
    0x00020000,
    0x08000000,
    0x10000000,
    0x20000000,
    0x40000000,
)
READ_ONLY, NO_SUID, NO_DEVICES, NO_PROGRAMS, REMOUNT, BIND, RECURSIVE, PRIVATE = (
    1,
    2,
    4,
    8,
    32,
    4096,
    16384,
    1 << 18,
)
_NO_ACCESS_TIMES, _NO_FOLDER_ACCESS_TIMES = 1024, 2048
_KEPT = NO_SUID | NO_DEVICES | NO_PROGRAMS | _NO_ACCESS_TIMES | _NO_FOLDER_ACCESS_TIMES
_DETACH = 2
_DEATH_SIGNAL, _DUMPABLE, _SUBREAPER, _NO_NEW_PRIVILEGES = 1, 4, 36, 38
_FILTER_CALLS, _WITH_PROGRAM = 22, 2
# System calls that a net never needs, by machine, after its number in the audit of the kernel: memory that no
# process is charged for (memfd_create, memfd_secret, shmget, msgget, io_uring_setup), keys that outlive
# a process (add_key, request_key, keyctl), and doors into the kernel (bpf, userfaultfd, perf_event_open).
_REFUSED = {
    "x86_64": (0xC000003E, (319, 447, 29, 68, 425, 248, 249, 250, 321, 323, 298)),
    "aarch64": (0xC00000B7, (279, 447, 194, 186, 425, 217, 218, 219, 280, 282, 241)),
}
# Numbers from here on belong to another set of calls of the same processor.
_OTHER_CALLS = 0x40000000
# pivot_root has no function in the C library.
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "riscv64": 41, "ppc64le": 203, "s390x": 217}


@cache
def _library() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """Move this process, or its next child, into namespaces of its own. Raises OSError."""
    _check(_library().unshare(ctypes.c_int(flags)), "unshare")


def mount(source: str, target: str, kind: str | None, flags: int, options: str = "") -> None:
    """Mount a file system. Raises OSError."""
    _check(
        _library().mount(
            os.fsencode(source),
            os.fsencode(target),
            kind.encode() if kind else None,
            ctypes.c_ulong(flags),
            options.encode() or None,
        ),
        f"mount {target}",
    )


def change_root(folder: str) -> None:
    """Make a mounted folder the root; the old root is no longer reachable. Raises OSError."""
    os.chdir(folder)
    number = _PIVOT_ROOT.get(os.uname().machine)
    if number is None:
        raise OSError(f"pivot_root: unknown machine {os.uname().machine}")
    _check(_library().syscall(ctypes.c_long(number), b".", b"."), "pivot_root")
    _check(_library().umount2(b".", _DETACH), "umount2")
    os.chdir("/")


def bind_read_only(source: str, target: str) -> None:
    """Show a file or a folder, and what is mounted in it, at another place, where nothing can be changed."""
    mount(source, target, None, BIND | RECURSIVE)
    for point in mounts_under(target):
        # In a user namespace, flags that the mount has must be kept.
        kept = os.statvfs(point).f_flag & _KEPT
        mount("none", point, None, BIND | REMOUNT | READ_ONLY | NO_SUID | kept)


def mounts_under(folder: str) -> list[str]:
    """Return the mount points at and below a folder, the outermost first."""
    folder = os.path.realpath(folder)
    points = []
    for line in Path("/proc/self/mountinfo").read_bytes().splitlines():
        # Spaces and other odd characters are written as octal numbers.
        point = os.fsdecode(line.split()[4].decode("unicode_escape").encode("latin-1"))
        if point == folder or point.startswith(folder.rstrip("/") + "/"):
            points.append(point)
    return sorted(set(points))


def map_user(user: int, group: int) -> None:
    """In a new user namespace, keep the numbers of the user and the group."""
    Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1", encoding="ascii")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1", encoding="ascii")


def _control(option: int, value: int) -> None:
    """Call prctl; systems other than Linux have none."""
    with contextlib.suppress(AttributeError, OSError):
        zero = ctypes.c_ulong(0)
        _library().prctl(ctypes.c_int(option), ctypes.c_ulong(value), zero, zero, zero)


def die_with_parent(number: int) -> None:
    """Have the system send this process a signal when its parent ends."""
    _control(_DEATH_SIGNAL, number)


def hide_memory() -> None:
    """Let no process of the same user read or change the memory and the open files of this one."""
    _control(_DUMPABLE, 0)


def adopt_orphans() -> None:
    """Make this process the parent of its descendants whose parents end."""
    _control(_SUBREAPER, 1)


def gain_no_privileges() -> None:
    """Let no program of this process change its user, as `sudo` does."""
    _control(_NO_NEW_PRIVILEGES, 1)


def refuse_calls() -> None:
    """Let this process and its children find no system calls that hide memory or outlive them.

    Needs `gain_no_privileges`. Nothing happens on machines whose numbers of calls are not listed.
    """
    if os.uname().machine not in _REFUSED:
        return
    machine, numbers = _REFUSED[os.uname().machine]
    allow = len(numbers) + 4
    # Code, where to jump if true and if false, as distances from the next line, and a value.
    program = [
        (0x20, 0, 0, 4),
        (0x15, 0, allow - 1, machine),
        (0x20, 0, 0, 0),
        (0x35, allow - 3, 0, _OTHER_CALLS),
    ]
    program += [(0x15, allow - line, 0, number) for line, number in enumerate(numbers, 4)]
    program += [(0x06, 0, 0, 0x7FFF0000), (0x06, 0, 0, 0x00050000 | errno.ENOSYS)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
    header = ctypes.create_string_buffer(struct.pack("HP", len(program), ctypes.addressof(code)))
    with contextlib.suppress(AttributeError, OSError):
        _library().prctl(ctypes.c_int(_FILTER_CALLS), ctypes.c_ulong(_WITH_PROGRAM), header)


def end_first() -> None:
    """Let the kernel, where memory runs out, end this process and its children before others."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
