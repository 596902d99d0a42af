"""Draw the figures of `train.studies.updates.directions`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from train.report import style
from train.studies.updates.update_statistics import Directions

_LOOKS: tuple[dict[str, Any], ...] = (
    {"color": style.BLUE, "marker": "o", "label": "steps below the mean loss"},
    {"color": style.VERMILLION, "marker": "^", "label": "steps at or above the mean loss"},
)
_OFFSETS = (-0.16, 0.16)  # of the two phases from the row of their arm


@style.styled
def draw(runs: Mapping[str, Sequence[Directions]], what: str) -> Figure:
    """Draw how often updates change their sign, and how large they are, with one row per arm.

    Args:
      runs: Maps each arm to the measurements of one epoch, one per seed.
      what: The settings that all arms share, for the caption.
    """
    figure = Figure(figsize=(7.2, 1.6 + 0.5 * len(runs)), layout="constrained")
    turns, sizes = figure.subplots(1, 2, sharey=True)
    for row, seeds in enumerate(runs.values()):
        _row(turns, row, np.stack([each.sign_changes for each in seeds]))
        _row(sizes, row, np.stack([each.mean_update for each in seeds]))
    turns.set_yticks(range(len(runs)), list(runs))
    turns.set_ylim(len(runs) - 0.5, -0.5)
    turns.set_xlim(left=0)
    turns.xaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10]))
    turns.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    turns.set_xlabel("updates with another sign than one step before")
    sizes.set_xlim(left=0)
    sizes.xaxis.set_major_formatter(FuncFormatter(lambda size, _: f"{1e6 * size:g}"))
    sizes.set_xlabel("mean size of an update, in millionths")
    caption = f"{what}. Filled: means over {len(next(iter(runs.values())))} seeds. Open: single seeds."
    handles = [Line2D([], [], linestyle="none", markersize=7, **look) for look in _LOOKS]
    style.frame(figure, title(runs), caption, handles)
    return figure


def title(runs: Mapping[str, Sequence[Directions]]) -> str:
    """Say in which phase updates change their sign more often, if all arms agree in the mean."""
    below, above = np.transpose([np.mean([each.sign_changes for each in seeds], axis=0) for seeds in runs.values()])
    if np.all(above > below):
        return "In every arm, updates change sign more often when the loss is above the mean"
    if np.all(above < below):
        return "In every arm, updates change sign more often when the loss is below the mean"
    return "The arms differ in when updates change sign more often"


def _row(axes: Axes, row: int, values: np.ndarray) -> None:
    """Draw the values [seeds, phases] of one arm: every seed, and the mean of each phase."""
    for phase, look in enumerate(_LOOKS):
        heights = np.full(len(values), row + _OFFSETS[phase])
        open_marker = look | {"label": None, "markerfacecolor": "none", "markersize": 4.5, "linestyle": "none"}
        axes.plot(values[:, phase], heights, **open_marker)
        axes.plot(values[:, phase].mean(), heights[0], markersize=7, linestyle="none", **look)
