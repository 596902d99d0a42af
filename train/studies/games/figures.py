"""The figures of `train.studies.games.games` and `train.studies.games.gan`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from train.report import style
from train.studies.games.games import ARMS, GAMES, Found, path
from train.studies.games.gan import Gan, Tuned

# The aligned forms are not drawn. On these two games, aligned SGA has the path of SGA, and aligned consensus has the
# path of SGD.
_LOOKS: dict[str, dict[str, Any]] = {
    "sgd": {"color": style.BLACK, "linestyle": "-", "marker": "o"},
    "adam": {"color": style.GREY, "linestyle": (0, (1.2, 1.2)), "marker": "s"},
    "consensus": {"color": "#E69F00", "linestyle": (0, (6, 1.5, 1.2, 1.5)), "marker": "v"},
    "sga": {"color": style.BLUE, "linestyle": (0, (5, 1.5)), "marker": "D"},
    "optimistic": {"color": style.VERMILLION, "linestyle": "-", "marker": "^"},
    "extragradient": {"color": "#009E73", "linestyle": (0, (3, 1, 1, 1)), "marker": "P"},
}
_SHOWN = {"bilinear": (0.2, 40), "weak-attractor": (0.004, 200)}  # learning rate and steps of the paths


@style.styled
def small(found: Mapping[str, Mapping[str, Found]]) -> Figure:
    """Draw two games, one per row: paths at one learning rate, and steps to converge for all rates."""
    figure = Figure(figsize=(7.2, 6.8), layout="constrained")
    grid = figure.subplots(len(_SHOWN), 2, squeeze=False)
    paths: list[str] = []
    for (left, right), (name, (rate, steps)) in zip(grid, _SHOWN.items(), strict=True):
        _paths(left, name, rate, steps)
        left.set_title(f"{GAMES[name].title}: paths", loc="left")
        right.set_title(f"{GAMES[name].title}: speed by learning rate", loc="left")
        paths.append(f"{steps} steps at learning rate {rate:g}")
        for arm, look in _LOOKS.items():
            each = found[name][arm]
            right.plot(
                each.rates[each.converged], each.steps[each.converged], markersize=3.5, markevery=4, label=arm, **look
            )
        right.set(xscale="log", yscale="log", xlabel="learning rate", ylabel="steps to converge")
        right.set_xlim(each.rates[0], each.rates[-1])
    handles = [Line2D([], [], label=arm, markersize=4.5, **look) for arm, look in _LOOKS.items()]
    caption = (
        f"Paths: {' and '.join(paths)}, from the cross to the fixed point at the plus.\n"
        "Speed: a line covers the learning rates at which a method converges, and is missing if there is none. In the "
        "bilinear game,\nsga and consensus are the same."
    )
    style.frame(figure, small_title(found), caption, handles)
    return figure


def small_title(found: Mapping[str, Mapping[str, Found]]) -> str:
    """Say which of the methods shown converge at no learning rate in the bilinear game."""
    never = [arm for arm in _LOOKS if not found["bilinear"][arm].converged.any()]
    if not never:
        return "In the bilinear game, all methods converge"
    *others, last = never
    names = f"{', '.join(others)} and {last}" if others else last
    return f"In the bilinear game, {names} {'converge' if others else 'converges'} at no learning rate"


@style.styled
def samples(how: Gan, tuned: Mapping[tuple[str, str], Tuned]) -> Figure:
    """Draw the samples of the first final run of each arm, one row per inner optimizer, one column per method."""
    rows = list(dict.fromkeys(inner for inner, _ in tuned))
    columns = list(dict.fromkeys(method for _, method in tuned))
    figure = Figure(figsize=(max(7.2, 1.2 * len(columns)), 1.75 * len(rows) + 0.9), layout="constrained")
    grid = figure.subplots(len(rows), len(columns), sharex=True, sharey=True, squeeze=False)
    reach = how.radius + 10 * how.deviation
    for (inner, method), numbers in tuned.items():
        axes = grid[rows.index(inner), columns.index(method)]
        _ring(axes, how)
        axes.plot(
            *numbers.final.samples[0].T,
            ".",
            color=style.BLACK,
            markersize=1.0,
            markeredgewidth=0,
            zorder=3,
            rasterized=True,
        )
        axes.set(xlim=(-reach, reach), ylim=(-reach, reach), xticks=[], yticks=[], aspect="equal")
        modes, quality = numbers.final.modes[0, -1], numbers.final.quality[0, -1]
        axes.set_title(f"{method}\n{modes} modes, {quality:.0%}", loc="left", fontsize=8)
        outside = int(np.sum(~np.all(np.abs(numbers.final.samples[0]) <= reach, axis=1)))
        if outside:
            axes.set_xlabel(f"{outside} outside", fontsize=8)
    for row, inner in zip(grid, rows, strict=True):
        row[0].set_ylabel(inner)
    seeds = len(next(iter(tuned.values())).final.modes)
    caption = (
        f"Title: means over {seeds} seeds. Panels: seed 0, {how.samples} samples after {how.steps} steps; samples "
        "outside the axes are counted, not shown.\nCircles: three standard deviations around each mode. Percentages: "
        "samples inside any circle."
    )
    style.frame(figure, samples_title(how, tuned), caption)
    return figure


def samples_title(how: Gan, tuned: Mapping[tuple[str, str], Tuned]) -> str:
    """Say how many modes the methods find with each inner optimizer, on average over seeds."""
    means: dict[str, list[float]] = {}
    for (inner, _), numbers in tuned.items():
        means.setdefault(inner, []).append(float(numbers.final.modes[:, -1].mean()))
    found = [f"{_range(each)} with {inner}" for inner, each in means.items()]
    return f"Of {how.modes} modes, the methods find {', '.join(found)}"


def _range(values: Sequence[float]) -> str:
    low, high = f"{min(values):.1f}", f"{max(values):.1f}"
    return low if low == high else f"{low} to {high}"


def _paths(axes: Axes, name: str, rate: float, steps: int) -> None:
    game = GAMES[name]
    reach = 2.2 * float(np.max(np.abs(game.start)))
    for arm, look in _LOOKS.items():
        points = path(game, ARMS[arm], rate, steps)
        axes.plot(*points.T, markevery=max(1, steps // 20), markersize=3, linewidth=0.9, **look)
    axes.plot(*game.start, "x", color=style.BLACK, markersize=9, markeredgewidth=2, zorder=5)
    axes.plot(0, 0, "+", color=style.BLACK, markersize=12, markeredgewidth=1.5, zorder=5)
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xlabel="first player", ylabel="second player")


def _ring(axes: Axes, how: Gan) -> None:
    angles = np.linspace(0, 2 * np.pi, 60)
    circle = 3 * how.deviation * np.stack([np.cos(angles), np.sin(angles)])
    for centre in how.centres:
        axes.plot(*(circle + centre[:, None]), color=style.GREY, linewidth=0.7, zorder=2)
    axes.grid(visible=False)
