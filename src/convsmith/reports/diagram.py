"""Network diagram: layers as boxes from left to right, with the receptive field as bars below."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path as FilePath
from textwrap import wrap

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, PathPatch, Rectangle
from matplotlib.path import Path

from convsmith.net.analysis import Analysis
from convsmith.net.cells import axes_text
from convsmith.reports import style
from convsmith.reports.layout import Box, Kind, Place, arrange, boxes
from convsmith.reports.style import (
    AMBER,
    BLUE,
    FIELD,
    FRAME,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PURPLE,
    RULE,
    SKY,
    SOFT,
    STYLE,
    WHITE,
    fixed,
)
from convsmith.system import files

_DARK, _LIGHT = fixed(INK), fixed(WHITE)
# Fill and text colours, of the Okabe-Ito palette, the same in both colour schemes.
COLOURS: dict[Kind, tuple[str, str]] = {
    "image": (WHITE, INK),
    "convolution": (fixed(BLUE), _LIGHT),
    "depthwise": (fixed(AMBER), _DARK),
    "pointwise": (fixed(SKY), _DARK),
    "transposed": (fixed(ORANGE), _LIGHT),
    "pooling": (fixed(GREEN), _LIGHT),
    "join": (RULE, INK),
    "fully connected": (fixed(PURPLE), _DARK),
    "other": ("#f0e442", _DARK),
}
# Inches: distance of boxes, width of a box, its minimum and maximum height, lane of an arc, strip of bars.
PITCH, WIDTH, LOW, HIGH, ARC, STRIP = 0.98, 0.62, 0.34, 0.92, 0.15, 0.5
MARGIN, BELOW, HEAD, FOOT, CORNER = 0.45, 0.24, 0.24, 0.5, 0.07


@dataclass(frozen=True, kw_only=True)
class _Frame:
    """Coordinates of one line of the diagram, in inches from the lower left corner."""

    centres: dict[int, float]
    arcs: dict[int, float]
    floor: float
    top: float


def diagram(analysis: Analysis, heading: str = "") -> Figure:
    """Draw a network.

    Args:
        analysis: From `net.arithmetic.analyze`, or from `tracing.trace` for any module.
        heading: Title of the figure; the notation of the network by default.

    Returns:
        A figure whose height fits its content. Norms, activations and dropout are merged into the layer
        before them.

    Example:
        >>> from convsmith.net.arithmetic import analyze
        >>> from convsmith.net.notation import parse
        >>> from convsmith.net.plan import plan
        >>> figure = diagram(analyze(plan(parse("C8:s2 / G F10"), (3, 32, 32))))
        >>> figure.axes[0].texts[0].get_text()
        'C8:s2 / G F10'
    """
    return _Drawing(analysis, heading).figure()


def save(figure: Figure, folder: FilePath, name: str = "net") -> tuple[FilePath, FilePath]:
    """Write a figure as SVG and PNG; equal figures give equal bytes."""
    picture = style.save(figure, folder / f"{name}.png")
    files.write_text(folder / f"{name}.svg", style.draw(figure).file("Network"))
    return folder / f"{name}.svg", picture


class _Drawing:
    """Boxes, their places, and the drawing methods."""

    def __init__(self, analysis: Analysis, heading: str) -> None:
        self.analysis = analysis
        self.boxes = boxes(analysis)
        self.places = arrange(self.boxes)
        self.columns = max(place.column for place in self.places) + 1
        self.num_lines = max(place.line for place in self.places) + 1
        self.width = max(2 * MARGIN + self.columns * PITCH, 7.6)
        self.largest_map = max(math.prod(box.shape[1:]) for box in self.boxes)
        sizes = [max(box.field.sizes, default=0) for box in self.boxes]
        self.largest_field = max(*sizes, *analysis.input_shape[1:], 1)
        room = int(self.width * 13.5)
        title = [heading] if heading else wrap(analysis.title, int(room * 0.6))
        under = wrap(analysis.title, room) if heading else []
        self.title, self.under = title, [*under, *wrap(analysis.totals_line(), room)]
        self.levels = self.arc_levels()
        self.frames: list[_Frame] = []

    def figure(self) -> Figure:
        head = 0.27 * len(self.title) + 0.19 * len(self.under) + 0.2
        height = head + FOOT + sum(self.line_height(line) for line in range(self.num_lines))
        top = height - head
        for line in range(self.num_lines):
            self.frames.append(self.frame(line, top))
            top -= self.line_height(line)
        with rc_context({**STYLE, "axes.grid": False}):
            figure = Figure(figsize=(self.width, height))
            ax = figure.add_axes((0, 0, 1, 1))
            ax.set(xlim=(0, self.width), ylim=(0, height))
            ax.axis("off")
            self.draw_title(ax, height)
            for line in range(self.num_lines):
                self.draw_fields(ax, line)
                self.draw_blocks(ax, line)
            self.draw_edges(ax)
            for box, place in zip(self.boxes, self.places, strict=True):
                self.draw_box(ax, box, place)
            self.draw_legend(ax)
        return figure

    # Geometry.

    def arc_levels(self) -> dict[tuple[int, int], int]:
        """Return the level of each arc by source and target; overlapping arcs have different levels."""
        levels: dict[tuple[int, int], int] = {}
        arcs = [edge for edge in self.edges() if self.is_arc(*edge)]
        # Short arcs get low levels, so that arcs nest.
        for source, target in sorted(arcs, key=lambda edge: (self.span(*edge), edge)):
            a, b = self.places[source].rank, self.places[target].rank
            lane = self.places[source].lane
            busy = {
                level
                for (s, t), level in levels.items()
                if self.places[s].lane == lane and self.places[s].rank < b and self.places[t].rank > a
            }
            levels[source, target] = next(level for level in range(len(levels) + 1) if level not in busy)
        return levels

    def edges(self) -> list[tuple[int, int]]:
        return [(source, index) for index, box in enumerate(self.boxes) for source in box.sources]

    def span(self, source: int, target: int) -> int:
        return self.places[target].rank - self.places[source].rank

    def is_arc(self, source: int, target: int) -> bool:
        """Whether a connection passes over boxes of its lane."""
        a, b = self.places[source], self.places[target]
        between = {
            place.rank for place in self.places if place.lane == a.lane and a.rank < place.rank < b.rank
        }
        return a.lane == b.lane and bool(between)

    def lanes(self, line: int) -> list[int]:
        inside = {place.lane for place in self.places if place.line == line}
        passing = {
            self.lane_of(line, source, target)
            for source, target in self.edges()
            if self.places[source].line <= line <= self.places[target].line
        }
        return sorted(inside | passing)

    def lane_of(self, line: int, source: int, target: int) -> int:
        """Return the lane of a connection: the lower lane of its two ends.

        Past the last box of a line it stays in the lane of its source.
        """
        a, b = self.places[source], self.places[target]
        is_last = not any(
            (place.line, place.lane) == (a.line, a.lane) and place.rank > a.rank for place in self.places
        )
        return a.lane if line == a.line < b.line and is_last else max(a.lane, b.lane)

    def lane_heights(self, line: int) -> dict[int, tuple[float, float]]:
        """Return the height for arcs and the height for boxes of each lane."""
        heights = {}
        for lane in self.lanes(line):
            inside = [
                self.box_height(box)
                for box, place in zip(self.boxes, self.places, strict=True)
                if (place.line, place.lane) == (line, lane)
            ]
            levels = [
                level + 1
                for (source, target), level in self.levels.items()
                if self.places[source].lane == lane
                and self.places[source].line <= line <= self.places[target].line
            ]
            heights[lane] = (ARC * max(levels, default=0) + 0.06, max(inside, default=LOW))
        return heights

    def line_height(self, line: int) -> float:
        lanes = sum(arcs + inside + BELOW for arcs, inside in self.lane_heights(line).values())
        return HEAD + lanes + STRIP + 0.55

    def frame(self, line: int, top: float) -> _Frame:
        y, centres, arcs = top - HEAD, {}, {}
        for lane, (room, inside) in self.lane_heights(line).items():
            arcs[lane] = y - room
            centres[lane] = y - room - inside / 2
            y -= room + inside + BELOW
        return _Frame(centres=centres, arcs=arcs, floor=y - STRIP - 0.25, top=top)

    def box_height(self, box: Box) -> float:
        """Scale the height with the side of the feature map, relative to the largest."""
        share = math.prod(box.shape[1:]) / self.largest_map if len(box.shape) > 1 else 0.0
        return LOW + (HIGH - LOW) * math.sqrt(share)

    def x(self, place: Place) -> float:
        return MARGIN + (place.column + 0.5) * PITCH

    def y(self, place: Place) -> float:
        return self.frames[place.line].centres[place.lane]

    # Drawing.

    def draw_title(self, ax: Axes, height: float) -> None:
        y = height - 0.12
        for text in self.title:
            ax.text(0.15, y, text, va="top", fontsize=13, weight="bold", parse_math=False)
            y -= 0.27
        for text in self.under:
            ax.text(0.15, y, text, va="top", fontsize=9.5, color=SOFT, parse_math=False)
            y -= 0.19

    def draw_box(self, ax: Axes, box: Box, place: Place) -> None:
        x, y, height = self.x(place), self.y(place), self.box_height(box)
        fill, ink = COLOURS[box.kind]
        edge = GREY if box.kind in {"image", "join"} else fill
        ax.add_patch(
            FancyBboxPatch(
                (x - WIDTH / 2 + 0.04, y - height / 2 + 0.04),
                WIDTH - 0.08,
                height - 0.08,
                boxstyle="round,pad=0.04,rounding_size=0.06",
                facecolor=fill,
                edgecolor=edge,
                linewidth=1,
                zorder=3,
            )
        )
        # Text that does not fit on several lines goes on one line.
        rows = ["\n".join(box.text), " ".join(box.text)][height < 0.16 * len(box.text) + 0.1]
        size = 8.5 if max(map(len, rows.split("\n"))) <= 7 else 6.5
        ax.text(x, y, rows, color=ink, fontsize=size, ha="center", va="center", zorder=4, linespacing=1.15)
        shape = "x".join(map(str, box.shape))
        ax.text(x, y - height / 2 - 0.05, shape, fontsize=7.5, ha="center", va="top", zorder=4)

    def draw_edges(self, ax: Axes) -> None:
        for source, target in self.edges():
            for number, points in enumerate(runs := self.route(source, target)):
                self.draw_wire(ax, points, arrow=number == len(runs) - 1)

    def route(self, source: int, target: int) -> list[list[tuple[float, float]]]:
        """Return the corners of a connection for each line of the diagram."""
        a, b = self.places[source], self.places[target]
        level = self.levels.get((source, target))
        left, right = MARGIN * 0.45, MARGIN * 1.55 + self.columns * PITCH
        runs = []
        for line in range(a.line, b.line + 1):
            points: list[tuple[float, float]] = []
            track = self.track(line, self.lane_of(line, source, target), level)
            if line == a.line:
                points += self.departure(a, self.boxes[source], track, arc=level is not None)
            else:
                points.append((left, track))
            if line == b.line:
                points += self.arrival(b, self.boxes[target], track, arc=level is not None)
            else:
                points.append((right, track))
            runs.append(points)
        return runs

    def track(self, line: int, lane: int, level: int | None) -> float:
        """Return the y coordinate of a connection within a line."""
        frame = self.frames[line]
        if level is not None:
            return frame.arcs[lane] + ARC * (level + 0.6)
        return frame.centres[lane]

    def departure(self, place: Place, box: Box, track: float, *, arc: bool) -> list[tuple[float, float]]:
        x, y = self.x(place), self.y(place)
        if arc:
            return [(x + 0.1, y + self.box_height(box) / 2), (x + 0.1, track)]
        bend = x + PITCH / 2
        return [(x + WIDTH / 2, y), *([(bend, y), (bend, track)] if abs(track - y) > 1e-6 else [])]

    def arrival(self, place: Place, box: Box, track: float, *, arc: bool) -> list[tuple[float, float]]:
        x, y = self.x(place), self.y(place)
        if arc:
            return [(x - 0.1, track), (x - 0.1, y + self.box_height(box) / 2)]
        bend = x - PITCH / 2
        return [*([(bend, track), (bend, y)] if abs(track - y) > 1e-6 else []), (x - WIDTH / 2, y)]

    def draw_wire(self, ax: Axes, points: list[tuple[float, float]], *, arrow: bool) -> None:
        path = rounded(points)
        ax.add_patch(PathPatch(path, facecolor="none", edgecolor=GREY, linewidth=1.2, zorder=2))
        (x, y), (end_x, end_y) = points[-2], points[-1]
        if not arrow:
            ax.text(end_x, end_y, "…", color=GREY, fontsize=10, ha="left", va="center")
            return
        length = max(((end_x - x) ** 2 + (end_y - y) ** 2) ** 0.5, 1e-9)
        ux, uy = (end_x - x) / length, (end_y - y) / length
        tip = [
            (end_x, end_y),
            (end_x - 0.08 * ux + 0.035 * uy, end_y - 0.08 * uy - 0.035 * ux),
            (end_x - 0.08 * ux - 0.035 * uy, end_y - 0.08 * uy + 0.035 * ux),
        ]
        ax.add_patch(PathPatch(Path([*tip, tip[0]]), facecolor=GREY, edgecolor=GREY, linewidth=0.5, zorder=2))

    def draw_blocks(self, ax: Axes, line: int) -> None:
        """Draw the names of the blocks above their boxes."""
        labels = [
            (box.block, self.x(place))
            for box, place in zip(self.boxes, self.places, strict=True)
            if (place.line, place.lane) == (line, 0)
        ]
        y = self.frames[line].top - 0.1
        for name, group in groupby(sorted(labels, key=itemgetter(1)), key=itemgetter(0)):
            xs = [x for _, x in group] if name else []
            if not xs:
                continue
            left, right = min(xs) - WIDTH / 2, max(xs) + WIDTH / 2
            # Names may use the gaps to both sides.
            label = elided(name, int((right - left + PITCH - WIDTH) / 0.07))
            ax.text((left + right) / 2, y, label, fontsize=8, color=SOFT, ha="center", va="bottom")
            ax.plot((left, right), (y - 0.02, y - 0.02), color=FRAME, linewidth=1)

    def draw_fields(self, ax: Axes, line: int) -> None:
        """Draw the receptive field of each box of the main lane as a bar, with a mark at the image size."""
        floor = self.frames[line].floor
        for box, place in zip(self.boxes, self.places, strict=True):
            if (place.line, place.lane) != (line, 0):
                continue
            size = max(box.field.sizes, default=0)
            text = axes_text(box.field.sizes) or ("?" if box.field.unknown else "all")
            share = size / self.largest_field if size else float(not box.field.unknown)
            x, height = self.x(place), STRIP * share
            ax.add_patch(Rectangle((x - WIDTH / 2, floor), WIDTH, height, facecolor=FIELD))
            # A white background keeps the mark of the image size out of the number.
            background = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}
            label = (x, floor + height + 0.03)
            ax.text(*label, text, fontsize=8, ha="center", va="bottom", zorder=4, bbox=background)
        right = MARGIN + self.columns * PITCH
        image = floor + STRIP * max(self.analysis.input_shape[1:], default=1) / self.largest_field
        ax.plot((MARGIN, right), (floor, floor), color=FRAME, linewidth=1)
        ax.plot((MARGIN, right), (image, image), color=ORANGE, linewidth=0.9, linestyle=(0, (4, 3)))
        ax.text(right + 0.04, image, "image", color=ORANGE, fontsize=7.5, va="center")
        ax.text(
            MARGIN - 0.1,
            floor + STRIP / 2,
            "receptive\nfield",
            fontsize=7.5,
            color=SOFT,
            ha="center",
            va="center",
            rotation=90,
        )

    def draw_legend(self, ax: Axes) -> None:
        x = MARGIN
        for kind in COLOURS:
            if kind == "image" or kind not in {box.kind for box in self.boxes}:
                continue
            fill = COLOURS[kind][0]
            ax.add_patch(Rectangle((x, 0.26), 0.16, 0.13, facecolor=fill, edgecolor=GREY, linewidth=0.5))
            ax.text(x + 0.22, 0.32, kind, fontsize=8.5, va="center")
            x += 0.4 + 0.075 * len(kind)
        note = (
            "Below each box: output shape, then receptive field in pixels. "
            "Norms, activations and dropout are part of the box before them."
        )
        ax.text(MARGIN, 0.1, note, fontsize=7.5, color=SOFT, va="center")


def elided(name: str, length: int) -> str:
    """Shorten a name in its middle: the ends tell `convblock1` from `convblock2`.

    Example:
        >>> elided("convblock1", 8), elided("conv1", 8)
        ('conv…ck1', 'conv1')
    """
    if len(name) <= length:
        return name
    end = (length - 1) // 2
    return f"{name[: length - 1 - end]}…{name[len(name) - end :]}"


def rounded(points: Sequence[tuple[float, float]], radius: float = CORNER) -> Path:
    """Return a path with rounded corners.

    Example:
        >>> len(rounded([(0, 0), (1, 0), (1, 1)]).vertices)
        5
    """
    vertices, codes = [points[0]], [int(Path.MOVETO)]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        vertices += [_toward(corner, before, radius), corner, _toward(corner, after, radius)]
        codes += [int(Path.LINETO), int(Path.CURVE3), int(Path.CURVE3)]
    return Path([*vertices, points[-1]], [*codes, int(Path.LINETO)])


def _toward(start: tuple[float, float], end: tuple[float, float], distance: float) -> tuple[float, float]:
    """Return the point at a distance from the start towards the end, at most halfway."""
    length = ((end[0] - start[0]) ** 2 + (end[1] - start[1]) ** 2) ** 0.5
    share = min(distance / length, 0.5) if length else 0.0
    return start[0] + (end[0] - start[0]) * share, start[1] + (end[1] - start[1]) * share
