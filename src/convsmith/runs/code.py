"""The code of a run whose net is a module: copied, hashed, and run only if the user allows it."""

import shlex
from pathlib import Path

from convsmith.errors import ModuleError, Problem, RunError
from convsmith.modules.access import CodeAccess
from convsmith.modules.architecture import SOURCE, Architecture, architecture_in, architecture_of
from convsmith.modules.config import ModuleConfig
from convsmith.modules.reference import parse_reference
from convsmith.modules.sources import SourceFiles, names_in
from convsmith.net.settings import NotationConfig
from convsmith.recipes.schema import Recipe
from convsmith.runs.folder import RunFolder
from convsmith.runs.schema import CodeRecord, FileEntry
from convsmith.system import files, paths, reading


def write_code(folder: RunFolder, architecture: Architecture, *, is_instance: bool = False) -> None:
    """Copy the files of a module into a run folder, and record their hashes.

    Args:
        folder: The run folder.
        architecture: The net of the run; one in the notation has no code.
        is_instance: Whether the user passed an instance, whose arguments are not known.
    """
    sources, config = architecture.sources, architecture.recorded_config
    if not isinstance(config, ModuleConfig) or (sources is None and not is_instance):
        return
    entries = {}
    if sources is not None:
        sources.write(files.make_folder(folder.path / SOURCE))
        entries = {
            name: FileEntry(sha256=digest, bytes=len(sources.files[name]))
            for name, digest in sources.hashes.items()
        }
    folder.write(CodeRecord(module=config.module, files=entries, is_instance=is_instance))


def resume_command(folder: Path, recipe: Recipe) -> str:
    """Return the command that continues a run, in backticks.

    Example:
        >>> from convsmith.recipes.loader import load
        >>> resume_command(Path("runs/my net-1"), load("digits"))
        "`convsmith resume 'runs/my net-1'`"
    """
    word = " --trust-code" if isinstance(recipe.model, ModuleConfig) else ""
    return f"`convsmith resume {shlex.quote(str(folder))}{word}`"


def architecture_of_run(folder: RunFolder, recipe: Recipe, access: CodeAccess) -> Architecture:
    """Return the net of a run without weights.

    Args:
        folder: The run folder.
        recipe: Its recipe.
        access: Whether the code in the folder may be run.

    Raises:
        UntrustedCodeError: The net is a module, and its code may not be run.
        RunError: The code is not the one that was trained, or there is none: it was an instance.
        ModuleError: The module cannot be loaded.
    """
    if isinstance(recipe.model, NotationConfig):
        return architecture_of(recipe.model)
    # Naming an installed package runs code too.
    access.check(str(folder.path))
    record = folder.find(CodeRecord)
    if record is not None and access.module is None:
        _verify(folder, record)
        if not record.files:
            raise RunError(
                "it was trained with an instance, whose class is in no file",
                where=str(folder.path),
                fix="pass the instance in Python: module=...",
            )
    try:
        return architecture_in(folder.path, recipe.model, access.module)
    except ModuleError as error:
        if record is None or not record.is_instance:
            raise
        raise RunError(
            f"it was trained with an instance, which its code cannot make again: {error.problems[0].what}",
            where=str(folder.path),
            fix="pass the instance in Python: module=Net(...)",
        ) from error


def read_code(folder: RunFolder) -> SourceFiles | None:
    """Return the files of the code of a run, as they were trained; None if it has none.

    Raises:
        RunError: They are not those that were trained.
    """
    record = folder.find(CodeRecord)
    if record is None or not record.files:
        return None
    _verify(folder, record)
    main = parse_reference(record.module).place.removeprefix(f"{SOURCE}/")
    return SourceFiles.read(folder.path / SOURCE, main)


def _verify(folder: RunFolder, record: CodeRecord) -> None:
    """Compare the files of the code with their record.

    Raises:
        RunError: Files differ, are missing, or are of no record; one problem for each.
        FileError: There is a link among them.
    """
    source = folder.path / SOURCE
    present = set(names_in(source)) if paths.is_folder(source) else set()
    problems = []
    for name in sorted(present | record.files.keys()):
        entry, path = record.files.get(name), source / name
        if entry is None:
            what = "not a file of this run's code"
        elif name not in present:
            what = "damaged: missing"
        elif (digest := reading.sha256(path)) != entry.sha256:
            what = f"not the code that was trained: found SHA-256 {digest[:12]}, expected {entry.sha256[:12]}"
        else:
            continue
        problems.append(Problem(what=what, where=str(path), fix="restore the file as it was, or train again"))
    if problems:
        raise RunError.of(problems)
