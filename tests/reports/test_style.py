"""SVG files of charts and galleries: valid XML, in two colour schemes, with names in any script."""

import re
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from matplotlib.textpath import TextPath

from convsmith.evaluation.schema import ClassMetrics
from convsmith.reports import charts, style
from convsmith.reports.galleries import GAP, WIDTH, Tile, gallery

SVG = "{http://www.w3.org/2000/svg}"
# Chinese, Japanese, Korean, Hebrew, Arabic, Hindi, Thai; markup; characters that XML excludes.
NAMES = (
    "猫",
    "いぬ",
    "고양이",
    "חתול",
    "قط",
    "बिल्ली",
    "แมว",
    "<b>&amp;",
    "]]>",
    'a"b',
    "x\x1b\x00",
    "caf\udce9",
    "￾",
)


def drawings(name: str) -> list[style.Drawing]:
    """Return a chart and a gallery with a class of this name."""
    classes = [ClassMetrics(name=each, correct=3, total=4, predicted=3) for each in ("cat", name)]
    tile = Tile(image=np.zeros((8, 8, 1), np.uint8), caption=f"{style.short(name)} (97%)", correct=False)
    chart = style.draw(charts.one(charts.class_accuracy(classes, 0.75)))
    return [chart, gallery([tile, None], style.short(name), name)]


@pytest.mark.parametrize("name", NAMES)
def test_files_are_valid_and_have_the_name_as_text(name: str) -> None:
    for drawing in drawings(name):
        root = ET.fromstring(drawing.file(name).encode())  # noqa: S314 - our own file
        texts = "".join("".join(each.itertext()) for each in root.iter(f"{SVG}text"))
        # Line breaks and control characters of names are shown as marks.
        assert re.sub(r"[\x00-\x1f\ud800-\udfff￾]", "", style.short(name)).strip("�?") in texts
        assert not [each for each in root.iter() if each.tag in {f"{SVG}script", f"{SVG}foreignObject"}]
        links = re.findall(r'href="(.*?)"', drawing.body)
        assert all(link.startswith(("#", "data:image/")) for link in links)


def test_colours_have_constants_and_variables() -> None:
    for drawing in drawings("dog"):
        text = drawing.file("Accuracy")
        light, _, dark = text.partition("@media (prefers-color-scheme: dark)")
        used = set(re.findall(r"var\((--[\w-]+)\)", drawing.body))
        assert {"--ink", "--orange", "--font"} <= used
        for name in used - {"--font"}:
            assert re.search(rf"{name}: #[0-9a-f]{{6}}", light)
            assert re.search(rf"{name}: #[0-9a-f]{{6}}", dark)
        # Programs without variables ignore a declaration that has one, and find the constant before it.
        for declaration in re.findall(r"([\w-]+): [^;\"]*var\(", drawing.body):
            assert re.search(rf"{declaration}: [^;\"]+; {declaration}: [^;\"]*var\(", drawing.body)


@pytest.mark.parametrize(
    "caption", ["cat (97%)", "automobile (15%)", "m" * 30, "WIDE <NAME> & MORE", "猫" * 16]
)
@pytest.mark.parametrize("columns", [5, 8])
def test_captions_fit_their_cells(caption: str, columns: int) -> None:
    body = gallery([Tile(image=np.zeros((8, 8, 1), np.uint8), caption=caption)], "", columns=columns).body
    size = float(re.findall(r"font: ([\d.]+)px 'DejaVu Sans'", body)[-1])
    assert size == 9 if caption == "cat (97%)" else size <= 9
    width = TextPath((0, 0), caption, size=size).get_extents().width if caption.isascii() else 16 * size
    assert width <= (WIDTH - GAP) / columns


@pytest.mark.parametrize(
    ("shape", "kind"), [((32, 32, 3), "png"), ((300, 200, 3), "jpeg"), ((28, 28, 1), "png")]
)
def test_images_of_a_gallery_are_embedded_once(shape: tuple[int, ...], kind: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, *shape), dtype=np.uint8)
    body = gallery([Tile(image=each) for each in pixels], "Examples").body
    assert len(set(re.findall(rf'href="(data:image/{kind};base64,[^"]+)"', body))) == 5
    assert len(body) < 500_000
