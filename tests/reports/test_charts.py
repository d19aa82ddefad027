"""The charts show the numbers that they are drawn from."""

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import same_color
from matplotlib.figure import Figure

from convsmith.evaluation.calibration import measure_calibration, merge_bins
from convsmith.reports import charts
from convsmith.runs.schema import EpochRow
from helpers.evaluation import random_predictions

HISTORY = tuple(
    EpochRow(
        epoch=number,
        lr=0.01 * number,
        train_loss=2.0 / number,
        train_accuracy=1 - 0.5 / number,
        validation_loss=2.1 / number,
        validation_accuracy=1 - 0.6 / number,
        test_loss=2.2 / number**2,
        test_accuracy=1 - 0.7 / number,
    )
    for number in range(1, 21)
)


def drawn(chart: charts.Draw) -> Axes:
    ax: Axes = Figure().subplots()
    chart(ax)
    return ax


@pytest.mark.parametrize(("kind", "log"), [("loss", False), ("loss", True), ("accuracy", False)])
def test_each_split_has_a_colour_of_its_own(kind: str, *, log: bool) -> None:
    ax = drawn(charts.curve(HISTORY, kind, log=log))
    assert ax.get_yscale() == ("log" if log else "linear")
    lines = ax.get_lines()
    for line, split in zip(lines, ("train", "validation", "test"), strict=True):
        assert np.asarray(line.get_ydata()).tolist() == [row.metric(split, kind) for row in HISTORY]
    colours = [line.get_color() for line in lines]
    assert not any(same_color(one, other) for number, one in enumerate(colours) for other in colours[:number])
    # Labels are inside the axis, apart from each other.
    low, high = ax.get_ylim()
    heights = sorted(float(text.xy[1]) for text in ax.texts)  # type: ignore[attr-defined]
    assert low <= heights[0] < heights[1] < heights[2] <= high


@pytest.mark.parametrize("kind", ["loss", "accuracy"])
@pytest.mark.parametrize("epoch", [1, 20])
def test_the_epoch_whose_weights_were_kept_is_marked(kind: str, epoch: int) -> None:
    plain, marked = (drawn(charts.curve(HISTORY, kind, selected=each)) for each in (None, epoch))
    assert len(marked.get_lines()) == len(plain.get_lines()) + 1
    assert marked.get_lines()[-1].get_xdata() == [epoch, epoch]
    assert marked.texts[-1].get_text() == f"weights of epoch {epoch}"
    # The text is on the side where the axis has room.
    side = marked.texts[-1].get_ha()  # type: ignore[attr-defined]
    assert side == ("left" if epoch == 1 else "right")
    assert marked.get_ylim() == plain.get_ylim()


def test_a_loss_of_zero_has_no_place_on_a_logarithmic_axis() -> None:
    rows = [row.model_copy(update={"train_loss": 0.0}) for row in HISTORY]
    assert len(drawn(charts.curve(rows, "loss", log=True)).texts) == 2


def test_the_learning_rate_is_drawn() -> None:
    (line,) = drawn(charts.learning_rate(HISTORY)).get_lines()
    assert np.asarray(line.get_ydata()).tolist() == [row.lr for row in HISTORY]


@pytest.mark.parametrize("count", [15, 599, 5000])
def test_reliability_has_bars_with_counts(count: int) -> None:
    calibration = measure_calibration(random_predictions(count=count))
    ax = drawn(charts.reliability(calibration))
    bars = merge_bins(calibration.bins, max(10, count // 100))
    assert [bar.get_height() for bar in ax.patches] == [each.accuracy for each in bars]  # type: ignore[attr-defined]
    counts = [int(text.get_text().replace(",", "")) for text in ax.texts]
    assert sum(counts) == count
    assert min(counts) >= min(max(10, count // 100), count)


@pytest.mark.parametrize("losses", [(2.2, 2.1), (2.0, 0.6), (2.3, 0.004)])
def test_a_logarithmic_axis_has_labels(losses: tuple[float, float]) -> None:
    rows = [
        EpochRow(epoch=n + 1, lr=0.1, train_loss=loss, train_accuracy=0.5) for n, loss in enumerate(losses)
    ]
    ax = drawn(charts.curve(rows, "loss", log=True))
    low, high = ax.get_ylim()
    assert sum(low <= tick <= high for tick in ax.get_yticks()) >= 2
