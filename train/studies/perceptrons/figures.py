"""The picture of the study: LCAM minus each other arm, and the mean momentum over the epochs."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from train.report import style
from train.report.equivalence import ALPHA, Contrast
from train.studies.perceptrons import study
from train.studies.perceptrons.record import Record


class _Look(NamedTuple):
    """How an order of the momenta is drawn, so that it is recognised without colour too."""

    color: str
    line: Literal["-", "--"]
    marker: str


_LOOKS = (_Look(style.BLUE, "-", "D"), _Look(style.VERMILLION, "--", "o"))


@style.styled
def draw(record: Record, contrasts: Sequence[Contrast]) -> Figure:
    """Draw the differences with their intervals beside the margin of equivalence, and the mean momenta under them.

    Args:
      record: The study.
      contrasts: Those of `study.comparisons()`, in its order.
    """
    looks = {study.name("lcam", order): look for order, look in zip(study.ORDERS, _LOOKS, strict=True)}
    figure = Figure(figsize=(7.2, 1.9 + 0.3 * len(contrasts)), layout="constrained")
    grid = figure.subplots(2, 1, height_ratios=[0.3 * len(contrasts), 1.5])
    _differences(grid[0], contrasts, looks)
    for arm, look in looks.items():
        momentum = record.arms[arm]["momentum"]
        grid[1].plot(np.arange(1, len(momentum) + 1), momentum, color=look.color, linestyle=look.line)
    grid[1].set_xlabel("epoch")
    grid[1].set_ylabel("mean momentum")
    grid[1].xaxis.set_major_locator(MaxNLocator(integer=True))
    handles = [
        Line2D([], [], color=look.color, linestyle=look.line, marker=look.marker, markeredgecolor="white", label=arm)
        for arm, look in looks.items()
    ]
    shaded = Patch(color="#e6e6e6", label=f"within ±{contrasts[0].margin:g} points: equivalent")
    caption = (
        f"A 64-{record.settings['task']['hidden']}-10 perceptron on digits, {record.settings['seeds']:,} seeds. "
        "Markers: mean of the differences paired by seed.\n"
        "Bars: 95 % interval, uncorrected. yoked: the momenta of another LCAM run."
    )
    style.frame(figure, title(contrasts), caption, [*handles, shaded])
    return figure


def title(contrasts: Sequence[Contrast]) -> str:
    """State the finding if LCAM is shown to be equivalent to its yoked controls. Otherwise name what is shown."""
    if all(contrast.p_equivalent < ALPHA for contrast in contrasts if contrast.against.startswith("yoked")):
        return "Which steps the loss picks makes no difference as large as the margin"
    return "LCAM minus each other arm"


def _differences(axes: Axes, contrasts: Sequence[Contrast], looks: dict[str, _Look]) -> None:
    """Draw one row per contrast, with the margin shaded."""
    margin = contrasts[0].margin
    axes.axvspan(-margin, margin, color="#e6e6e6", zorder=0)
    axes.axvline(0.0, color=style.BLACK, linewidth=1.0)
    for row, contrast in enumerate(contrasts):
        look = looks[contrast.name]
        axes.plot(contrast.difference.interval, [row, row], color=look.color, linewidth=2.2)
        axes.plot(contrast.difference.mean, row, look.marker, color=look.color, markeredgecolor="white", markersize=6)
    axes.set_yticks(range(len(contrasts)), [f"minus {contrast.against}" for contrast in contrasts])
    axes.set_ylim(len(contrasts) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="y", visible=False)
    # With zero in the middle, equal lengths are equal amounts of better and worse.
    reach = float(np.max(np.abs(axes.get_xlim())))
    axes.set_xlim(-reach, reach)
    axes.set_xlabel("final test error of LCAM minus that of the other arm (percentage points)")
    axes.set_title("← LCAM better", loc="left", color=style.GREY)
    axes.set_title("LCAM worse →", loc="right", color=style.GREY)
