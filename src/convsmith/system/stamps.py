"""What identifies the content of a file without reading it."""

import os
import time

# Size, modification time, change time (in nanoseconds) and inode. A copy that keeps its times, and two files
# that are exchanged, have another stamp. The change time cannot be set by a program.
FileStamp = tuple[int, int, int, int]
# A file can change twice within one tick of a file system's clock: 2 s on FAT.
TICK_NS = 2 * 10**9


def stamp_of(status: os.stat_result) -> FileStamp:
    """Return the stamp of a file; a file system without inodes gives 0 for them."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def is_fresh(stamp: FileStamp, now: int | None = None) -> bool:
    """Return whether a file changed so recently that a second change could leave its stamp as it is.

    Args:
        stamp: Of the file.
        now: When its content was read, by `time.time_ns`.

    >>> is_fresh((1, 0, 0, 7)), is_fresh((1, 0, time.time_ns(), 7))
    (False, True)
    """
    # The clock of this machine need not be that of the file system.
    return max(stamp[1], stamp[2]) >= (time.time_ns() if now is None else now) - TICK_NS
