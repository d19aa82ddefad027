"""The process of one submission: `python -m convsmith.grading.worker REQUEST.json RECORD.json`.

It runs inside the sandbox. Whatever fails becomes a field of the record; the exit code is 0 if the record was
written.
"""

import os
import sys
import time
from pathlib import Path

from convsmith.errors import ConvsmithError
from convsmith.grading import linux, process_tree
from convsmith.grading.integrity import Integrity
from convsmith.grading.record import Request, SubmissionRecord
from convsmith.system import files, reading
from convsmith.text import one_line


def main(arguments: list[str]) -> int:
    """Read the request, judge the submission, and write its record."""
    request_file, record_file = map(Path, arguments)
    request = Request.model_validate_json(reading.read_bytes(request_file))
    # A file that a submission writes in place of the record does not have the seal.
    request_file.unlink()
    seal, request = request.seal, request.model_copy(update={"seal": ""})
    linux.adopt_orphans()
    start = time.monotonic()
    record = record_of(request)
    # What the submission has started could change the record once it is written.
    process_tree.end_all(os.getpid(), seconds=2)
    seconds = round(time.monotonic() - start, 2)
    record = record.model_copy(update={"seconds": seconds, "seal": seal})
    files.write_text(record_file, record.model_dump_json())
    return 0


def record_of(request: Request) -> SubmissionRecord:
    """Return the record of a submission; nothing that its files do raises an exception."""
    try:
        from convsmith.grading.judgement import judge_submission

        integrity = Integrity()
        record = judge_submission(request)
        return _with_changes(record, integrity.changes())
    except ConvsmithError as error:
        problem = error.problems[0]
        return SubmissionRecord(
            submission=request.submission,
            state="not readable",
            problem=one_line(f"{problem.where}: {problem.what}" if problem.where else problem.what)[:4000],
            fix=one_line(problem.fix)[:4000],
        )
    # The code of a stranger ran: any exception can come out of it.
    except (Exception, SystemExit, KeyboardInterrupt) as error:  # noqa: BLE001
        return SubmissionRecord(
            submission=request.submission,
            state="failed",
            problem=one_line(f"{type(error).__name__}: {error}")[:4000],
            fix="name its net in a CSV: name,path,net",
        )


def _with_changes(record: SubmissionRecord, changes: list[str]) -> SubmissionRecord:
    """Refuse a record that was made after a submission had changed the code that judges it."""
    if not changes:
        return record
    shown = ", ".join(changes[:3]) + (f" and {len(changes) - 3} more" if len(changes) > 3 else "")
    return SubmissionRecord(
        submission=record.submission,
        state="failed",
        problem=one_line(f"its code changed the program that judges it: {shown}")[:4000],
        fix="look at its code; what it would have been given is not shown",
    )


if __name__ == "__main__":
    code = main(sys.argv[1:])
    # No exit handler of the submission runs after the record is written.
    os._exit(code)
