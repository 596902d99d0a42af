"""Figures of runs, made from their records alone: curves over epochs, and single steps."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter, StrMethodFormatter

from train.records import Record
from train.report.style import BLACK, BLUE, GREY, VERMILLION, frame, styled

_COLOURS = (BLACK, BLUE, VERMILLION, "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_DASHES: tuple[Any, ...] = (
    "-",
    (0, (5, 1.5)),
    (0, (1.2, 1.2)),
    (0, (6, 1.5, 1.2, 1.5)),
    (0, (9, 2)),
)
_MARKERS = "osD^vPX*"


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
