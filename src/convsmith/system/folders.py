"""Create and replace folders: numbered, atomic and temporary ones; check a destination before long work."""

import contextlib
import ctypes
import errno
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import platformdirs

from convsmith.errors import FileError, suggest
from convsmith.system import files, locks, paths

_SCRATCH, _LOCK = ".scratch-", ".lock"


def cache_folder() -> Path:
    """Return `$CONVSMITH_CACHE`, or `convsmith` in the user's cache folder."""
    if folder := os.environ.get("CONVSMITH_CACHE"):
        return Path(folder)
    return user_cache_folder("convsmith")


def user_cache_folder(name: str) -> Path:
    """Return the user's cache folder of a program; it need not exist.

    Without a home folder, as for a user without a name in a container, it is a private one among the
    temporary files.

    Raises:
        FileError: The one among the temporary files belongs to another user.
    """
    try:
        return platformdirs.user_cache_path(name, appauthor=False)
    except RuntimeError:
        return _private_folder(Path(tempfile.gettempdir()) / f"{name}-{os.getuid()}")


def expand_user(path: str) -> Path:
    """Return a path with the home folder in place of `~`; unchanged if there is no such folder.

    Example:
        >>> expand_user("pictures"), expand_user("~no-such-user/pictures")
        (PosixPath('pictures'), PosixPath('~no-such-user/pictures'))
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def remove_empty(folder: Path) -> None:
    """Remove a folder unless it holds something."""
    with contextlib.suppress(OSError):
        folder.rmdir()


def remove_temporary(folder: Path, prefix: str) -> None:
    """Remove the folders of a name that begins with `prefix`, which killed processes have left."""
    for path in folder.glob(f"{prefix}*"):
        shutil.rmtree(path, ignore_errors=True)


def _private_folder(path: Path) -> Path:
    """Create a folder that only this user can write to, where others can create files."""
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        status = path.lstat()
    except OSError as error:
        raise files.write_error(path, error) from error
    if status.st_uid != os.getuid() or stat.S_ISLNK(status.st_mode) or status.st_mode & 0o022:
        raise FileError(
            "no home folder, and this one is not private to the user",
            where=str(path),
            fix="set HOME or CONVSMITH_CACHE to a folder of your own",
        )
    return path


def check_destination(folder: Path, needed: int = 0) -> None:
    """Check that a folder, which need not exist yet, can be written to.

    Args:
        folder: The destination.
        needed: About how many bytes will be written.

    Raises:
        FileError: It is a file, is not writable, its name is too long, or its disk is too full.
    """
    try:
        existing = _nearest_folder(folder.absolute())
        # Permissions, read-only disks and quotas are the system's to judge.
        with tempfile.TemporaryFile(dir=existing):
            pass
        free = shutil.disk_usage(existing).free
    except (OSError, ValueError) as error:
        raise files.write_error(folder, error) from error
    if free < needed:
        raise FileError(
            f"not enough disk space: needed about {needed:,} bytes, free are {free:,}",
            where=str(folder),
            fix="make room, or name a folder on another disk",
        )


def _nearest_folder(path: Path) -> Path:
    """Return the folder, or its nearest parent that exists. Raises OSError if that is no folder."""
    nearest = path
    while True:
        try:
            nearest.lstat()
        except FileNotFoundError:
            nearest = nearest.parent
        else:
            break
    if not nearest.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    # Windows has no `pathconf`.
    longest = os.pathconf(nearest, "PC_NAME_MAX") if hasattr(os, "pathconf") else 255
    if any(len(os.fsencode(part)) > longest for part in path.parts):
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
    return nearest


def nearby(name: str) -> list[str]:
    """Return the recipes and runs of the working directory that a wrong name may mean.

    These are TOML files, and the folders of `runs/`: by their name without the folder or the suffix, or by
    one that is nearly equal.
    """
    from difflib import get_close_matches

    runs = [each for each in sorted(Path("runs").glob("*")) if each.is_dir()]
    places = [*sorted(Path().glob("*.toml")), *runs]
    exact = [str(each) for each in places if name in {each.name, each.stem}]
    names = {each.name: str(each) for each in places}
    return exact or [names[each] for each in get_close_matches(name, names, n=1, cutoff=0.75)]


def suggest_name(name: str, options: Iterable[str]) -> str:
    """Return a fix for a wrong name, as `errors.suggest` does.

    A recipe or a run of the working directory is suggested if its name is nearer than that of every option.

    Args:
        name: The wrong name.
        options: The valid names elsewhere, such as those of the library.
    """
    options, places = list(options), nearby(name)
    near = max((_likeness(name, part) for each in places for part in _short_names(each)), default=0.0)
    if near > max((_likeness(name, each) for each in options), default=0.0):
        return f"did you mean {' or '.join(map(repr, places))}?"
    return suggest(name, options)


def _short_names(place: str) -> tuple[str, str]:
    return Path(place).name, Path(place).stem


def _likeness(one: str, other: str) -> float:
    from difflib import SequenceMatcher

    return SequenceMatcher(None, one, other).ratio()


def new_numbered_folder(parent: Path, name: str) -> Path:
    """Create `parent/name-N` with the next free number. Safe with concurrent processes.

    Raises:
        FileError: `parent` is a file or is not writable.
    """
    files.make_folder(parent)
    try:
        numbers = [
            int(n) for p in parent.glob(f"{name}-*") if (n := p.name.removeprefix(f"{name}-")).isdecimal()
        ]
        number = max(numbers, default=0)
        while True:
            number += 1
            folder = parent / f"{name}-{number}"
            with contextlib.suppress(FileExistsError):
                folder.mkdir()
                return folder
    except OSError as error:
        raise files.write_error(parent, error) from error


@contextlib.contextmanager
def atomic_folder(target: Path, *, replace: bool = False) -> Iterator[Path]:
    """Fill a temporary folder that becomes `target` when the block ends without an exception.

    Args:
        target: A link is followed. A mounted disk, or a folder in a read-only one, cannot be replaced; it is
            filled in its place.
        replace: Whether to replace an existing folder, in one step. Otherwise that one stays: another process
            has created it meanwhile, and both hold the same content.

    Raises:
        FileError: The folder or its parent cannot be written to.
    """
    target = Path(os.path.realpath(target))
    if replace and paths.is_folder(target) and (target.is_mount() or not os.access(target.parent, os.W_OK)):
        yield target
        return
    with scratch_folder(target.parent, name=target.name[:50]) as temporary:
        yield temporary
        try:
            temporary.chmod(0o755)
            if not paths.exists(target):
                temporary.rename(target)
            elif replace:
                _replace(temporary, target)
            files.sync_folder(target.parent)
        except OSError as error:
            if replace or not paths.exists(target):
                raise files.write_error(target, error) from error


def _replace(new: Path, target: Path) -> None:
    """Put a scratch folder in the place of another folder, which is removed."""
    if _exchange(new, target):
        return
    backup = _backup_of(target)
    with locks.lock_file(_lock_of(backup), wait=True):
        shutil.rmtree(backup, ignore_errors=True)
        target.rename(backup)
        try:
            new.rename(target)
        except OSError:
            backup.rename(target)
            raise
    shutil.rmtree(backup, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two folders in one step; return False where the system or its disk cannot."""
    # Python has no such function. Linux has it since 3.15, the C library since 2018.
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    here, exchange = -100, 2
    if rename(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0:
        return True
    number = ctypes.get_errno()
    if number in {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP}:
        return False
    raise OSError(number, os.strerror(number))


def restore(target: Path) -> None:
    """Bring a folder back that a process was replacing, in two steps, when it was killed between them.

    Raises:
        FileError: The parent is not writable.
    """
    try:
        target = Path(os.path.realpath(target))
    except ValueError:
        # No path has a null character.
        return
    backup = _backup_of(target)
    if paths.exists(target) or not paths.is_folder(backup):
        return
    with locks.lock_file(_lock_of(backup), wait=True):
        try:
            if not paths.exists(target) and paths.is_folder(backup):
                backup.rename(target)
        except OSError as error:
            raise files.write_error(target, error) from error


def _backup_of(folder: Path) -> Path:
    return folder.parent / f".{folder.name}.previous"


@contextlib.contextmanager
def scratch_folder(parent: Path, *, name: str) -> Iterator[Path]:
    """Create a temporary folder for the block; remove those that killed processes left in `parent`.

    Raises:
        FileError: `parent` is not writable.
    """
    files.make_folder(parent)
    _remove_abandoned(parent)
    folder = parent / f"{_SCRATCH}{name}.{secrets.token_hex(4)}"
    # Locked before it exists: a scratch folder without a lock has lost its process.
    with locks.lock_file(_lock_of(folder), wait=True):
        try:
            folder.mkdir(mode=0o700)
        except OSError as error:
            raise files.write_error(parent, error) from error
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned(parent: Path) -> None:
    for folder in {path.with_name(path.name.removesuffix(_LOCK)) for path in parent.glob(f"{_SCRATCH}*")}:
        with contextlib.suppress(FileError), locks.lock_file(_lock_of(folder)) as abandoned:
            if abandoned:
                shutil.rmtree(folder, ignore_errors=True)


def _lock_of(folder: Path) -> Path:
    return folder.with_name(folder.name + _LOCK)
