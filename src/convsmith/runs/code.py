"""The code of a run whose net is a module: copied, hashed, and run only if the user allows it."""

from convsmith.errors import ModuleError, Problem, RunError
from convsmith.modules.access import CodeAccess
from convsmith.modules.architecture import SOURCE, Architecture, architecture_of
from convsmith.modules.config import ModuleConfig
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
    sources = architecture.sources
    if sources is None:
        return
    source = files.make_folder(folder.path / SOURCE)
    sources.write(source)
    entries = {
        name: FileEntry(sha256=digest, bytes=len(sources.files[name]))
        for name, digest in sources.hashes.items()
    }
    config = architecture.recorded_config
    assert isinstance(config, ModuleConfig), "a net with files is a module"
    folder.write(CodeRecord(module=config.module, files=entries, is_instance=is_instance))


def architecture_of_run(folder: RunFolder, recipe: Recipe, access: CodeAccess) -> Architecture:
    """Return the net of a run without weights.

    Args:
        folder: The run folder.
        recipe: Its recipe.
        access: Whether the code in the folder may be run.

    Raises:
        UntrustedCodeError: The net is a module, and its code may not be run.
        RunError: The code is not the one that was trained.
        ModuleError: The module cannot be loaded.
    """
    if isinstance(recipe.model, NotationConfig):
        return architecture_of(recipe.model)
    # Naming an installed package runs code too.
    access.check(str(folder.path))
    record = folder.find(CodeRecord)
    if record is not None and access.module is None:
        _verify(folder, record)
    try:
        return _architecture(folder, recipe.model, access)
    except ModuleError as error:
        if record is None or not record.is_instance:
            raise
        raise RunError(
            f"it was trained with an instance, which its code cannot make again: {error.problems[0].what}",
            where=str(folder.path),
            fix="pass the instance in Python: module=Net(...)",
        ) from error


def _architecture(folder: RunFolder, config: ModuleConfig, access: CodeAccess) -> Architecture:
    """Load the module; its files are those in the folder alone."""
    source = folder.path / SOURCE
    prefix = f"{source}/"
    if access.module is not None or not config.module.startswith(prefix):
        return architecture_of(config, access.module)
    local = config.model_copy(update={"module": config.module.removeprefix(prefix)})
    return architecture_of(local, root=source)


def _verify(folder: RunFolder, record: CodeRecord) -> None:
    """Compare the files of the code with their record.

    Raises:
        RunError: Files differ, are missing, or are of no record; one problem for each.
    """
    source = folder.path / SOURCE
    present = {path.relative_to(source).as_posix() for path in source.rglob("*") if paths.is_file(path)}
    # Python writes these itself.
    present = {name for name in present if "__pycache__" not in name}
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
