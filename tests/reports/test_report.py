"""The page of a run: remade from what is saved, safe, self-contained, and driven in a browser."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

import convsmith as cs
from convsmith.cli import run as run_command
from convsmith.data.dataset import Split
from convsmith.errors import RunError
from convsmith.evaluation.metrics import wilson_interval
from convsmith.evaluation.robustness import CORRUPTIONS, corrupt
from convsmith.evaluation.schema import CorruptedAccuracy, Duplicates, LabelErrors, Robustness
from convsmith.recipes.loader import load
from convsmith.reports.drawings import GALLERIES
from convsmith.reports.report import Result
from convsmith.runs.evaluation import load_net
from convsmith.runs.session import open_run
from convsmith.system import reading
from convsmith.training.metrics import evaluate_split
from helpers.browser import CHROMIUM, Page, browser

pytestmark = pytest.mark.charts

HOSTILE = ("<script>alert(1)<", "a|b`c$x^2$ &amp; \"quoted\" 'name'", "]]>--><b>" + "x" * 180)


class Tags(HTMLParser):
    """The tags of a page and their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """A run with many misclassified images."""
    overrides = ["train.epochs=2", "model.net=C8 C16:s2 / G F10", "name=tiny", "train.optimizer.lr=0.003"]
    return cs.train(load("digits", overrides), runs=tmp_path_factory.mktemp("runs"))


@pytest.fixture
def copied(run: Result, tmp_path: Path) -> Path:
    return shutil.copytree(run.folder, tmp_path / "copy")


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): reading.sha256(path) for path in folder.rglob("*") if path.is_file()
    }


def test_report_runs_without_inference(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = hashes(copied)
    shutil.rmtree(copied / "plots")
    for name in ("README.md", "report.html", "manifest.json"):
        (copied / name).unlink()

    def forbidden(*_: object) -> None:
        raise AssertionError("the net was run")

    monkeypatch.setattr("torch.nn.Module.__call__", forbidden)
    result = cs.report(copied)
    assert hashes(copied) == before
    assert result.page.is_file()


def test_results_hold_the_metrics(run: Result) -> None:
    saved = np.load(run.folder / "predictions.npz", allow_pickle=False)
    results = json.loads((run.folder / "results.json").read_text())
    test = results["test"]
    right = saved["logits"].argmax(1) == saved["labels"]
    assert test["accuracy"] == pytest.approx(right.mean())
    interval = wilson_interval(int(right.sum()), len(right))
    assert test["accuracy_95"] == [interval.low, interval.high]
    assert np.array(test["confusion"]).sum() == len(right) == 599
    first = test["most_confident_mistakes"][0]
    assert saved["ids"][first["index"]].decode() == first["id"]
    assert not right[first["index"]]
    assert saved["features"].shape == (599, 16)
    assert len(set(saved["ids"])) == 599


def test_predictions_of_older_versions(copied: Path) -> None:
    saved = dict(np.load(copied / "predictions.npz", allow_pickle=False))
    np.savez(copied / "predictions.npz", logits=saved["logits"], labels=saved["labels"])
    (copied / "explanation.npz").unlink()
    (copied / "manifest.json").unlink()
    page = cs.report(copied).page.read_text()
    assert "Class-activation and occlusion maps" not in page
    assert "Filters of the first layer" in page


def test_report_errors(copied: Path) -> None:
    # With it, any change is refused: tests/faults/test_contradictions.py.
    (copied / "manifest.json").unlink()
    results = copied / "results.json"
    results.write_text('{"test": {}}')
    with pytest.raises(RunError, match="damaged: train is missing"):
        cs.report(copied)
    saved = dict(np.load(copied / "predictions.npz", allow_pickle=False))
    np.savez(copied / "predictions.npz", logits=saved["logits"][1:], labels=saved["labels"][1:])
    with pytest.raises(RunError, match="not of the test set of this run"):
        cs.report(copied)
    (copied / "predictions.npz").unlink()
    with pytest.raises(RunError, match="no saved predictions") as caught:
        cs.report(copied)
    assert "`convsmith evaluate`" in str(caught.value)


def test_damaged_record(copied: Path) -> None:
    record = json.loads((copied / "data.json").read_text())
    del record["splits"]
    (copied / "data.json").write_text(json.dumps(record))
    with pytest.raises(RunError, match=r"damaged: found \d+ bytes, expected \d+"):
        cs.report(copied)
    # Without the manifest the record itself is looked at.
    (copied / "manifest.json").unlink()
    with pytest.raises(RunError, match="splits is missing"):
        cs.report(copied)


def test_the_page_is_self_contained(run: Result) -> None:
    page = run.page.read_text()
    assert len(page) < 5_000_000
    assert all(
        address.startswith("data:") for address in re.findall(r"url\((.*?)\)", page) if "#" not in address
    )
    for tag, attributes in Tags(page).tags:
        assert tag not in {"link", "iframe", "object", "embed", "img"} or attributes.get("href") == "data:,"
        assert "src" not in attributes
    policies = [attributes.get("content") for _, attributes in Tags(page).tags if "http-equiv" in attributes]
    assert [str(each).split(";")[0] for each in policies] == ["default-src 'none'"]


def test_the_page_shows_the_metrics(run: Result) -> None:
    page = run.page.read_text()
    assert f"{100 * run.test.accuracy:.2f} %" in page
    assert run.metrics.interval.text() in page
    assert (run.folder / "log.txt").read_text().splitlines()[0] in page
    wrong = run.test.total - run.test.correct
    assert page.count('<li data-true="') == min(wrong, 300)
    assert "fitted on these test predictions" in page


def test_the_commands(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["report", str(copied)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"Report: {copied / 'report.html'}",
        f"For a repository: {copied / 'README.md'}",
    ]
    assert run_command(["evaluate", str(copied), "--duplicates", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == cs.results(copied)
    assert printed["duplicates"]["largest_difference"] == 10
    (copied / "predictions.npz").unlink()
    assert run_command(["report", str(copied)]) == 2
    err = capsys.readouterr().err
    assert "predictions.npz: damaged: missing" in err
    assert "`convsmith evaluate`" in err
    assert "Traceback" not in err


def test_robustness_is_measured_and_reported(
    run: Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(run.folder, tmp_path / "run")
    assert run_command(["evaluate", str(folder), "--robustness", "--duplicates"]) == 0
    printed = capsys.readouterr().out
    result = cs.report(folder)
    record = json.loads((folder / "robustness.json").read_text())
    assert record["images"] == 599
    assert record["clean"]["accuracy"] == run.test.accuracy
    assert set(record["corruptions"]) == set(CORRUPTIONS)
    opened, prepared = open_run(folder)
    net, normalize, dtype = load_net(opened, prepared)
    test = prepared.data.test
    images = np.asarray(test.images)
    blurred = Split(images=corrupt("gaussian blur", images, 4), labels=test.labels)
    score = evaluate_split(net, blurred, normalize, dtype)
    assert record["corruptions"]["gaussian blur"][3]["accuracy"] == score.accuracy
    means = [level["accuracy"] for levels in record["corruptions"].values() for level in levels]
    assert record["mean_accuracy"] == pytest.approx(np.mean(means))
    assert "Accuracy on corrupted test images" in result.page.read_text()
    assert "| gaussian blur |" in result.report.read_text()
    assert (folder / "plots" / "robustness.svg").is_file()
    # What was asked for is printed.
    assert f"Robustness: {100 * record['mean_accuracy']:.2f} % on average" in printed
    for name, levels in record["corruptions"].items():
        shares = "  ".join(f"{100 * level['accuracy']:.1f} %" for level in levels)
        assert re.search(rf"^{name} +{shares}$", printed, flags=re.MULTILINE)
    duplicates = json.loads((folder / "duplicates.json").read_text())
    assert f"Near-duplicates: {duplicates['count']} test image" in printed
    assert "Likely label errors" not in printed


def test_the_effective_receptive_field_is_reported(run: Result, copied: Path) -> None:
    # What `convsmith receptive-field` measures on as many images is what the report shows.
    field, _ = cs.receptive_field(cs.resolve(str(copied)), copied / "drawn", num_images=128)
    page = run.page.read_text()
    assert f"Effective receptive field: {field.size:.1f} pixels" in page
    assert f"gradient over {field.num_images:,} test images" in page
    assert "](plots/receptive_field.svg)" in run.report.read_text()
    saved = np.load(copied / "receptive_field.npz")["energy"]
    np.testing.assert_allclose(saved, field.energy, rtol=1e-4, atol=1e-7)
    (copied / "manifest.json").unlink()
    (copied / "receptive_field.npz").write_bytes(b"damaged")
    with pytest.raises(RunError, match="damaged receptive field"):
        cs.report(copied)
    (copied / "receptive_field.npz").unlink()
    assert "Effective receptive field" not in cs.report(copied).page.read_text()


def test_nothing_is_computed_twice(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    for name in ("reports.report.preview_images", "reports.page_images._explained_rows"):
        module, _, function = f"convsmith.{name}".rpartition(".")
        original = getattr(import_module(module), function)

        def counted(*args: object, original: Callable[..., Any] = original, name: str = name) -> Any:
            calls.append(name)
            return original(*args)

        monkeypatch.setattr(f"{module}.{function}", counted)
    figures: list[object] = []
    make = Figure.__init__

    def count(figure: Figure, *args: Any, **options: Any) -> None:
        figures.append(figure)
        make(figure, *args, **options)

    monkeypatch.setattr(Figure, "__init__", count)
    rendered: list[object] = []
    render = Figure.draw

    def count_rendered(figure: Figure, renderer: Any) -> None:
        rendered.append(figure)
        render(figure, renderer)

    monkeypatch.setattr(Figure, "draw", count_rendered)
    page = cs.report(copied).page.read_text()
    assert sorted(calls) == ["reports.page_images._explained_rows", "reports.report.preview_images"]
    # Each chart is one figure, which is rendered once: the page has the elements of the files.
    assert len(figures) == len(rendered) == page.count("<svg") == 11
    files = {path.stem: path.read_text() for path in (copied / "plots").iterdir()}
    charts = re.findall(r"<svg[^>]*>(.*?)</svg>", page, flags=re.DOTALL)
    assert all(sum(chart in text for text in files.values()) == 1 for chart in charts)
    assert len(files) == len(charts) + len(GALLERIES)


def test_plots_of_earlier_reports_are_removed(copied: Path) -> None:
    plots = copied / "plots"
    for name in ("curves.png", "confusion.png", "robustness.svg", "mine.png"):
        (plots / name).write_bytes(b"old")
    cs.report(copied)
    assert {path.name for path in plots.iterdir() if path.suffix == ".png"} == {"mine.png"}
    assert not (plots / "robustness.svg").exists()


def test_label_errors_are_reported(copied: Path) -> None:
    pytest.importorskip("cleanlab")
    page = cs.evaluate(copied, label_errors=True).page.read_text()
    record = json.loads((copied / "label_errors.json").read_text())
    assert record["count"] >= len(record["images"])
    assert "Likely label errors" in page


def test_the_navigation_has_every_section(copied: Path) -> None:
    folder, _ = open_run(copied)
    (copied / "manifest.json").unlink()
    level = CorruptedAccuracy(accuracy=0.5, accuracy_95=(0.4, 0.6), loss=1.0)
    corruptions = dict.fromkeys(CORRUPTIONS, (level,) * 5)
    folder.write(Robustness(images=1, clean=level, corruptions=corruptions, mean_accuracy=0.5))
    folder.write(Duplicates(largest_difference=10, count=1, other_label=0, pairs=()))
    folder.write(LabelErrors(method="m", version="1", count=1, images=()))
    page = cs.report(copied).page.read_text()
    sections = [attributes["id"] for tag, attributes in Tags(page).tags if tag == "section"]
    links = re.findall(r'<a href="#([\w-]+)">', page.partition("</nav>")[0])
    assert links == sections
    assert len(sections) == 13


def test_one_is_singular(hostile: Path) -> None:
    for file in (hostile, hostile.with_name("README.md"), hostile.with_name("log.txt")):
        text = file.read_text()
        assert "1 epoch" in text or file.name == "log.txt"
        assert not re.search(
            r"(?<![\d.,])1 (\w+ )?(epochs|images|classes|filters|cells|pixels|pairs)\b", text
        )


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with hostile class names and a class without test images."""
    root = tmp_path_factory.mktemp("hostile")
    _write_images(root / "pictures", HOSTILE)
    shutil.rmtree(root / "pictures" / "test" / HOSTILE[2])
    overrides = [f"data.source={root / 'pictures'}", "model.net=C4 C4 C4 C4 / G F3", "train.epochs=1"]
    return cs.train(
        load("digits", [*overrides, "model.norm=group", "model.norm_groups=4"]), runs=root / "runs"
    ).page


def _write_images(
    root: Path, names: tuple[str, ...], per_class: int = 6, shape: tuple[int, ...] = (8, 8)
) -> None:
    generator = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in names:
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(per_class):
                pixels = generator.integers(0, 256, shape, dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")


def test_a_receptive_field_with_commas_is_one_fact(hostile: Path) -> None:
    facts = hostile.read_text().partition('<dl class="facts">')[2].partition("</dl>")[0]
    names = re.findall(r"<dt>([^<]+)", facts)
    assert len(names) == len(set(names))
    assert "through block1.norm1, block1.norm2, block1.norm3 and 1 more operation" in " ".join(facts.split())


def test_names_are_escaped(hostile: Path) -> None:
    page = hostile.read_text()
    tags = Tags(page).tags
    assert sum(tag == "script" for tag, _ in tags) == 1
    assert not any(tag == "b" and attributes for tag, attributes in tags)
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;" in page
    assert "undefined" in page


@pytest.mark.slow
@pytest.mark.parametrize(
    ("classes", "shape", "net"),
    [(3, (128, 128, 3), "C4:s4 / G F3"), (2, (20, 28), "C4 / F2"), (3, (8, 8), "U2 C4 / G F3")],
)
def test_other_image_sizes(classes: int, shape: tuple[int, ...], net: str, tmp_path: Path) -> None:
    _write_images(tmp_path / "pictures", tuple(f"class {n}" for n in range(classes)), 20, shape)
    overrides = [f"data.source={tmp_path / 'pictures'}", f"model.net={net}", "train.epochs=1"]
    result = cs.train(load("digits", overrides), runs=tmp_path / "runs")
    page = result.page.read_text()
    assert len(page) < 5_000_000
    assert ("there are no class-activation maps" in page) == ("G" not in net)
    title = "Class-activation and occlusion maps" if "G" in net else "Occlusion maps"
    assert f"<h3>{title}</h3>" in page
    assert f"\n### {title}\n" in (result.folder / "README.md").read_text()


@pytest.mark.slow
def test_a_thousand_classes(tmp_path: Path) -> None:
    _write_images(tmp_path / "pictures", tuple(f"class {n:03}" for n in range(1000)), 2)
    overrides = [f"data.source={tmp_path / 'pictures'}", "model.net=C8 / G F1000", "train.epochs=1"]
    result = cs.train(load("digits", overrides), runs=tmp_path / "runs")
    assert len(result.page.read_text()) < 5_000_000
    assert json.loads((result.folder / "results.json").read_text())["test"]["confusion"] is None
    assert "classes between are not shown" in result.page.read_text()
    readme = result.report.read_text()
    assert "The 30 classes with the lowest recall. [results.json](results.json) has all 1,000." in readme
    assert len(re.findall(r"^\| class \d{3} \| \d+ \| \d+ \| [\d.]+ %", readme, flags=re.MULTILINE)) == 30


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    if CHROMIUM is None:
        pytest.skip("no Chromium to look at pages with")
    with browser() as opened:
        yield opened


SHOWN = """[...document.querySelectorAll('#gallery li')].filter(each => !each.hidden)
    .map(each => [each.dataset.true, each.dataset.predicted, +each.dataset.confidence, +each.dataset.loss])"""


def choose(page: Page, name: str, value: str) -> list[list[str | float]]:
    """Select an option above the gallery and return the visible images."""
    page.evaluate(
        f"(() => {{ const list = document.querySelector('{name}'); list.value = {json.dumps(value)}; "
        "list.dispatchEvent(new Event('change')); })()"
    )
    shown: list[list[str | float]] = page.evaluate(SHOWN)
    return shown


def test_the_gallery_filters_and_sorts(page: Page, run: Result) -> None:
    page.open(run.page, width=1280, height=900)
    total = page.evaluate("document.querySelectorAll('#gallery li').length")
    wrong = run.test.total - run.test.correct
    assert total == min(wrong, 300)
    assert len(page.evaluate(SHOWN)) == min(total, 48)
    page.evaluate("document.querySelector('#all').click()")
    everything = page.evaluate(SHOWN)
    assert len(everything) == total
    some = everything[0][0]
    only = choose(page, "#true", some)
    assert only
    assert len(only) == min(sum(each[0] == some for each in everything), 48)
    assert {each[0] for each in only} == {some}
    guess = only[0][1]
    both = choose(page, "#predicted", str(guess))
    assert {(each[0], each[1]) for each in both} == {(some, guess)}
    choose(page, "#true", "")
    choose(page, "#predicted", "")
    for order, column, sign in (
        ("confidence-down", 2, -1),
        ("confidence-up", 2, 1),
        ("loss-down", 3, -1),
        ("loss-up", 3, 1),
    ):
        values = [sign * float(each[column]) for each in choose(page, "#order", order)]
        assert len(values) > 1
        assert values == sorted(values)
    assert page.messages == []


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_and_sends_no_requests(
    page: Page, run: Result, hostile: Path, width: int, *, dark: bool
) -> None:
    for file in (run.page, hostile):
        page.open(file, width=width, height=900, dark=dark)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        # The tables of classes are not cut; the navigation fades where it is.
        tables = "[...document.querySelectorAll('.fit')]"
        cut = page.evaluate(f"{tables}.map(each => each.scrollWidth - each.parentElement.clientWidth)")
        assert max(cut) <= 0
        mask = page.evaluate("getComputedStyle(document.querySelector('nav div')).maskImage")
        assert "linear-gradient" in mask
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert background == ("rgb(20, 23, 28)" if dark else "rgb(255, 255, 255)")
        assert [each for each in page.requests if not each.startswith("data:")] == [file.resolve().as_uri()]
        assert page.messages == []


def test_filters_with_hostile_names(page: Page, hostile: Path) -> None:
    page.open(hostile, width=1280, height=900)
    names = {each[0] for each in page.evaluate(SHOWN)}
    assert names
    for name in names:
        assert {each[0] for each in choose(page, "#true", str(name))} == {name}
    assert page.messages == []


def test_collapsed_sections_are_printed(page: Page, run: Result) -> None:
    page.open(run.page, width=800, height=900, media="print")
    assert page.evaluate("getComputedStyle(document.querySelector('nav')).display") == "none"
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("[...document.querySelectorAll('details')].every(each => each.open)")


def test_the_browser_reports_script_errors(page: Page, tmp_path: Path) -> None:
    bad = tmp_path / "bad.html"
    bad.write_text("<script>nothing.here()</script><img src='gone.png'>")
    page.open(bad, width=400, height=400)
    assert any("nothing is not defined" in message for message in page.messages)
    assert any(request.endswith("gone.png") for request in page.requests)
