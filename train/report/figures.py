"""Draw figures of runs from their records: curves over epochs, and single steps."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, PercentFormatter, StrMethodFormatter

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
_MOMENTUM_STEPS = 40


@styled
def curves(arms: Mapping[str, Sequence[Record]], title: str) -> Figure:
    """Draw test error, average loss and share of steps below the mean over epochs, one line per arm.

    A second column magnifies the last quarter of long runs, where arms differ by tenths of a percentage point.

    Args:
      arms: Maps the name to show to the runs of an arm, one per seed.
      title: The settings that all runs share, for the caption.
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
                # Bands overlap: the more arms, the fainter their bands.
                _band(axes, records, key, span, look, alpha=min(0.18, 0.8 / len(arms)))
    extent = grid[1, 0].dataLim
    if extent.y1 > 10 * extent.minposy:
        grid[1, 0].set_yscale("log")
        grid[1, 0].yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        grid[1, 0].yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
        grid[1, 0].yaxis.set_minor_formatter(StrMethodFormatter("{x:g}"))
    for axes in grid[2]:
        axes.axhline(0.5, color=GREY, linewidth=0.8, zorder=1)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        axes.set_xlabel("epochs")
    for axes, name in zip(grid[0], ("all epochs", "last quarter, magnified"), strict=False):
        axes.set_title(name, loc="left", color=GREY)
    handles = [Line2D([], [], label=name, **look) for name, look in zip(arms, looks, strict=True)]
    caption = f"{title}. Lines: mean over seeds. Bands: ± one standard deviation over seeds."
    frame(figure, _curves_title(arms), caption, handles)
    return figure


def _curves_title(arms: Mapping[str, Sequence[Record]]) -> str:
    """Say between which test errors the arms end, without naming arms: the order of their means is no finding."""
    finals = np.array([np.mean([run.final_test_error for run in runs]) for runs in arms.values()])
    finals = finals[np.isfinite(finals)]
    if len(finals) < 2:
        return "Test error, loss and share of steps below the mean"
    return f"The {len(finals)} arms end with test errors of {finals.min():.2f} to {finals.max():.2f} %"


@styled
def steps(record: Record, epochs: Sequence[int], title: str) -> Figure:
    """Draw the loss of every step in some epochs of one run, and the momentum of the first steps of each.

    Args:
      record: A run that was read from disk, with its steps.
      epochs: The epochs to show, one per column, counted from 0.
      title: The name of the run, for the caption.
    """
    size = len(record.steps.loss) // len(record.history)
    figure = Figure(figsize=(7.2, 4.8), layout="constrained")
    # Losses shrink by orders of magnitude, so each epoch has its own scale.
    grid = figure.subplots(2, len(epochs), squeeze=False, height_ratios=[3, 1])
    # With more steps, the step line would look like a black area.
    first = min(size, _MOMENTUM_STEPS)
    momenta = np.asarray(record.steps.momentum)
    for (top, bottom), epoch in zip(grid.T, epochs, strict=True):
        part = slice(epoch * size, (epoch + 1) * size)
        _losses(top, np.asarray(record.steps.loss[part]), np.asarray(record.steps.below[part]))
        top.set_title(f"epoch {epoch + 1}", loc="left")
        bottom.step(np.arange(1, first + 1), momenta[part][:first], where="mid", color=BLACK, linewidth=1.0)
        _momentum_axis(bottom, momenta)
        for axes in (top, bottom):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
        top.set_xlabel("step")
        bottom.set_xlabel(f"the first {first} of {size} steps" if first < size else "step")
    grid[0, 0].set_ylabel("loss of the batch")
    grid[1, 0].set_ylabel("momentum")
    caption = f"{title}. Momentum: the one that the step used, {_picked_by(record)}."
    frame(figure, _steps_title(record, epochs, size), caption, grid[0, 0].get_legend_handles_labels()[0])
    return figure


def _steps_title(record: Record, epochs: Sequence[int], size: int) -> str:
    """Say which share of the losses lies below the mean, in the first and the last epoch shown."""
    below = np.asarray(record.steps.below).reshape(-1, size).mean(axis=1)
    first, last = epochs[0], epochs[-1]
    said = f"{below[first]:.0%} of the losses of epoch {first + 1} are below the mean"
    return f"{said}, {below[last]:.0%} in epoch {last + 1}" if last > first else said


def _momentum_axis(axes: Axes, momenta: np.ndarray) -> None:
    """Scale the axis to all momenta of the run, and label the lowest and the highest."""
    low, high = float(momenta.min()), float(momenta.max())
    pad = 0.15 * (high - low) or 0.01
    axes.set_ylim(low - pad, high + pad)
    ticks = np.unique([low, high])
    axes.set_yticks(ticks, [f"{tick:.3g}" for tick in ticks])


def _picked_by(record: Record) -> str:
    """Say in words what picked the momentum of each step."""
    config = record.config
    if config.get("control", "none") != "none" or (config.get("follows") and config.get("phase") == "none"):
        return "given before the run"
    if config.get("phase") == "random":
        return "drawn at random"
    return "picked by the loss before" if config.get("delay", True) else "picked by the step's own loss"


def _look(index: int) -> dict[str, Any]:
    """Style of the line of one arm. The first 35 all differ in colour or dashes."""
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
    """Draw the mean and the standard deviation over seeds of one field of the history."""
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
    """Draw the losses of one epoch, marked as below the mean or not, and the mean itself."""
    step = np.arange(1, len(loss) + 1)
    # LCAM's mean, even if this run decided otherwise: over this epoch's finite losses, up to the current one.
    finite = np.isfinite(loss)
    mean = np.cumsum(np.where(finite, loss, 0), dtype=np.float64) / np.maximum(np.cumsum(finite), 1)
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
