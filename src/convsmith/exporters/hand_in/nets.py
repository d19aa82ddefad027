"""The nets of the steps in one file: `model.py` with the classes `Model_1`, `Model_2` and so on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from textwrap import wrap

from convsmith.codegen import WIDTH
from convsmith.errors import RunError
from convsmith.exporters.code import usage_notes
from convsmith.exporters.project.net_code import NetCode
from convsmith.exporters.project.project import net_code
from convsmith.exporters.project.variants import Version, merge_versions
from convsmith.models.run_model import RunModel
from convsmith.modules.architecture import ModuleArchitecture

# Until the merge, so that a class of the user's own may be called `Model_2`.
_NEW = "HandedIn"


@dataclass(frozen=True, kw_only=True)
class Nets:
    """The code of the nets.

    Attributes:
        text: model.py.
        codes: How each net is imported and created.
        files: The files of nets that consist of several, by their path.
        remarks: What was changed in the files of the user's own, one sentence each.
    """

    text: str
    codes: tuple[NetCode, ...]
    files: Mapping[str, bytes] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


def nets_of(models: Sequence[RunModel]) -> Nets:
    """Return the code of the nets of finished runs.

    Raises:
        RunError: A run is damaged or not finished; files of two nets have one name; or a file of a net has
            a name that the project uses.
    """
    codes = [_code(model, number) for number, model in enumerate(models, start=1)]
    _check_names(codes, models)
    versions = [
        _version(code, model, number)
        for number, (code, model) in enumerate(zip(codes, models, strict=True), start=1)
    ]
    merged = merge_versions(versions, _docstring(models))
    text = merged.text
    for number, version in enumerate(versions, start=1):
        ((root, new),) = version.new.items()
        if merged.names[number - 1][root] != new:
            text += _same(
                new, merged.names[number - 1][root], is_class=_is_class(codes[number - 1], models[number - 1])
            )
    own = {name: content for code in codes if len(code.files) > 1 for name, content in code.files.items()}
    return Nets(
        text=text,
        codes=tuple(_of_model(code, number) for number, code in enumerate(codes, start=1)),
        files=own,
        remarks=tuple(
            dict.fromkeys(
                _remark(code, number)
                for number, code in enumerate(codes, start=1)
                if code.main and not code.text
            )
        ),
    )


def _code(model: RunModel, number: int) -> NetCode:
    """Return the code of a net: a file, or several in a folder of their own."""
    code = net_code(model, "")
    return code if len(code.files) < 2 else net_code(model, f"model_{number}/")


def _of_model(code: NetCode, number: int) -> NetCode:
    name = f"Model_{number}"
    return replace(code, text="", module="model", name=name, call=f"{name}()", main="model.py", files={})


def _check_names(codes: Sequence[NetCode], models: Sequence[RunModel]) -> None:
    """Raise RunError if files of two nets have one name and differ: Python imports one of them."""
    owners: dict[str, tuple[int, bytes]] = {}
    for number, code in enumerate(codes):
        if len(code.files) < 2:
            continue
        for path, content in code.files.items():
            name = path.partition("/")[2]
            if name == "__init__.py" or path == code.main:
                continue
            owner, other = owners.setdefault(name, (number, content))
            if other != content:
                raise RunError(
                    f"its net and that of {models[owner].place} have different files {name}",
                    where=models[number].place,
                    fix="give the files two names and train again, or write each net into one file",
                )


def _is_class(code: NetCode, model: RunModel) -> bool:
    architecture = model.architecture
    if not isinstance(architecture, ModuleArchitecture):
        return True
    return isinstance(architecture.loaded.factory, type) and not code.call.endswith(".float()")


def _version(code: NetCode, model: RunModel, number: int) -> Version:
    new = f"Model_{number}"
    if code.text:
        return Version(code.text, roots=frozenset({"Net"}), new={"Net": new})
    is_class = _is_class(code, model)
    if len(code.files) == 1:
        text = next(iter(code.files.values())).decode(errors="surrogateescape")
        if is_class and code.call == f"{code.name}()":
            return Version(text, roots=frozenset({code.name}), new={code.name: new})
    else:
        text = f"from {code.module} import {code.name}\n"
    start = "import copy\n" if code.call.startswith("copy.") else ""
    text = f"{start}{text.rstrip()}\n\n\n{_definition(code, is_class=is_class)}"
    return Version(text, roots=frozenset({_NEW}), new={_NEW: new})


def _definition(code: NetCode, *, is_class: bool) -> str:
    """Return a class, or a function for what no class makes, that needs no arguments."""
    place = f" of `{code.main or code.module}`" if len(code.files) != 1 else ""
    docstring = (
        f'"""`{code.call}`{place}."""' if '"' not in code.call and "\\" not in code.call else '"""The net."""'
    )
    name, _, arguments = code.call.partition("(")
    if not is_class:
        return f"def {_NEW}():\n    {docstring}\n    return {code.call}\n"
    text = f"class {_NEW}({name}):\n    {docstring}\n"
    if arguments != ")":
        text += f"\n    def __init__(self):\n        super().__init__({arguments}\n"
    return text


def _same(new: str, name: str, *, is_class: bool) -> str:
    docstring = f'"""The net of `{name}`: its step differs in the training."""'
    if is_class:
        return f"\n\nclass {new}({name}):\n    {docstring}\n"
    return f"\n\ndef {new}():\n    {docstring}\n    return {name}()\n"


def _docstring(models: Sequence[RunModel]) -> str:
    last = models[-1]
    nets = "`Model_1`" if len(models) == 1 else f"`Model_1` to `Model_{len(models)}`"
    title = f"The net: {nets}." if len(models) == 1 else f"The nets of the steps: {nets}."
    notes = usage_notes(last.data.mean, last.data.std, last.labels)
    return "\n".join([title, *("\n" + "\n".join(wrap(note, WIDTH)) for note in notes)]) + "\n"


def _remark(code: NetCode, number: int) -> str:
    name = f"`Model_{number}`"
    if len(code.files) > 1:
        return (
            f"{name} is the net of `{code.main}`; its files are in `model_{number}/`, as they were trained."
        )
    return f"{name} is the net that was trained; `model.py` has what it uses of its file."
