"""Submissions of a class: folders, CSV files, and what is not a submission."""

from pathlib import Path

import pytest

from convsmith.errors import FileError
from convsmith.grading.submissions import find_submissions


def names(place: Path) -> list[str]:
    return [each.name for each in find_submissions(place).submissions]


def test_folders_are_in_natural_order_without_litter(tmp_path: Path) -> None:
    for name in ("team 10", "team 2", "Ada", "__MACOSX", ".git", "__pycache__"):
        (tmp_path / name).mkdir()
    (tmp_path / ".DS_Store").touch()
    assert names(tmp_path) == ["Ada", "team 2", "team 10"]


def test_archives_links_and_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "ada").mkdir()
    (tmp_path / "bob.ZIP").touch()
    (tmp_path / "eve").symlink_to(tmp_path / "ada")
    (tmp_path / "grades.xlsx").touch()
    found = find_submissions(tmp_path)
    problems = {each.name: each.problem for each in found.submissions}
    assert problems == {
        "ada": "",
        "bob.ZIP": "the submission is an archive",
        "eve": "the submission is a link",
    }
    assert found.notes == ("1 file beside the folders of the submissions: grades.xlsx",)


def test_a_folder_that_is_one_submission(tmp_path: Path) -> None:
    (tmp_path / "model.py").touch()
    with pytest.raises(FileError, match="no sub-folder") as caught:
        find_submissions(tmp_path)
    assert str(tmp_path.parent) in caught.value.problems[0].fix


def test_csv_with_hints(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "class.csv").write_text(
        "Name;Path;net;weights\nbob;b;;\nada;a;model.py:Net(width=8) ; best.pth\n\n"
    )
    # The separators of nets are semicolons too, in a file with commas.
    (tmp_path / "steps.csv").write_text('name,path,net\nada,a,"model.py:Model_1; model.py:Model_2"\n')
    ada, bob = find_submissions(tmp_path / "class.csv").submissions
    assert (ada.hints.nets, ada.hints.weights) == (("model.py:Net(width=8)",), "best.pth")
    assert ada.path == tmp_path / "a"
    assert bob.problem == "no such folder: b"
    (steps,) = find_submissions(tmp_path / "steps.csv").submissions
    assert steps.hints.nets == ("model.py:Model_1", "model.py:Model_2")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "the column 'name' is missing; found none"),
        ("name,folder\na,b\n", "the column 'path' is missing; found name, folder"),
        ("name,path\n", "no rows, expected one for each submission"),
        ("name,path\na,x\na,y\n", "2 rows have the name 'a'"),
        ("name,path\na,\n", "the path is missing"),
        ('name,path\n"a,b\n', "not valid CSV: unexpected end of data"),
    ],
)
def test_wrong_csv(tmp_path: Path, text: str, what: str) -> None:
    path = tmp_path / "class.csv"
    path.write_text(text)
    with pytest.raises(FileError) as caught:
        find_submissions(path)
    assert caught.value.problems[0].what == what


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no such folder"):
        find_submissions(tmp_path / "class")


def test_a_path_that_cannot_be_has_a_row(tmp_path: Path) -> None:
    table = tmp_path / "class.csv"
    table.write_text(f"name,path\nada,{'x' * 5000}\nbob,\0\n{'7' * 5000},.\n", encoding="utf-8")
    found = find_submissions(table).submissions
    assert [each.problem.partition(":")[0] for each in found] == ["", "no such folder", "no such folder"]
