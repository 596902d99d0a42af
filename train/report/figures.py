"""Figures of runs, made from their records alone.

Colours are those of Okabe and Ito, which the colour-blind can tell apart; line styles and markers
differ as well, so that nothing is lost in black and white. The same records give the same SVG,
byte for byte.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter, StrMethodFormatter
from PIL import Image

from train import files
from train.records import Record
from train.report.statistics import Comparison

BLACK, GREY, BLUE, VERMILLION = "#000000", "#6b6b6b", "#0072B2", "#D55E00"
_COLOURS = (BLACK, BLUE, VERMILLION, "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_DASHES: tuple[Any, ...] = (
    "-",
    (0, (5, 1.5)),
    (0, (1.2, 1.2)),
    (0, (6, 1.5, 1.2, 1.5)),
    (0, (9, 2)),
)
_MARKERS = "osD^vPX*"
_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": BLACK,
    "ytick.labelcolor": BLACK,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "svg.hashsalt": "lcam-optax",  # the names of clip paths, random without it
}
_DPI = 120  # most figures are 864 pixels wide then, about as wide as a page shows them; the SVG has the details
styled = matplotlib.rc_context(_STYLE)


@styled
def curves(arms: Mapping[str, Sequence[Record]], title: str) -> Figure:
    """Test error, average loss and share of steps below the mean over epochs, an arm a line.

    Long runs get a second column that magnifies the last quarter, where arms differ by tenths.

    Args:
      arms: the runs of each arm by the name to show, one a seed.
      title: what the runs have in common.
    """
    epochs = max(len(record.history) for records in arms.values() for record in records)
    spans = [(0, epochs), (epochs - epochs // 4, epochs)][: 2 if epochs >= 12 else 1]
    figure = Figure(figsize=(7.2, 7.6), layout="constrained")
    grid = figure.subplots(
        3,
        len(spans),
        sharex="col",
        squeeze=False,
        height_ratios=[3, 3, 2],
        width_ratios=[3, 2][: len(spans)],
    )
    looks = [_look(index) for index in range(len(arms))]
    rows = {
        "test_error": "test error (%)",
        "train_loss": "average training loss",
        "below_fraction": "steps below the mean",
    }
    for row, (key, label) in zip(grid, rows.items(), strict=True):
        row[0].set_ylabel(label)
        for axes, span in zip(row, spans, strict=True):
            for records, look in zip(arms.values(), looks, strict=True):
                # Many arms overlap: the more, the fainter each.
                _band(axes, records, key, span, look, alpha=min(0.18, 0.8 / len(arms)))
    extent = grid[1, 0].dataLim
    if extent.y1 > 10 * extent.minposy:
        grid[1, 0].set_yscale("log")
        grid[1, 0].yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    for axes in grid[2]:
        axes.axhline(0.5, color=GREY, linewidth=0.8, zorder=1)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        axes.set_xlabel("epochs")
    for axes, name in zip(grid[0], ("all epochs", "last quarter, magnified"), strict=False):
        axes.set_title(name, loc="left", color=GREY)
    handles = [Line2D([], [], label=name, **look) for name, look in zip(arms, looks, strict=True)]
    caption = "Lines: mean over seeds. Bands: ± one standard deviation over seeds."
    frame(figure, title, caption, handles)
    return figure


@styled
def steps(record: Record, epochs: Sequence[int], title: str) -> Figure:
    """Loss and momentum of every step of some epochs of one run, an epoch a column.

    Args:
      record: a run that was read from disk, its steps beside it.
      epochs: which, counted from 0.
      title: which run it is.
    """
    size = len(record.steps.loss) // len(record.history)
    figure = Figure(figsize=(7.2, 4.4), layout="constrained")
    # Losses shrink by orders of magnitude: each epoch has a scale of its own.
    grid = figure.subplots(2, len(epochs), sharex=True, squeeze=False, height_ratios=[4, 1])
    low, high = float(record.steps.momentum.min()), float(record.steps.momentum.max())
    pad = 0.25 * (high - low) or 0.01
    step = np.arange(1, size + 1)
    for (top, bottom), epoch in zip(grid.T, epochs, strict=True):
        part = slice(epoch * size, (epoch + 1) * size)
        _losses(top, np.asarray(record.steps.loss[part]), np.asarray(record.steps.below[part]))
        top.set_title(f"epoch {epoch + 1}", loc="left", color=GREY)
        momentum = record.steps.momentum[part]
        bottom.fill_between(step, low - pad, momentum, step="mid", color=GREY, linewidth=0)
        bottom.set_ylim(low - pad, high + pad)
        bottom.set_yticks(np.unique([low, high]), labels=[])
        bottom.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
        bottom.set_xlabel("step")
    grid[0, 0].set_ylabel("loss of the batch")
    grid[1, 0].set_ylabel("momentum")
    grid[1, 0].set_yticks(ticks := np.unique([low, high]), [f"{tick:.3g}" for tick in ticks])
    caption = "The momentum is the one that the step used."
    frame(figure, title, caption, grid[0, 0].get_legend_handles_labels()[0])
    return figure


@styled
def forest(comparisons: Sequence[Comparison], baseline: str, title: str) -> Figure:
    """The paired differences of final test error with their intervals, an arm a row.

    Args:
      comparisons: those to show, each named as it is to appear.
      baseline: the name of what they are differences to.
      title: what they have in common.
    """
    figure = Figure(figsize=(7.2, 1.6 + 0.36 * len(comparisons)), layout="constrained")
    axes = figure.subplots()
    axes.axvline(0.0, color=BLACK, linewidth=1.0)
    for row, comparison in enumerate(comparisons):
        difference = comparison.difference
        axes.plot(difference.interval, [row, row], color=BLUE, linewidth=2.2)
        axes.plot(difference.mean, row, "D", color=BLUE, markeredgecolor="white", markersize=7)
        axes.plot(difference.values, [row] * len(difference.values), "|", color=BLACK)
        words = _in_words(comparison)
        axes.text(1.03, row, words, transform=axes.get_yaxis_transform(), va="center")
    axes.set_yticks(range(len(comparisons)), [comparison.name for comparison in comparisons])
    axes.set_ylim(len(comparisons) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="y", visible=False)
    # With zero in the middle, equal lengths are equal amounts of better and worse.
    reach = float(np.max(np.abs(axes.get_xlim())))
    axes.set_xlim(-reach, reach)
    axes.set_xlabel(f"final test error minus that of {baseline} (percentage points)")
    axes.set_title("← better", loc="left", color=GREY)
    axes.set_title("worse →", loc="right", color=GREY)
    axes.annotate(
        "mean (95 % interval), Holm p",
        (1.03, 1.0),
        (0, matplotlib.rcParams["axes.titlepad"]),
        xycoords="axes fraction",
        textcoords="offset points",
        color=GREY,
    )
    caption = "Diamonds: mean of the differences paired by seed. Bars: 95 % interval. Ticks: seeds."
    frame(figure, title, caption)
    return figure


def save(figure: Figure, path: Path) -> tuple[Path, Path]:
    """Writes a figure as `<path>.png` and `<path>.svg` and returns both paths, in this order."""
    png, svg = path.with_name(f"{path.name}.png"), path.with_name(f"{path.name}.svg")
    pixels, drawing = io.BytesIO(), io.BytesIO()
    with matplotlib.rc_context(_STYLE):
        figure.savefig(pixels, format="png", dpi=_DPI)
        figure.savefig(drawing, format="svg", metadata={"Date": None})
    files.write_atomically(png, with_palette(pixels.getvalue()))
    files.write_atomically(svg, drawing.getvalue())
    return png, svg


def with_palette(png: bytes) -> bytes:
    """The same picture in 256 colours: about a third of the bytes, and no difference that the eye sees."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    # The method keeps rare colours, such as those of thin lines, and a step of k-means the frequent ones. Dithering
    # would only add noise.
    image = image.quantize(256, method=Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE)
    buffer = io.BytesIO()
    image.save(buffer, format="png", optimize=True)
    return buffer.getvalue()


def _look(index: int) -> dict[str, Any]:
    """How the line of one arm is drawn; the first 35 all differ in colour or dashes."""
    return {
        "color": _COLOURS[index % len(_COLOURS)],
        "linestyle": _DASHES[index % len(_DASHES)],
        "marker": _MARKERS[index % len(_MARKERS)],
        "markersize": 4.5,
        "markerfacecolor": "white",
    }


def _band(
    axes: Axes,
    records: Sequence[Record],
    key: str,
    span: tuple[int, int],
    look: dict[str, Any],
    alpha: float,
) -> None:
    """Draws mean and standard deviation over seeds of one number of the history."""
    values = np.array([[getattr(epoch, key) for epoch in record.history] for record in records])
    values = values[:, slice(*span)]
    epochs = span[0] + 1 + np.arange(values.shape[1])
    mean = values.mean(axis=0)
    axes.plot(epochs, mean, markevery=max(1, (span[1] - span[0]) // 8), **look)
    if len(records) > 1:
        deviation = values.std(axis=0, ddof=1)
        low, high = mean - deviation, mean + deviation
        axes.fill_between(epochs, low, high, color=look["color"], alpha=alpha, linewidth=0)


def _losses(axes: Axes, loss: np.ndarray, below: np.ndarray) -> None:
    """Draws the losses of one epoch by the side of the mean that they fell on, and this mean."""
    step = np.arange(1, len(loss) + 1)
    # LCAM's own mean, whatever decided in this run: of this epoch, the current loss included.
    mean = np.cumsum(loss, dtype=np.float64) / step
    axes.plot(
        step[~below],
        loss[~below],
        "^",
        color=VERMILLION,
        markersize=3.6,
        markerfacecolor="white",
        markeredgewidth=0.8,
        label="at or above the mean",
    )
    axes.plot(step[below], loss[below], "o", color=BLUE, markersize=2.6, label="below the mean")
    axes.plot(step, mean, color=BLACK, label="mean of the epoch so far")


def _in_words(comparison: Comparison) -> str:
    """Mean, interval and corrected p-value of one row, as far as they exist."""
    low, high = comparison.difference.interval
    interval = f" ({low:+.2f} to {high:+.2f})" if np.isfinite(low) else ""
    p_value = ""
    if np.isfinite(comparison.p_holm):
        p_value = f", p = {comparison.p_holm:.3f}" if comparison.p_holm >= 5e-4 else ", p < 0.001"
    return f"{comparison.difference.mean:+.2f}{interval}{p_value}".replace("-", "\N{MINUS SIGN}")


def frame(figure: Figure, title: str, caption: str, handles: Sequence[Artist] = ()) -> None:
    """Title above, legend under it, caption below, all flush left."""
    figure.supxlabel(caption, x=0.01, ha="left", fontsize=8, color=GREY)
    if not handles:
        figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
        return
    # The title belongs to the legend: the layout would set a title of the figure on top of it.
    figure.legend(
        handles=handles,
        loc="outside upper left",
        ncols=4,
        title=title,
        alignment="left",
        title_fontproperties={"size": 11, "weight": "bold"},
        borderpad=0.2,
        borderaxespad=0.2,
    )
