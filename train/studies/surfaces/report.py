"""The picture and the numbers of `train.studies.surfaces.mechanism`, written to a folder."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from train import files, records
from train.report import style, tables
from train.report.statistics import Estimate
from train.studies.surfaces.mechanism import ARMS, CONTROLS, Found, Paths, Walk, beyond, controls, find, walk
from train.studies.surfaces.surfaces import SURFACES, Surface


def study(out: Path, *, seeds: int, command: str, how: Walk | None = None) -> tuple[list[tables.Table], list[Path]]:
    """Run all surfaces and write `mechanism.json`, `mechanism.png` and `mechanism.svg`.

    Args:
      out: Folder to write to, created if necessary.
      seeds: Number of noise seeds, at least 2.
      command: The command line, for the record.
      how: The settings of the paths; None means the default.

    Returns:
      The table of each surface, the table of the differences, and the files written.

    Raises:
      OSError: If the files cannot be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    how = how or Walk()
    walked, found = {}, {}
    for name, surface in SURFACES.items():
        walked[name] = walk(surface, ARMS, seeds, how)
        matched = walk(surface, controls(walked[name], how), seeds, how)
        found[name] = {arm: find(surface, paths) for arm, paths in (walked[name] | matched).items()}
    document = records.environment() | {
        "command": command,
        "seeds": seeds,
        "walk": dataclasses.asdict(how),
        "surfaces": {name: _numbers(SURFACES[name], arms) for name, arms in found.items()},
    }
    path = out / "mechanism.json"
    files.write_atomically(path, files.dumps_entries(document, entries=("arms",)).encode())
    drawn = style.save(draw(walked), out / "mechanism")
    return [*(table(SURFACES[name], arms) for name, arms in found.items()), differences(found)], [path, *drawn]


def table(surface: Surface, found: Mapping[str, Found]) -> tables.Table:
    """The numbers of one surface, one row per arm."""
    return tables.Table(
        title=surface.title,
        columns=("Optimizer", surface.measure, "final loss", "below the mean", "mean momentum"),
        rows=[
            (
                name,
                _in_words(numbers.progress, ".2f"),
                _in_words(numbers.final_loss, ".3f"),
                f"{numbers.below.mean:.1%}",
                f"{numbers.momentum.mean:.4f}",
            )
            for name, numbers in found.items()
        ],
        note=f"Means over {_seeds(found)} noise seeds, the same for all, with 95 % intervals by Student's t. "
        "constant-* is SGD at the mean momentum of the LCAM of the same name; random-* picks that LCAM's two momenta "
        "by a coin, with its share of steps below in each epoch of each path.",
    )


def differences(found: Mapping[str, Mapping[str, Found]]) -> tables.Table:
    """The progress of each LCAM minus the progress of its controls, one row per surface of `SURFACES` and LCAM."""
    rows = []
    for surface, arms in found.items():
        constant, random = (beyond(kind, arms) for kind in CONTROLS)
        rows += [
            (f"{surface} {name}", _in_words(constant[name], "+.2f"), _in_words(random[name], "+.2f"))
            for name in constant
        ]
    measures = dict.fromkeys(SURFACES[surface].measure for surface in found)
    return tables.Table(
        title="LCAM and its controls",
        columns=("On, optimizer", "minus constant momentum", "minus random switching"),
        rows=rows,
        note=f"In {' or '.join(measures)}, paired by noise seed, with 95 % intervals by Student's t.",
    )


@style.styled
def draw(walked: Mapping[str, Mapping[str, Paths]]) -> Figure:
    """Draw the path of the first noise seed, one row per surface of `SURFACES`, one column per arm."""
    arms = list(next(iter(walked.values())))
    figure = Figure(figsize=(2.3 * len(arms), 2.2 * len(walked) + 0.8), layout="constrained")
    grid = figure.subplots(len(walked), len(arms), sharex="row", sharey="row", squeeze=False)
    for row, (name, paths) in zip(grid, walked.items(), strict=True):
        corners = _corners(np.concatenate([paths[arm].points[0] for arm in arms]))
        for axes, arm in zip(row, arms, strict=True):
            _contours(axes, SURFACES[name], corners)
            _phases(axes, paths[arm])
            axes.set_xlim(corners[:, 0])
            axes.set_ylim(corners[:, 1])
        row[0].set_ylabel(SURFACES[name].title.replace(", ", ",\n"))
    for axes, arm in zip(grid[0], arms, strict=True):
        axes.set_title(arm, loc="left")
    caption = "Crosses: the start. Every optimizer meets the same noise and makes as many steps."
    handles, _ = grid[0, 0].get_legend_handles_labels()
    style.frame(figure, "Paths on noisy surfaces, each step by the phase of its loss", caption, handles)
    return figure


def _numbers(surface: Surface, found: Mapping[str, Found]) -> dict[str, Any]:
    """The part of the JSON about one surface, without the values of single seeds, which the seeds reproduce."""
    arms: dict[str, dict[str, Any]] = {name: dataclasses.asdict(numbers) for name, numbers in found.items()}
    for kind in CONTROLS:
        for name, difference in beyond(kind, found).items():
            arms[name][f"progress_minus_{kind}"] = dataclasses.asdict(difference)
    for numbers_of_arm in arms.values():
        for each in numbers_of_arm.values():
            del each["values"]
    return {"title": surface.title, "progress": surface.measure, "arms": arms}


def _seeds(found: Mapping[str, Found]) -> int:
    (seeds,) = {len(numbers.progress.values) for numbers in found.values()}
    return seeds


def _in_words(found: Estimate, form: str) -> str:
    low, high = found.interval
    return f"{found.mean:{form}} ({low:{form}} to {high:{form}})"


def _corners(points: np.ndarray) -> np.ndarray:
    """The lower left and the upper right corner of a picture of some points; [2, 2]."""
    low, high = points.min(axis=0), points.max(axis=0)
    margin = 0.1 * (high - low) + 0.05
    return np.stack([low - margin, high + margin])


def _contours(axes: Axes, surface: Surface, corners: np.ndarray) -> None:
    x, y = np.meshgrid(*(np.linspace(low, high, 300) for low, high in corners.T))
    points = jnp.asarray(np.stack([x, y], axis=-1), jnp.float32)
    loss = np.asarray(jax.vmap(jax.vmap(surface.loss))(points))
    # Levels with equal shares of the picture, because walls are steep and floors nearly flat.
    levels = np.unique(np.quantile(loss, np.linspace(0.03, 0.9, 14)))
    axes.contour(x, y, loss, levels, colors="#b8b8b8", linewidths=0.6, linestyles="solid", zorder=1)
    axes.grid(visible=False)


def _phases(axes: Axes, paths: Paths) -> None:
    """Draw the first path, each step marked by the phase of its loss."""
    points, below = paths.points[0], paths.below[0]
    axes.plot(*points.T, color=style.GREY, linewidth=0.5, zorder=2)
    # Draw the steps above the mean on top: there are fewer, and they would be covered.
    axes.plot(*points[:-1][below].T, "o", color=style.BLUE, markersize=1.8, label="below the mean", zorder=3)
    look: dict[str, Any] = {
        "color": style.VERMILLION,
        "markerfacecolor": "white",
        "markersize": 3.4,
        "markeredgewidth": 0.7,
    }
    axes.plot(*points[:-1][~below].T, "^", label="at or above the mean", zorder=4, **look)
    axes.plot(*points[0], "x", color=style.BLACK, markersize=6, zorder=5)
