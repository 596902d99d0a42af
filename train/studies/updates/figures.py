"""The figures of `train.studies.updates.directions`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from train.report import style
from train.studies.updates.directions import Measurement
from train.studies.updates.update_statistics import MAGNITUDE_EDGES, RATE_EDGES

_LOOKS: tuple[dict[str, Any], ...] = (
    {"color": style.BLUE, "linestyle": "-", "label": "steps below the mean"},
    {"color": style.VERMILLION, "linestyle": (0, (4, 1.5)), "label": "steps at or above the mean"},
)
_AXES = (
    ("|update|", "parameters"),
    ("steps with a sign change", "parameters with fewer"),
    ("steps with a sign change", "mean |update|"),
)
_ALPHA = 0.18  # of the bands, two of which may overlap


@style.styled
def draw(measured: Sequence[Measurement], title: str) -> Figure:
    """Draw the distributions of one epoch, one column per arm, with the phases as lines.

    Args:
      measured: All arms at this epoch, with all seeds.
      title: The common settings.
    """
    runs: dict[str, list[Measurement]] = {}
    for each in measured:
        runs.setdefault(each.arm, []).append(each)
    figure = Figure(figsize=(9.2, 7.2), layout="constrained")
    grid = figure.subplots(3, len(runs), sharex="row", sharey="row", squeeze=False)
    for column, (arm, seeds) in zip(grid.T, runs.items(), strict=True):
        column[0].set_title(arm, loc="left")
        for phase, look in enumerate(_LOOKS):
            _distribution(column[0], seeds, phase, look)
            _cumulative(column[1], seeds, phase, look)
            _update_by_rate(column[2], seeds, phase, look)
    for row, (x, y) in zip(grid, _AXES, strict=True):
        row[0].set_ylabel(y)
        for axes in row:
            axes.set_xlabel(x)
    grid[0, 0].set_xscale("log")
    grid[0, 0].set_xlim(_drawn(np.stack([each.directions.magnitudes[:, 1:-1] for each in measured]), MAGNITUDE_EDGES))
    for axes in grid[1:, 0]:
        axes.set_xlim(_drawn(np.stack([each.directions.change_rates for each in measured]), RATE_EDGES))
    grid[2, 0].set_yscale("log")
    for axes in grid[:2, 0]:
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    caption = (
        "Top: distribution of |update| over parameters, mean over steps. Middle: parameters whose update has another "
        "sign than at the\nstep before in less than this share of steps. Bottom: |update| by that share of all steps. "
        + ("Mean over seeds; bands: ± one standard deviation." if len(seeds) > 1 else f"Seed {measured[0].seed}.")
    )
    style.frame(figure, title, caption, grid[0, 0].get_legend_handles_labels()[0])
    return figure


def _distribution(axes: Axes, seeds: Sequence[Measurement], phase: int, look: dict[str, Any]) -> None:
    # The open bins at both ends have no width, so they are not drawn. The JSON contains them.
    shares = np.stack([each.directions.magnitudes[phase][1:-1] for each in seeds])
    axes.stairs(shares.mean(axis=0), MAGNITUDE_EDGES, **look)
    if len(seeds) > 1:
        low, high = _band(shares)
        axes.stairs(high, MAGNITUDE_EDGES, baseline=low, fill=True, color=look["color"], alpha=_ALPHA)


def _cumulative(axes: Axes, seeds: Sequence[Measurement], phase: int, look: dict[str, Any]) -> None:
    # Counts of few steps have few values, so their histogram would look like a comb.
    shares = np.stack([np.cumsum([0.0, *each.directions.change_rates[phase]]) for each in seeds])
    axes.plot(RATE_EDGES, shares.mean(axis=0), **look)
    _shade(axes, RATE_EDGES, shares, look)


def _update_by_rate(axes: Axes, seeds: Sequence[Measurement], phase: int, look: dict[str, Any]) -> None:
    # The mean of fewer than a thousandth of the parameters is unreliable.
    kept = np.all([np.asarray(each.directions.rate_share) > 1e-3 for each in seeds], axis=0)
    middles = ((RATE_EDGES[1:] + RATE_EDGES[:-1]) / 2)[kept]
    updates = np.stack([each.directions.rate_update[phase][kept] for each in seeds])
    axes.plot(middles, updates.mean(axis=0), marker="o^"[phase], markersize=3.5, **look)
    _shade(axes, middles, updates, look)


def _shade(axes: Axes, x: np.ndarray, values: np.ndarray, look: dict[str, Any]) -> None:
    if len(values) > 1:
        axes.fill_between(x, *_band(values), color=look["color"], alpha=_ALPHA, linewidth=0)


def _band(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean minus and plus one standard deviation over the first axis, at least two values."""
    mean, deviation = values.mean(axis=0), values.std(axis=0, ddof=1)
    return mean - deviation, mean + deviation


def _drawn(shares: np.ndarray, edges: np.ndarray) -> tuple[float, float]:
    """The outer edges of the bins with a thousandth of the parameters in any of the histograms."""
    used = np.flatnonzero((np.nan_to_num(shares) > 1e-3).reshape(-1, shares.shape[-1]).any(axis=0))
    return (float(edges[used[0]]), float(edges[used[-1] + 1])) if used.size else (float(edges[0]), float(edges[-1]))
