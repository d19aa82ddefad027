"""Set up a repository: a brief, and a workflow that checks a net by it on every push."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import tomli_w

import convsmith
from convsmith.api.check import CheckOptions, judge_nets, weights_count_error
from convsmith.briefs.loader import brief_names, brief_table, load_brief
from convsmith.briefs.schema import Brief
from convsmith.errors import ConvsmithError, FileError, ModuleError, RecipeError
from convsmith.exporters.workflow import BRIEF, Workflow
from convsmith.models.resolve import locate
from convsmith.net.inputs import image_shape, inputs_of
from convsmith.recipes.brief_training import recipe_of_brief
from convsmith.recipes.loader import load_data_config
from convsmith.system import files, git, paths, reading
from convsmith.text import in_line

# Files in which a net is looked for.
_MAX_FILES, _MAX_LISTED = 30, 20
_MAX_BYTES = 2**24


@dataclass(frozen=True, kw_only=True)
class RepositorySetup:
    """What `init` wrote.

    Attributes:
        files: The paths of the brief and of the workflow.
        badge: The line for the README.
        outcomes: What the check says of each net now, without weights and training.
        notes: What is left to do, one sentence each.
    """

    files: tuple[Path, ...]
    badge: str
    outcomes: tuple[str, ...]
    notes: tuple[str, ...]


def init(
    folder: str | Path = ".",
    *,
    ci: str | Path,
    nets: Sequence[str] = (),
    weights: Sequence[str | Path] = (),
    data: str = "",
    input_shape: str = "",
    train: bool = False,
    force: bool = False,
) -> RepositorySetup:
    """Write a brief and a workflow of GitHub Actions into a repository; the nets are checked once.

    Args:
        folder: The folder of the nets. In a sub-folder of a repository the workflow is written to its root.
        ci: The brief: its name or file. A copy becomes `brief.toml`.
        nets: Such as "model.py:Net", relative to the folder; by default the only net of its files.
        weights: A file for each net, relative to the folder, to be evaluated on the test images.
        data: The data set; by default that of the library's recipe for the brief.
        input_shape: The shape of an image instead, such as "1x28x28".
        train: Whether the workflow trains the nets by the rules of the brief.
        force: Replace files that exist.

    Raises:
        RecipeError: The brief or the images are not known, or some arguments have no meaning together.
        ModuleError: There is no net, or several; it cannot be created; the weights do not fit.
        FileError: The folder or a file does not exist, or another file would be replaced.
    """
    folder = Path(folder)
    if not paths.is_folder(folder):
        raise FileError("no such folder", where=str(folder), fix="name the folder of the net")
    if weights and train:
        fix = "leave one of them out"
        raise RecipeError("a training makes weights of its own", where="--weights, --train", fix=fix)
    brief = load_brief(str(ci))
    content = _brief_text(str(ci))
    is_own = _is_same(Path(ci), folder / BRIEF)
    # Nets, weights and data are relative to the folder, as in the workflow.
    with contextlib.chdir(folder):
        names = list(nets) or [_only_net()]
        images = _images(names, brief, data, input_shape, needs_data=bool(weights) or train)
        outcomes = _outcomes(names, brief, images, [str(each) for each in weights])
    root = git.repository_root(folder) or folder.resolve()
    workflow = Workflow(
        folder=PurePosixPath(folder.resolve().relative_to(root).as_posix()),
        nets=names,
        weights=[str(each) for each in weights],
        train=train,
        **images,
    )
    contents = {folder / BRIEF: content.encode(), root / workflow.path: workflow.text().encode()}
    files.write_files(
        {path: each for path, each in contents.items() if not (is_own and path.name == BRIEF)}, replace=force
    )
    repository = git.github_name(root)
    return RepositorySetup(
        files=tuple(contents),
        badge=workflow.badge(repository or "OWNER/REPO"),
        outcomes=outcomes,
        notes=tuple(_notes(folder, root, repository, [*workflow.weights, BRIEF])),
    )


def _brief_text(name: str) -> str:
    """Return the fields of a brief as a file, with those that it takes from another one."""
    source = in_line(name if name in brief_names() else Path(name).name)
    head = (
        f"# The brief {source}, copied by convsmith {convsmith.__version__}: it does not change by itself.\n"
    )
    return head + tomli_w.dumps(brief_table(name))


def _is_same(one: Path, other: Path) -> bool:
    return paths.is_file(one) and paths.is_file(other) and one.resolve() == other.resolve()


def _images(
    names: Sequence[str], brief: Brief, data: str, input_shape: str, *, needs_data: bool
) -> dict[str, str]:
    """Return the option of the check that says which images the nets take."""
    if data and input_shape:
        raise RecipeError(
            "the data have a shape of their own", where="--input", fix="leave --data or --input out"
        )
    if input_shape:
        image_shape(inputs_of(input_shape))
        if needs_data:
            fix = "name the data instead, for example --data mnist"
            raise RecipeError("weights and a training need images", where="--input", fix=fix)
        return {"input_shape": input_shape}
    if data:
        _check_inside(data)
        return {"data": data}
    if not any(locate(name, "recipe").kind in {"module", "notation"} for name in names):
        return {}
    if recipe := recipe_of_brief(brief):
        return {"data": load_data_config(recipe).source}
    raise RecipeError(
        "the images of the task are not known",
        where="--data",
        fix="name the data set, for example --data mnist, or the shape of an image: --input 1x28x28",
    )


def _check_inside(data: str) -> None:
    """Raise FileError for a folder of images that is not in the repository."""
    path = Path(data)
    if not paths.exists(path):
        return
    root = git.repository_root(Path()) or Path.cwd()
    if path.is_absolute() or not path.resolve().is_relative_to(root):
        raise FileError(
            "these images are not in the repository, so the workflow has none",
            where=data,
            fix="name a data set that can be downloaded, or copy them into the repository",
        )


def _outcomes(
    names: Sequence[str], brief: Brief, images: Mapping[str, str], weights: Sequence[str]
) -> tuple[str, ...]:
    """Check the nets once, without an evaluation of their weights."""
    data, shape = images.get("data"), images.get("input_shape")
    options = CheckOptions.of(brief=brief, data=data, input_shape=shape)
    result = judge_nets(names, options)
    if result.errors:
        raise result.errors[0]
    if weights and len(weights) != len(names):
        raise weights_count_error(weights, names)
    for name, file in zip(names, weights, strict=False):
        # A recipe has data of its own.
        if locate(name, "recipe").kind not in {"module", "notation"}:
            continue
        _check_weights(name, file, shape or _shape_of(data))
    return tuple(f"{each.name}: {each.outcome}" for each in result.judgements)


def _shape_of(data: str | None) -> str:
    from convsmith.data.dataset import dataset_info

    assert data is not None, "weights need data"
    return "x".join(map(str, dataset_info(load_data_config(data)).image_shape))


def _check_weights(name: str, file: str, shape: str) -> None:
    """Raise ModuleError if weights do not fit a net, before the workflow says so."""
    from convsmith.modules.architecture import architecture_of
    from convsmith.modules.config import ModuleConfig
    from convsmith.modules.fitting import fit_weights
    from convsmith.modules.weights import read_state_dict
    from convsmith.net.settings import NotationConfig

    weights = read_state_dict(file)
    is_module = locate(name, "recipe").kind == "module"
    config = ModuleConfig(module=name) if is_module else NotationConfig(net=name)
    fit_weights(architecture_of(config).build(image_shape(inputs_of(shape))), weights)


def _only_net() -> str:
    """Return the net of the working directory.

    Raises:
        ModuleError: There is none, or there are several.
    """
    from convsmith.modules.listing import ListedModule, list_modules

    listed: list[ListedModule] = []
    for path in _candidates():
        # A file that fails may be any script of the repository.
        with contextlib.suppress(ConvsmithError):
            listed += list_modules(path.as_posix())
    ready = [each for each in listed if each.parameters]
    if len(ready) == 1:
        return str(ready[0].reference)
    lines = [
        f"{each.reference.place}:{each}" for each in (*ready, *(each for each in listed if each not in ready))
    ]
    if len(lines) > _MAX_LISTED:
        lines = [*lines[:_MAX_LISTED], f"and {len(lines) - _MAX_LISTED} more"]
    example = ready[-1].reference if ready else "model.py:Net"
    raise ModuleError(
        f"found {len(ready)} nets, expected one" if ready else "found no net that can be created",
        where=str(Path.cwd()),
        context="\n".join(lines),
        fix=f"name it, for example --net {example}; several nets are the steps of a hand-in: --net A --net B",
    )


def _candidates() -> list[Path]:
    """Return the files that may define a net, those without tests."""
    files_of_nets = []
    for path in (*sorted(Path().glob("*.py")), *sorted(Path().glob("*.ipynb"))):
        if path.name.startswith(("test_", "conftest")) or not paths.is_file(path):
            continue
        with contextlib.suppress(FileError):
            if b"Module" in reading.read_bytes(path, _MAX_BYTES):
                files_of_nets.append(path)
    return files_of_nets[:_MAX_FILES]


def _notes(folder: Path, root: Path, repository: str, names: Sequence[str]) -> Iterator[str]:
    for name in names:
        if git.is_ignored((folder / name.partition("#")[0]).resolve()):
            yield f"{name} is left out by .gitignore: add it with `git add -f {name}`"
    if not paths.exists(root / ".git"):
        yield f"{root} is no git repository yet: `git init`"
    elif not repository:
        yield "no remote on GitHub: write your name and that of the repository for OWNER/REPO in the badge"
