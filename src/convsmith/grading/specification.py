"""What the keeper of a submission reads and what it reports, as JSON."""

from dataclasses import dataclass

# Names of protections: no network and no shared memory; processes that end with the first; a root of its own
# with few files; a user of its own, for the superuser; a user without rights, for others.
NETWORK, PROCESSES, FILES = "network", "processes", "files"
OTHER_USER, NAMESPACE_USER = "user", "userns"
# In the folder of a command: its private copy, and its record, which has its own room: a full disk does not
# lose it.
SUBMISSION_FOLDER, RECORD_FOLDER = "submission", "record"


@dataclass(frozen=True, kw_only=True)
class Specification:
    """What the keeper needs to know; all paths are absolute.

    Attributes:
        command: The program and its arguments.
        folder: What the command may write.
        root: An empty folder for the jail.
        record: The name of the record in the record folder of `folder`.
        save: Where a complete record is saved.
        environment: The variables of the command, and no others.
        readable: What it may read, beside the system.
        isolation: Which of the protections are set up; one that fails ends the keeper.
        user: The number of the user that the command runs as, with the protection `user`.
        time: Seconds.
        memory: Bytes of all processes together.
        disk: Bytes of all that is written.
        file_size: Bytes of one file.
        files: How many there may be.
        processes: How many there may be at a time.
        open_files: Of one process.
        output: Bytes that may be printed.
        record_size: Bytes.
        count_processes: Whether the system can count the processes of this command apart from others.
    """

    command: list[str]
    folder: str
    root: str
    record: str
    save: str
    environment: dict[str, str]
    readable: list[str]
    isolation: list[str]
    user: int
    time: float
    memory: int
    disk: int
    file_size: int
    files: int
    processes: int
    open_files: int
    output: int
    record_size: int
    count_processes: bool


@dataclass
class Result:
    """How a command ended.

    Attributes:
        limit: The limit that ended it; empty if it ended by itself.
        exit_code: Negative for a signal; None if the command was ended.
        seconds: Of the command.
        output: The begin and the end of what it printed.
        printed: Bytes.
        peak_memory: Bytes of all processes together, as far as they were seen.
        peak_processes: As far as they were seen.
        disk_full: Whether nothing more could be written at the end.
        record: Whether a record was saved.
        record_problem: Why there is none.
        problem: Why the command was not started.
        left: Whether processes may be left.
    """

    limit: str = ""
    exit_code: int | None = None
    seconds: float = 0
    output: str = ""
    printed: int = 0
    peak_memory: int = 0
    peak_processes: int = 0
    disk_full: bool = False
    record: bool = False
    record_problem: str = ""
    problem: str = ""
    left: bool = False
