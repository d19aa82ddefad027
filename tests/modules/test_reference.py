"""Names of modules as text."""

import pytest

from convsmith.errors import ModuleError
from convsmith.modules.reference import ModuleReference, is_reference, parse_reference
from convsmith.net.notation import parse


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model.py", ModuleReference(place="model.py", name="")),
        ("model.py:", ModuleReference(place="model.py", name="")),
        ("nets/S7.ipynb:Net#2", ModuleReference(place="nets/S7.ipynb", name="Net", occurrence=2)),
        (
            "C:\\my nets\\model.py:Net(10, w=-1.5, x=(1, [2, None]), t='a,)')",
            ModuleReference(
                place="C:\\my nets\\model.py",
                name="Net",
                args=(10,),
                kwargs={"w": -1.5, "x": (1, [2, None]), "t": "a,)"},
            ),
        ),
        ("model.py:Net.small()", ModuleReference(place="model.py", name="Net.small")),
        ("timm.models.resnet:resnet18", ModuleReference(place="timm.models.resnet", name="resnet18")),
        (
            "timm:create_model('resnet18')",
            ModuleReference(place="timm", name="create_model", args=("resnet18",)),
        ),
    ],
)
def test_references(text: str, expected: ModuleReference) -> None:
    assert is_reference(text)
    assert parse_reference(text) == expected
    # The canonical text means the same.
    assert parse_reference(str(expected)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "C16",
        "C16:s2",
        "C16:k3:s2 C16:agelu / G F10",
        "+(C16:s2)*2 / G F10",
        "(C8 C8:o0.1)*2 / G F10",
        "D:d2 / F10",
    ],
)
def test_the_notation_is_no_reference(text: str) -> None:
    parse(text)
    assert not is_reference(text)


@pytest.mark.parametrize(
    "text", ["digits", "zoo:digits", "recipe:digits", "my.toml", "runs/digits-1", "", "model.pyc", "a:b"]
)
def test_other_names_are_no_references(text: str) -> None:
    assert not is_reference(text)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("model.py:Net(open('x'))", "found \"Net(open('x'))\", expected the name of a class"),
        ("model.py:Net(**{'a': 1})", "expected the name of a class"),
        ("model.py:Net(1", "expected the name of a class"),
        ("model.py:7", "expected the name of a class"),
        ("model.py:Net(1)(2)", "expected the name of a class"),
        ("model.py:Net#0", "found #0, expected #1 for the first definition"),
        ("resnet18", "found 'resnet18', expected a file and a class in it"),
    ],
)
def test_texts_that_are_no_references(text: str, what: str) -> None:
    with pytest.raises(ModuleError) as caught:
        parse_reference(text)
    assert what in caught.value.problems[0].what
    assert caught.value.problems[0].fix
