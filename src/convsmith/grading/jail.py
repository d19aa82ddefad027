"""The file system that a submission sees: Python and convsmith to read, its own folder to write.

Every path keeps its name, so that requests and records mean the same inside and outside. Needs the standard
library only.
"""

import contextlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from convsmith.grading import linux
from convsmith.grading.specification import RECORD_FOLDER

_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc", "/nix/store", "/gnu/store")
_KERNEL = ("/sys/devices/system/cpu", "/sys/devices/system/node")
_DEVICES = ("null", "zero", "full", "random", "urandom")
# What libraries read of /proc where no own one may be mounted.
_PROC_FILES = ("cpuinfo", "meminfo", "stat", "version", "filesystems")
_INNER = "/.root"


def build(root: Path, folder: Path, readable: Iterable[str], *, size: int, files: int, record: int) -> None:
    """Build a root of tmpfs with a copy of a folder; this process has mounts of its own already.

    Args:
        root: An empty folder.
        folder: What the submission owns; copied.
        readable: Files and folders that it may read, beside those of the system.
        size: Bytes of all that is in the tmpfs.
        files: How many files and folders it may hold.
        record: Bytes of the folder of the record.

    Raises:
        OSError: The system does not allow it.
    """
    linux.mount("none", "/", None, linux.RECURSIVE | linux.PRIVATE)
    options = f"size={size},nr_inodes={files},mode=755"
    safe = linux.NO_SUID | linux.NO_DEVICES
    linux.mount("tmpfs", str(root), "tmpfs", safe, options)
    shown: list[str] = []
    for path in (*_SYSTEM, *sorted(_with_targets(readable)), *_KERNEL):
        if not any(path == each or path.startswith(each + "/") for each in shown) and os.path.lexists(path):
            _show(root, path)
            shown.append(path)
    _devices(root)
    for name in ("/tmp", "/dev/shm", "/var/tmp"):  # noqa: S108 - of the jail
        Path(f"{root}{name}").mkdir(parents=True, exist_ok=True)
        Path(f"{root}{name}").chmod(0o1777)
    Path(f"{root}/proc").mkdir(exist_ok=True)
    inside = Path(f"{root}{folder}")
    inside.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(folder, inside, symlinks=True)
    (inside / RECORD_FOLDER).mkdir(exist_ok=True)
    linux.mount("tmpfs", str(inside / RECORD_FOLDER), "tmpfs", safe, f"size={record},nr_inodes=64,mode=700")


def _with_targets(readable: Iterable[str]) -> set[str]:
    """Return paths, and the places that they are links to."""
    return {each for path in readable for each in (str(Path(path).absolute()), os.path.realpath(path))}


def _show(root: Path, path: str) -> None:
    """Show a path of the system in the jail, read-only; a link stays one."""
    target = Path(f"{root}{path}")
    target.parent.mkdir(parents=True, exist_ok=True)
    if Path(path).is_symlink():
        target.symlink_to(Path(path).readlink())
        return
    if Path(path).is_dir():
        target.mkdir(exist_ok=True)
    else:
        target.touch()
    linux.bind_read_only(path, str(target))


def _devices(root: Path) -> None:
    Path(f"{root}/dev").mkdir(exist_ok=True)
    for name in _DEVICES:
        Path(f"{root}/dev/{name}").touch()
        linux.mount(f"/dev/{name}", f"{root}/dev/{name}", None, linux.BIND)
    for name, target in (("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        Path(f"{root}/dev/{name}").symlink_to(target)


def enter(root: Path, *, own_processes: bool) -> None:
    """Make the jail the root of this process and its children.

    Args:
        root: As for `build`.
        own_processes: Whether this is the first process of a namespace of processes.

    Raises:
        OSError: The system does not allow it.
    """
    linux.unshare(linux.NEW_MOUNTS)
    # Without /proc the submission sees no process at all. Containers may forbid to mount it.
    if not own_processes or not _mount_proc(root):
        for name in _PROC_FILES:
            with contextlib.suppress(OSError):
                Path(f"{root}/proc/{name}").touch()
                linux.bind_read_only(f"/proc/{name}", f"{root}/proc/{name}")
    linux.change_root(str(root))
    # Whose root is not that of its mounts may create no namespace of users, in which it could mount memory.
    Path(_INNER).mkdir()
    linux.mount("/", _INNER, None, linux.BIND | linux.RECURSIVE)
    os.chroot(_INNER)
    os.chdir("/")


def _mount_proc(root: Path) -> bool:
    flags = linux.NO_SUID | linux.NO_DEVICES | linux.NO_PROGRAMS
    try:
        linux.mount("proc", f"{root}/proc", "proc", flags)
    except OSError:
        return False
    return True
