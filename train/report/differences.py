"""Draw the difference of each arm from the baseline, grouped by pair of momenta."""

import re
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from train.report.equivalence import ALPHA
from train.report.statistics import Comparison
from train.report.style import BLACK, BLUE, GREY, frame, styled
from train.report.tables import p_in_words

_PAIR = re.compile(r"(?P<kind>.+)-(?P<below>0\.\d+)-(?P<above>0\.\d+)")
_OTHERS = "other arms"
_HEADER = 0.8  # height of a group's name, in rows


@styled
def draw(comparisons: Sequence[Comparison], baseline: str, what: str) -> Figure:
    """Draw a row per arm: mean, interval and every seed, with the number of seeds and the corrected p-value.

    Args:
      comparisons: The comparisons to show, with the names to show.
      baseline: Name of the baseline.
      what: The settings that all arms share, for the caption.
    """
    groups = grouped(comparisons)
    height = sum(_HEADER + 0.2 + len(rows) for rows in groups.values())
    figure = Figure(figsize=(7.2, 1.5 + 0.36 * height), layout="constrained")
    axes = figure.subplots()
    axes.axvline(0.0, color=BLACK, linewidth=1.0)
    y = 0.0
    ticks = {}
    for pair, rows in groups.items():
        axes.text(0.0, y, pair, transform=axes.get_yaxis_transform(), fontweight="bold", va="center", ha="right")
        y += _HEADER
        for name, comparison in rows.items():
            _row(axes, y, comparison)
            ticks[y] = f"{name}, n = {len(comparison.seeds)}"
            y += 1
        y += 0.2
    axes.set_yticks(list(ticks), list(ticks.values()))
    axes.set_ylim(y - 0.4, -0.6)
    _scale(axes, baseline)
    caption = (
        f"{what}. Differences are paired by seed. Diamonds: means. Bars: 95 % intervals, uncorrected.\nCircles: the "
        f"seeds. n: their number. p: paired t-test, corrected by Holm for these {len(comparisons)} arms."
    )
    frame(figure, title(comparisons, baseline), caption)
    return figure


def grouped(comparisons: Sequence[Comparison]) -> dict[str, dict[str, Comparison]]:
    """Group comparisons by the two momenta in their names, and sort each group by kind of arm, LCAM first."""
    groups: dict[str, dict[str, Comparison]] = {}
    for comparison in comparisons:
        found = _PAIR.fullmatch(comparison.name)
        pair = f"{found['below']} below, {found['above']} above" if found else _OTHERS
        groups.setdefault(pair, {})[found["kind"] if found else comparison.name] = comparison
    ordered = sorted(groups.items(), key=lambda item: (item[0] == _OTHERS, item[0]))
    return {
        pair: dict(sorted(rows.items(), key=lambda item: ("lcam" not in item[0], item[0]))) for pair, rows in ordered
    }


def title(comparisons: Sequence[Comparison], baseline: str) -> str:
    """Say how many arms differ significantly from the baseline after Holm's correction."""
    found = [each for each in comparisons if each.p_holm < ALPHA]
    better = sum(each.difference.mean < 0 for each in found)
    if not found:
        return f"No arm differs significantly from {baseline}"
    counts = {"better": better, "worse": len(found) - better}
    said = [f"{count} {'is' if count == 1 else 'are'} {word}" for word, count in counts.items() if count]
    said[0] += f" than {baseline}"
    return f"Of {len(comparisons)} arms, {' and '.join(said)}"


def _row(axes: Axes, y: float, comparison: Comparison) -> None:
    difference = comparison.difference
    # Each seed has its own height, so that none hides another.
    heights = y + np.linspace(0.22, 0.52, len(difference.values)) if len(difference.values) > 1 else [y + 0.37]
    size = 3.6 if len(difference.values) <= 20 else 1.8
    axes.plot(difference.values, heights, "o", color=GREY, markerfacecolor="none", markersize=size, markeredgewidth=0.7)
    axes.plot(difference.interval, [y, y], color=BLUE, linewidth=2.2)
    axes.plot(difference.mean, y, "D", color=BLUE, markeredgecolor="white", markersize=7)
    axes.text(1.03, y, _in_words(comparison), transform=axes.get_yaxis_transform(), va="center")


def _scale(axes: Axes, baseline: str) -> None:
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="y", visible=False)
    # Zero in the middle: equal lengths to the left and right are equally better and worse.
    reach = float(np.max(np.abs(axes.get_xlim())))
    axes.set_xlim(-reach, reach)
    axes.set_xlabel(f"final test error minus that of {baseline} (percentage points)")
    axes.set_title("← better", loc="left", color=GREY)
    axes.set_title("worse →", loc="right", color=GREY)
    axes.text(1.03, 0.0, "mean (95 % interval), p", transform=axes.get_yaxis_transform(), color=GREY, va="center")


def _in_words(comparison: Comparison) -> str:
    """Format the mean of one row, and its interval and corrected p-value if they exist."""
    low, high = comparison.difference.interval
    interval = f" ({low:+.2f} to {high:+.2f})" if np.isfinite(low) else ""
    p_value = f", {p_in_words(comparison.p_holm)}" if np.isfinite(comparison.p_holm) else ""
    return f"{comparison.difference.mean:+.2f}{interval}{p_value}".replace("-", "\N{MINUS SIGN}")
