"""The page of a data set: every picture has a text, nothing is requested, names are escaped."""

import re
from pathlib import Path

import numpy as np
import pytest

import convsmith as cs
from convsmith.reports.data_page import draw_charts, html
from helpers.images import saved
from helpers.pages import Page

HOSTILE = '<b>x & "y"\''


@pytest.fixture
def source(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for name, count in (("cat", 9), (HOSTILE, 2)):
        for number in range(count):
            shape = (12 + number, 20, 3)
            saved(tmp_path / "pets" / name / f"{number}.png", random.integers(0, 256, shape, dtype=np.uint8))
    return tmp_path / "pets"


def test_the_page(source: Path, tmp_path: Path) -> None:
    description = cs.describe_data(str(source), report=str(tmp_path / "page.html"))
    text = (tmp_path / "page.html").read_text("utf-8")
    page = Page(text)
    images = page.all("img")
    # Eight and two examples, a mean for each class, and one of all.
    assert len(images) == 8 + 2 + 2 + 1
    assert all(image["alt"] and (image["src"] or "").startswith("data:image/") for image in images)
    assert f"{HOSTILE}, example 1 of 2" in {image["alt"] for image in images}
    assert not page.all("b")
    assert HOSTILE in page.text
    (policy,) = (each["content"] for each in page.all("meta") if "http-equiv" in each)
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert not re.search(r"(src|href|url\()=?[\"']?https?:", text)
    figures = page.all("figure")
    assert [each["aria-label"] for each in figures if each.get("role") == "img"] == [
        "Images of each class; the numbers are in the table",
        "Width and height of the images; the numbers are in the table",
    ]
    for text in ("9 sizes in pixels", "mixed sizes: ", "9 training images of 'cat', 2 of "):
        assert text in page.text
    assert f"convsmith init {source}" in page.text
    assert description.total == 11


def test_one_size_has_no_chart_of_sizes(tmp_path: Path) -> None:
    description = cs.describe_data("digits")
    charts = draw_charts(description)
    assert list(charts) == ["Images of each class"]
    text = Page(html(description, charts)).text
    assert "All images have 8x8 pixels" in text
    assert "None: every image can be read" in text


def test_equal_data_give_an_equal_page(source: Path) -> None:
    pages = [html(each, draw_charts(each)) for each in (cs.describe_data(str(source)) for _ in range(2))]
    assert pages[0] == pages[1]


def test_many_classes_have_a_chart_of_all(tmp_path: Path) -> None:
    for number in range(40):
        for copy in range(2):
            saved(
                tmp_path / "many" / f"c{number}" / f"{copy}.png", np.full((2, 2), number * 2 + copy, np.uint8)
            )
    description = cs.describe_data(str(tmp_path / "many"))
    charts = draw_charts(description)
    assert "Training images of all classes, in order" in charts
    page = Page(html(description, charts))
    assert "10 classes between are not listed" in page.text
    assert len(page.all("img")) == 1 + 30 * 3
