"""Grade a class: each submission in a sandbox of its own, several at a time, each record kept at once."""

import os
import queue
import secrets
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from convsmith.briefs.schema import Brief
from convsmith.data.dataset import DatasetInfo, dataset_info
from convsmith.errors import ConvsmithError, DataError, FileError
from convsmith.grading import images
from convsmith.grading.outcome import Limits, Outcome
from convsmith.grading.private_copy import PrivateCopy, copy_submission
from convsmith.grading.protection import Protection
from convsmith.grading.record import Request, SubmissionRecord, read_record
from convsmith.grading.sandbox import SLOTS, Keepers, Sandbox
from convsmith.grading.store import RecordStore, key_of
from convsmith.grading.submissions import Submission, Submissions
from convsmith.grading.suspects import suspect_lines
from convsmith.recipes.schema import Recipe
from convsmith.system import folders, progress
from convsmith.system.parallel import num_cores
from convsmith.text import one_line

TRAINING_TIME = 3600.0
# One slot is that of the measurement of protections.
MOST_JOBS = SLOTS - 1
_REQUEST = "REQUEST.json"
_FIXES = {
    "time": "look at its code, or allow more: --time",
    "memory": "look at its code, or allow more: --memory",
    "files": "look at its code, or allow more: --disk",
    "processes": "look at its code, or allow more: --processes",
    "output": "look at what it prints when it is imported",
    "crash": "look at its code; name its net in a CSV: name,path,net",
    "no record": "look at its code: it ends the process that judges it",
    "not started": "convsmith grade --resume judges it again",
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a class is graded.

    Attributes:
        limits: Of one submission.
        jobs: Submissions at a time.
        train: Whether nets are trained anew.
        seed: Of these trainings.
        data: Whether weights are scored on images.
    """

    limits: Limits = field(default_factory=Limits)
    jobs: int = 1
    train: bool = False
    seed: int = 0
    data: bool = True


@dataclass(frozen=True, kw_only=True)
class ClassRecords:
    """The records of a class in the order of its submissions.

    Attributes:
        records: One for each submission.
        starters: Of the code that was handed out.
        notes: What a teacher should know, one sentence each.
        judged: How many were judged now; the other records are of an earlier grading.
    """

    records: tuple[SubmissionRecord, ...]
    starters: tuple[SubmissionRecord, ...] = ()
    notes: tuple[str, ...] = ()
    judged: int = 0


@dataclass(frozen=True, kw_only=True)
class _Class:
    """What is the same for all submissions."""

    brief: Brief
    recipe: Recipe
    settings: Settings
    protection: Protection
    store: RecordStore
    info: DatasetInfo
    data: Path | None
    fingerprint: str
    keepers: Keepers
    slots: "queue.SimpleQueue[int]"
    scratch: Path


def default_jobs(limits: Limits) -> int:
    """Return how many submissions this machine judges at a time: its cores, as far as its memory suffices."""
    cores = num_cores()
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return min(cores, MOST_JOBS)
    return int(max(1, min(cores, MOST_JOBS, memory // max(1, limits.memory + limits.disk))))


def grade_class(
    submissions: Submissions,
    brief: Brief,
    recipe: Recipe,
    folder: Path,
    settings: Settings,
    *,
    protection: Protection,
    on_record: Callable[[SubmissionRecord], None] | None = None,
) -> ClassRecords:
    """Judge the submissions of a class that have no record in `folder` yet.

    Whatever happens to one submission is in its own record. If the block is interrupted, all processes end,
    and the records that are complete stay.

    Args:
        submissions: Of `find_submissions`.
        brief: The rules.
        recipe: Its data are the images; with `settings.train` also how nets are trained.
        folder: Of the records.
        settings: Limits and more.
        protection: Of `protection.detect`.
        on_record: Called with each record when it is complete, in any order.

    Raises:
        DataError: The images cannot be read, and trainings were requested.
        FileError: The folder is not writable.
    """
    todo = submissions.submissions
    store = RecordStore(folder, [each.name for each in todo])
    notes = list(submissions.notes)
    with _scratch() as scratch:
        data, info, fingerprint = _prepare(recipe, scratch / "images", settings, notes)
        slots: queue.SimpleQueue[int] = queue.SimpleQueue()
        for slot in range(settings.jobs):
            slots.put(slot)
        shared = _Class(
            brief=brief,
            recipe=recipe,
            settings=settings,
            protection=protection,
            store=store,
            info=info,
            data=data,
            fingerprint=fingerprint,
            keepers=Keepers(),
            slots=slots,
            scratch=scratch,
        )
        results = _run(todo, shared, on_record)
    return ClassRecords(
        records=tuple(results[each.name][0] for each in todo if not each.is_starter),
        starters=tuple(results[each.name][0] for each in todo if each.is_starter),
        notes=tuple(notes),
        judged=sum(is_new for _, is_new in results.values()),
    )


@contextmanager
def _scratch() -> Iterator[Path]:
    """Create the folder of the private copies; one that a killed process has left is removed.

    Raises:
        FileError: The folder of temporary files is not writable; TMPDIR names another.
    """
    with folders.scratch_folder(Path(tempfile.gettempdir()), name="grade") as folder:
        # Other users must get to their copies.
        folder.chmod(0o711)
        yield folder.resolve()


def _prepare(
    recipe: Recipe, folder: Path, settings: Settings, notes: list[str]
) -> tuple[Path | None, DatasetInfo, str]:
    """Prepare the images once for all submissions; without them, weights are not scored."""
    if not settings.data:
        return None, dataset_info(recipe.data), ""
    try:
        with progress.waiting("Preparing the images"):
            info = images.prepare(recipe.data, folder)
            fingerprint = images.read(folder).fingerprint
    except DataError as error:
        if settings.train:
            raise
        notes.append(f"weights were not scored: {one_line(error.problems[0].what)}")
        return None, dataset_info(recipe.data), ""
    folder.chmod(0o755)
    for path in folder.iterdir():
        path.chmod(0o644)
    return folder, info, fingerprint


def _run(
    todo: Sequence[Submission], shared: _Class, on_record: Callable[[SubmissionRecord], None] | None
) -> dict[str, tuple[SubmissionRecord, bool]]:
    """Judge submissions in threads, each of which waits for a process; return records by name."""
    results: dict[str, tuple[SubmissionRecord, bool]] = {}
    progress.report("Grading", 0, len(todo))
    with futures.ThreadPoolExecutor(shared.settings.jobs) as pool:
        try:
            waiting = {pool.submit(_guarded, each, shared): each for each in todo}
            while waiting:
                done, _ = futures.wait(waiting, timeout=1, return_when=futures.FIRST_COMPLETED)
                for future in done:
                    submission = waiting.pop(future)
                    results[submission.name] = future.result()
                    if on_record is not None:
                        on_record(results[submission.name][0])
                progress.report("Grading", len(results), len(todo))
        except BaseException:
            # Ctrl-C or a full disk: nothing goes on behind the user's back.
            pool.shutdown(wait=False, cancel_futures=True)
            shared.keepers.stop()
            raise
    return results


def _guarded(submission: Submission, shared: _Class) -> tuple[SubmissionRecord, bool]:
    """Return the record of a submission, and whether it is new; a fault of one does not end the others."""
    slot = shared.slots.get()
    try:
        return _judge(submission, shared, slot)
    except ConvsmithError as error:
        return _failed(submission, "failed", "not started", error.problems[0].what), True
    # A stranger's files may lead to any exception; the records of the others must not be lost.
    except Exception as error:  # noqa: BLE001
        return _failed(submission, "failed", "not started", str(error) or type(error).__name__), True
    finally:
        shared.slots.put(slot)


def _judge(submission: Submission, shared: _Class, slot: int) -> tuple[SubmissionRecord, bool]:
    if submission.problem:
        problem = _failed(submission, "not readable", "ok", submission.problem)
        return problem.model_copy(update={"fix": submission.fix}), True
    limits = shared.settings.limits
    with Sandbox(
        shared.protection.isolation, slot=slot, keepers=shared.keepers, parent=shared.scratch
    ) as sandbox:
        copy = copy_submission(
            submission.path,
            sandbox.submission,
            max_bytes=limits.disk // 2,
            max_files=limits.files // 2,
        )
        request = _request(submission, shared, sandbox)
        key = key_of(request, copy.digest, shared.fingerprint)
        if known := shared.store.load(submission.name, key, limits):
            return known, False
        suspects = suspect_lines(sandbox.submission)
        if not copy.files:
            record = _empty(submission, copy)
        else:
            outcome = _execute(request, shared, sandbox)
            record = _record(submission, request, sandbox, outcome)
        notes = (*copy.notes, *suspects, *record.notes)
        record = record.model_copy(update={"notes": notes})
    if record.outcome != "not started":
        shared.store.save(record, key, limits)
    return record, True


def _request(submission: Submission, shared: _Class, sandbox: Sandbox) -> Request:
    return Request(
        submission=submission.name,
        folder=str(sandbox.submission),
        brief=shared.brief.model_dump(mode="json"),
        hints=submission.hints,
        data=str(shared.data or ""),
        image_shape=shared.info.image_shape,
        num_classes=shared.info.num_classes,
        train=shared.settings.train,
        recipe=shared.recipe.model_dump(mode="json") if shared.settings.train else None,
        seed=shared.settings.seed,
        seal=secrets.token_hex(16),
    )


def _execute(request: Request, shared: _Class, sandbox: Sandbox) -> Outcome:
    """Run the process that judges a submission."""
    path = sandbox.folder / _REQUEST
    path.write_text(request.model_dump_json(), encoding="utf-8")
    cores = os.cpu_count() or 1
    return sandbox.run(
        [sys.executable, "-P", "-m", "convsmith.grading.worker", str(path), str(sandbox.record)],
        shared.settings.limits,
        readable=[shared.data] if shared.data else [],
        environment={"OMP_NUM_THREADS": str(max(1, cores // shared.settings.jobs))},
    )


def _record(submission: Submission, request: Request, sandbox: Sandbox, outcome: Outcome) -> SubmissionRecord:
    """Return what the process wrote, or why that is not used."""
    state = "stopped" if outcome.kind in {"time", "memory", "files", "processes", "output"} else "failed"
    if outcome.kind != "ok":
        return _failed(submission, state, outcome.kind, outcome.detail, outcome.seconds)
    try:
        record = read_record(sandbox.saved_record)
    except FileError as error:
        problem = f"its process left a record that cannot be read: {one_line(error.problems[0].what)}"
        return _failed(submission, "failed", "no record", problem, outcome.seconds)
    if record.seal != request.seal or record.submission != submission.name:
        problem = "its code wrote a record of its own in place of convsmith's"
        return _failed(submission, "failed", "no record", problem, outcome.seconds)
    return record.model_copy(update={"seal": "", "outcome": "ok", "seconds": outcome.seconds})


def _empty(submission: Submission, copy: PrivateCopy) -> SubmissionRecord:
    """Return the record of a submission without a file."""
    problem = "nothing in its folder can be copied" if copy.left_out else "its folder is empty"
    return SubmissionRecord(
        submission=submission.name,
        state="no net",
        problem=problem,
        fix="ask for the files" if not copy.left_out else "ask for the files themselves, not links",
    )


def _failed(
    submission: Submission, state: str, outcome: str, problem: str, seconds: float = 0
) -> SubmissionRecord:
    return SubmissionRecord.model_validate(
        {
            "submission": submission.name,
            "state": state,
            "problem": one_line(problem)[:4000],
            "fix": _FIXES.get(outcome, ""),
            "outcome": outcome,
            "seconds": seconds,
        }
    )
