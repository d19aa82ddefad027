"""Grade a class of submissions by a brief."""

import time as clock
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from convsmith.briefs.loader import load_brief
from convsmith.briefs.schema import Brief
from convsmith.errors import FileError, RecipeError, UsageError
from convsmith.grading.duplicates import Sharing, find_sharings
from convsmith.grading.grade import (
    MOST_JOBS,
    TRAINING_TIME,
    ClassRecords,
    Settings,
    default_jobs,
    grade_class,
)
from convsmith.grading.outcome import Limits
from convsmith.grading.page import GradedClass, page_html
from convsmith.grading.protection import container_line, detect, protection_lines
from convsmith.grading.record import SubmissionRecord
from convsmith.grading.submissions import Submission, Submissions, find_submissions, with_own_names
from convsmith.grading.table import TableRow, csv_text, rows_of, summary_line
from convsmith.recipes.brief_training import recipe_of_brief
from convsmith.recipes.loader import load
from convsmith.recipes.schema import Recipe
from convsmith.system import files, folders, locks, paths
from convsmith.system.folders import cache_folder

TABLE, PAGE, RECORDS = "table.csv", "index.html", "records"
_GIB = 2**30
# Of seconds, GiB and processes: more means no limit.
_MOST = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Grades:
    """The table of a class.

    Attributes:
        folder: With `table.csv`, `index.html` and `records/`.
        rows: One for each submission, in the order of the table.
        sharings: Submissions that share a net.
        protection: What held back the code of the submissions, one sentence each.
        notes: About the class as a whole.
        judged: How many submissions were judged now; the other records are of an earlier call.
    """

    folder: Path
    rows: tuple[TableRow, ...]
    sharings: tuple[Sharing, ...]
    protection: tuple[str, ...]
    notes: tuple[str, ...]
    judged: int

    @property
    def records(self) -> tuple[SubmissionRecord, ...]:
        return tuple(row.record for row in self.rows)

    @property
    def complete(self) -> bool:
        """Whether every submission could be run; otherwise `resume` runs the others again."""
        return all(record.outcome != "not started" for record in self.records)

    def __str__(self) -> str:
        return summary_line(self.rows)


def grade(
    place: str | Path,
    *,
    brief: str | Path | Brief,
    recipe: str | Recipe | None = None,
    out: str | Path = "graded",
    resume: bool = False,
    train: bool = False,
    score: bool = True,
    starters: Sequence[str | Path] = (),
    jobs: int | None = None,
    time: float | None = None,
    memory: float = 4.0,
    disk: float = 1.0,
    processes: int = 64,
    seed: int = 0,
    on_start: Callable[[Sequence[str]], None] | None = None,
    on_record: Callable[[SubmissionRecord], None] | None = None,
) -> Grades:
    """Judge the submissions of a class by a brief, each in a process of its own.

    The code of each submission runs isolated, as far as the system allows: see `Grades.protection`.

    Args:
        place: A folder with a sub-folder for each submission, or a CSV file with the columns `name`, `path`
            and, where needed, `net` and `weights`.
        brief: A brief, or its name or file.
        recipe: Its data are the images that weights are scored on; with `train`, nets are trained by it. By
            default the library's recipe for the brief.
        out: The folder for table, page and records.
        resume: Keep the records in `out` of submissions that have not changed.
        train: Train each net anew by the brief's rules, instead of scoring its weights.
        score: Whether weights are scored; without it no images are needed.
        starters: Folders of code that was handed out; what submissions share with it is not pointed out.
        jobs: Submissions at a time; by default as many as cores and memory allow.
        time: Seconds for each submission; by default 120, or 3600 with `train`.
        memory: GiB for each submission.
        disk: GiB for the copy of a submission, and what it writes.
        processes: Of a submission at a time.
        seed: Of the trainings.
        on_start: Called with the protections before the first submission runs.
        on_record: Called with each record as soon as it is complete.

    Raises:
        RecipeError: The brief is unknown, or no recipe says which images it is about.
        FileError: Nothing is a submission, or `out` is not writable or has records and `resume` is not set.
        DataError: The images cannot be read, and `train` needs them.
        UsageError: A limit is not positive or has no end, or there are too many jobs.

    Example:
        >>> import tempfile
        >>> place = Path(tempfile.mkdtemp())
        >>> (place / "class" / "ada").mkdir(parents=True)
        >>> grades = grade(place / "class", brief="course-cifar10", recipe="digits", out=place / "graded")
        >>> str(grades), grades.records[0].problem
        ('1 submission: 0 pass, 0 fail, 0 open, 1 not judged', 'its folder is empty')
    """
    start = clock.monotonic()
    limits = _limits(time or (TRAINING_TIME if train else Limits.time), memory, disk, processes)
    rules = brief if isinstance(brief, Brief) else load_brief(str(brief))
    source = _recipe(recipe, rules)
    jobs = default_jobs(limits) if jobs is None else jobs
    if not 1 <= jobs <= MOST_JOBS:
        raise UsageError(f"found {jobs} jobs, expected 1 to {MOST_JOBS}")
    settings = Settings(limits=limits, jobs=jobs, train=train, seed=seed, data=score or train)
    place, folder = Path(place), Path(out)
    submissions = _with_starters(_without(find_submissions(place), folder), starters)
    folders.check_destination(folder)
    _check_records(folder, resume=resume)
    protection = detect()
    lines = protection_lines(protection, limits)
    if on_start is not None:
        names = {
            "--brief": "BRIEF" if isinstance(brief, Brief) else str(brief),
            "--recipe": source.name if isinstance(recipe, Recipe) else recipe or "",
        }
        container = container_line(place, folder, names, limits, jobs, cache=cache_folder())
        on_start([*lines, f"In a container: {container}"])
    files.make_folder(folder)
    with locks.lock_folder(folder):
        graded = grade_class(
            submissions, rules, source, folder / RECORDS, settings, protection=protection, on_record=on_record
        )
        page = replace(_page(place, brief, rules, graded), protection=tuple(lines))
        return _write(folder, page, graded, source, start)


def _limits(time: float, memory: float, disk: float, processes: int) -> Limits:
    values = {"time": time, "memory": memory, "disk": disk, "processes": processes}
    if wrong := [name for name, value in values.items() if not 0 < value <= _MOST]:
        raise UsageError(f"found {wrong[0]} {values[wrong[0]]:g}, expected more than 0, at most {_MOST:,}")
    size = int(disk * _GIB)
    return Limits(
        time=time,
        memory=int(memory * _GIB),
        disk=size,
        file_size=min(size, Limits.file_size),
        processes=processes,
    )


def _recipe(recipe: str | Recipe | None, brief: Brief) -> Recipe:
    if isinstance(recipe, Recipe):
        return recipe
    name = recipe or recipe_of_brief(brief)
    if name is None:
        raise RecipeError(
            "no recipe of the library has this brief, so its images are not known",
            where="brief",
            fix="name a recipe whose data they are: --recipe mnist-classic",
        )
    return load(name)


def _without(submissions: Submissions, out: Path) -> Submissions:
    """Leave out the folder of the results, if it lies beside the submissions.

    Raises:
        FileError: The results would lie in a submission or take the place of all, or nothing is left.
    """
    target = out.resolve()
    # A link that leads nowhere, or everywhere, is a row of the table.
    places = [None if each.problem else each.path.resolve() for each in submissions.submissions]
    kept = tuple(each for each, path in zip(submissions.submissions, places, strict=True) if path != target)
    if any(path is not None and (path in target.parents or path.parent == target) for path in places):
        fix = "name a folder beside the submissions or elsewhere: --out graded"
        raise FileError("the results would lie among the files of the submissions", where=str(out), fix=fix)
    if not kept:
        raise FileError("no submission but the results of a grading", where=str(out.parent))
    return replace(submissions, submissions=kept)


def _with_starters(submissions: Submissions, starters: Sequence[str | Path]) -> Submissions:
    for each in map(Path, starters):
        if not paths.is_folder(each):
            raise FileError("no such folder", where=str(each), fix="name the folder of the starter code")
    named = tuple(
        Submission(name=f"starter code {number}", path=Path(each), is_starter=True)
        for number, each in enumerate(starters, 1)
    )
    return with_own_names(replace(submissions, submissions=(*submissions.submissions, *named)))


def _check_records(folder: Path, *, resume: bool) -> None:
    if not resume and any((folder / RECORDS).glob("*.json")):
        raise FileError(
            "the folder has records of an earlier grading",
            where=str(folder),
            fix="--resume keeps those of unchanged submissions; --out names another folder",
        )


def _page(place: Path, brief: str | Path | Brief, rules: Brief, graded: ClassRecords) -> GradedClass:
    return GradedClass(
        title=place.resolve().name,
        brief="" if isinstance(brief, Brief) else Path(str(brief)).stem,
        description=rules.description or "",
        requirements=_requirements(rules),
        records=graded.records,
        sharings=find_sharings(graded.records, graded.starters),
        notes=graded.notes,
    )


def _requirements(brief: Brief) -> tuple[tuple[str, str], ...]:
    table = brief.model_dump(mode="json", exclude_defaults=True)
    return tuple((name, str(value)) for name, value in table.items() if name != "description")


def _write(folder: Path, page: GradedClass, graded: ClassRecords, recipe: Recipe, start: float) -> Grades:
    """Write table and page."""
    rows = rows_of(page.records, page.sharings)
    files.write_text(folder / TABLE, csv_text(rows))
    if any(step.score and step.score.mistakes for record in page.records for step in record.steps):
        from convsmith.data.dataset import load as load_data

        page = replace(page, data=load_data(recipe.data))
    page = replace(page, seconds=round(clock.monotonic() - start, 1))
    files.write_text(folder / PAGE, page_html(page))
    return Grades(
        folder=folder,
        rows=rows,
        sharings=page.sharings,
        protection=page.protection,
        notes=page.notes,
        judged=graded.judged,
    )
