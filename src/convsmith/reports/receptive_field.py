"""The effective receptive field as a figure and as text."""

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle
from matplotlib.ticker import PercentFormatter

from convsmith.evaluation.receptive_field import SHARES, EffectiveReceptiveField
from convsmith.reports.charts import LIGHT, Draw
from convsmith.reports.style import BLUE, INK, ORANGE, STYLE, add_heading
from convsmith.text import plural


def field_lines(field: EffectiveReceptiveField) -> list[str]:
    """Return the numbers of an effective receptive field, one per line."""
    height, width = field.energy.shape
    row, column = field.position
    lines = [f"Layer: {field.layer}, feature map of {field.map_shape[0]}x{field.map_shape[1]}"]
    lines.append(f"Position: row {row}, column {column}, mean over {plural(field.num_images, 'image')}")
    lines += [
        f"{share:.0%} of the energy is within {field.radius_of(share):.1f} pixels of the centre"
        for share in SHARES
    ]
    lines.append(f"Effective receptive field: {field.size:.1f} pixels")
    if field.square is not None:
        clipped = f", larger than the {height}x{width} image" if field.is_clipped else ""
        quarter = min(field.square.height, field.square.width) / 4
        share = field.share_within(quarter)
        lines += [
            f"Theoretical receptive field: {field.square.height}x{field.square.width} pixels{clipped}",
            f"{share:.0%} of the energy is within a quarter of its side ({quarter:g} pixels)",
        ]
    return lines


def receptive_field_figure(field: EffectiveReceptiveField, heading: str, subtitle: str = "") -> Figure:
    """Draw the energy of each pixel with the theoretical square, and the energy by radius."""
    with rc_context(STYLE):
        figure = Figure(figsize=(9.6, 4.7), layout="constrained")
        left, right = figure.subplots(1, 2)
        field_map(field)(left)
        energy_curve(field)(right)
        add_heading(figure, heading, subtitle)
    return figure


def field_map(field: EffectiveReceptiveField) -> Draw:
    """Draw the energy of each pixel, the theoretical square, and circles with 50 % and 90 % of the energy."""

    def draw(ax: Axes) -> None:
        height, width = field.energy.shape
        ax.imshow(field.energy / field.energy.max(), cmap="cividis", vmin=0, vmax=1, interpolation="nearest")
        ax.grid(visible=False)
        title = "Energy of each pixel, relative to the maximum"
        if field.square is not None:
            top, left = max(field.square.top, 0), max(field.square.left, 0)
            bottom = min(field.square.top + field.square.height, height)
            right = min(field.square.left + field.square.width, width)
            ax.add_patch(
                Rectangle(
                    (left - 0.5, top - 0.5),
                    right - left,
                    bottom - top,
                    fill=False,
                    edgecolor=ORANGE,
                    linewidth=2.5,
                    clip_on=False,
                )
            )
            size = f"{field.square.height}x{field.square.width}"
            clipped = f"clipped to the {height}x{width} image" if field.is_clipped else ""
            ax.set_xlabel(f"square: theoretical receptive field {size}\n{clipped}", color=ORANGE)
        row, column = field.centre
        for share in (0.5, 0.9):
            radius = field.radius_of(share)
            ax.add_patch(Circle((column, row), radius, fill=False, edgecolor=LIGHT, linewidth=1.2))
            ax.text(column, row - radius, f"{share:.0%}", color=LIGHT, fontsize=8, ha="center", va="bottom")
        ax.set_title(title, loc="left", fontsize=10)

    return draw


def energy_curve(field: EffectiveReceptiveField) -> Draw:
    """Draw the share of the energy within each radius."""

    def draw(ax: Axes) -> None:
        height, width = field.energy.shape
        furthest = max(height, width) * 0.75
        radii = [0.25 * step for step in range(int(furthest * 4) + 1)]
        ax.plot(radii, [field.share_within(radius) for radius in radii], color=BLUE, drawstyle="steps-post")
        for share in SHARES:
            radius = field.radius_of(share)
            ax.plot([radius], [share], marker="o", color=BLUE)
            ax.annotate(
                f"{share:.0%} within {radius:.1f}",
                (radius, share),
                xytext=(8, -4),
                textcoords="offset points",
                fontsize=9,
                color=INK,
                va="top",
            )
        if field.square is not None:
            half = field.square.height / 2
            if half <= furthest:
                ax.axvline(half, color=ORANGE, linewidth=1.5)
                side = "right" if half > furthest / 2 else "left"
                label = " half the side of the square "
                ax.text(half, 0.02, label, color=ORANGE, fontsize=9, ha=side)
        ax.set(xlim=(0, furthest), ylim=(0, 1.03), xlabel="radius in pixels")
        ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        ax.set_title("Share of the energy within a radius", loc="left", fontsize=10)

    return draw
