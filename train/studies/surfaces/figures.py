"""The picture of `train.studies.surfaces.mechanism`: one path of LCAM and of two controls, and how far all went."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from train.report import style
from train.studies.surfaces.mechanism import CONTROLS, Found, Paths, beyond, control
from train.studies.surfaces.surfaces import SURFACES, Surface

_LCAM = "lcam-0.9-0.95"
_SHOWN = (_LCAM, control("yoked", _LCAM), control("random", _LCAM))
_SWITCHING = ("random", "yoked")  # the controls that switch between the same two momenta
_MARKERS = {"sgd": ("s", "white"), "lcam": ("D", style.BLACK)} | dict.fromkeys(CONTROLS, ("o", "white"))


@style.styled
def draw(walked: Mapping[str, Mapping[str, Paths]], found: Mapping[str, Mapping[str, Found]]) -> Figure:
    """Draw one row per surface: the first path of LCAM and of two controls, then how far all arms came.

    Args:
      walked: The paths of each arm on each surface of `SURFACES`, at least one per arm.
      found: The results of each arm on each surface, over all paths.
    """
    figure = Figure(figsize=(7.2, 2.35 * len(walked) + 1.0), layout="constrained")
    grid = figure.subplots(len(walked), len(_SHOWN) + 1, squeeze=False, width_ratios=[1.0, 1.0, 1.0, 1.2])
    for row, (name, paths) in zip(grid, walked.items(), strict=True):
        corners = _corners(np.concatenate([paths[arm].points[0] for arm in _SHOWN]))
        for axes, arm in zip(row, _SHOWN, strict=False):
            _contours(axes, SURFACES[name], corners)
            _phases(axes, paths[arm])
            axes.set(xlim=corners[:, 0], ylim=corners[:, 1], xlabel="first parameter")
        row[0].set_ylabel(f"{SURFACES[name].title.replace(', ', ',' + chr(10))}\nsecond parameter")
        for axes in row[1:-1]:
            axes.tick_params(labelleft=False)
        _progress(row[-1], SURFACES[name], found[name])
    for axes, arm in zip(grid[0], _SHOWN, strict=False):
        axes.set_title(arm.partition("-")[0].replace("lcam", "LCAM"), loc="left")
    grid[0, -1].set_title("how far all went", loc="left")
    seeds = len(found[name][_LCAM].progress.values)
    caption = (
        "Paths: one noise seed, 0.9 below the mean and 0.95 above; crosses: the start. yoked: the momenta of another\n"
        f"LCAM path. Right: means of {seeds:,} noise seeds with 95 % intervals; shaded: LCAM and its controls."
    )
    handles, _ = grid[0, 0].get_legend_handles_labels()
    style.frame(figure, title(found), caption, handles)
    return figure


def title(found: Mapping[str, Mapping[str, Found]]) -> str:
    """Say how near the switching controls come to LCAM: the largest difference, as a share of what LCAM reached."""
    shares = [
        abs(difference.mean / arms[lcam].progress.mean)
        for arms in found.values()
        for kind in _SWITCHING
        for lcam, difference in beyond(kind, arms).items()
    ]
    # Rounded up, so that it is true.
    return f"Switching without looking at the loss comes within {math.ceil(1000 * max(shares)) / 10:g} % of LCAM"


def _progress(axes: Axes, surface: Surface, found: Mapping[str, Found]) -> None:
    """Draw what every arm reached, those of LCAM with its controls in blocks."""
    lcams = [name for name in found if name.startswith("lcam")]
    blocks = [[name for name in found if name.startswith("sgd")]]
    blocks += [[lcam, *(control(kind, lcam) for kind in CONTROLS)] for lcam in lcams]
    y, ticks = 0.0, {}
    for block in blocks:
        if len(block) > len(CONTROLS):
            axes.axhspan(y - 0.45, y + len(block) - 0.55, color="#f0f0f0", zorder=0)
        for name in block:
            progress = found[name].progress
            marker, face = _MARKERS[name.partition("-")[0]]
            axes.plot(progress.interval, [y, y], color=style.BLACK, linewidth=1.2)
            axes.plot(progress.mean, y, marker, color=style.BLACK, markerfacecolor=face, markersize=4)
            ticks[y] = name.replace("lcam", "LCAM").replace("sgd", "SGD").replace("-", " ", 1).replace("-", "/")
            y += 1
        y += 0.4
    axes.set_yticks(list(ticks), list(ticks.values()), fontsize=7)
    axes.set_ylim(y - 0.8, -0.7)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(surface.measure, x=1.0, ha="right")


def _corners(points: np.ndarray) -> np.ndarray:
    """The lower left and the upper right corner of a picture of some points; [2, 2]."""
    low, high = points.min(axis=0), points.max(axis=0)
    margin = 0.1 * (high - low) + 0.05
    return np.stack([low - margin, high + margin])


def _contours(axes: Axes, surface: Surface, corners: np.ndarray) -> None:
    x, y = np.meshgrid(*(np.linspace(low, high, 300) for low, high in corners.T))
    points = jnp.asarray(np.stack([x, y], axis=-1), jnp.float32)
    loss = np.asarray(jax.vmap(jax.vmap(surface.loss))(points))
    # As many levels as make equal shares of the picture: walls are steep and floors nearly flat.
    levels = np.unique(np.quantile(loss, np.linspace(0.03, 0.9, 12)))
    axes.contour(x, y, loss, levels, colors="#c4c4c4", linewidths=0.5, linestyles="solid", zorder=1)
    axes.grid(visible=False)


def _phases(axes: Axes, paths: Paths) -> None:
    """Draw the first path, each step marked by the momentum that it used."""
    points, momentum = paths.points[0], paths.momentum[0]
    low = momentum <= momentum.min()
    axes.plot(*points.T, color=style.GREY, linewidth=0.5, zorder=2)
    axes.plot(*points[:-1][low].T, "o", color=style.BLUE, markersize=1.6, label="momentum 0.9", zorder=3)
    look: dict[str, Any] = {
        "color": style.VERMILLION,
        "markerfacecolor": "white",
        "markersize": 3.0,
        "markeredgewidth": 0.7,
    }
    # The fewer are on top, or they would be covered.
    axes.plot(*points[:-1][~low].T, "^", label="momentum 0.95", zorder=4, **look)
    axes.plot(*points[0], "x", color=style.BLACK, markersize=6, zorder=5)
