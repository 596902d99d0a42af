"""The figures and the numbers of `train.studies.directions`, written to a folder."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from train import files, records
from train.experiments import Experiment
from train.reporting import figures, tables
from train.studies.directions import Measurement
from train.studies.tally import MAGNITUDE_EDGES, RATE_EDGES, Array

_PHASES = ("below", "above")
_LOOKS: tuple[dict[str, Any], ...] = (
    {"color": figures.BLUE, "linestyle": "-", "label": "steps below the mean"},
    {"color": figures.VERMILLION, "linestyle": (0, (4, 1.5)), "label": "steps at or above the mean"},
)
_AXES = (
    ("|update|", "parameters"),
    ("steps with a sign change", "parameters with fewer"),
    ("steps with a sign change", "mean |update|"),
)


def write(
    out: Path, measured: Sequence[Measurement], experiment: Experiment, *, seed: int, command: str
) -> tuple[list[tables.Table], list[Path]]:
    """Write `directions.json` and, for each epoch measured, `directions-epoch-<n>.png` and `.svg`.

    Args:
      out: Folder to write to, made if need be.
      measured: All arms at the same epochs.
      experiment: One of the arms, for the settings that all share.
      seed: Of the runs.
      command: The command line, for the record.

    Returns:
      The tables, and the files written.

    Raises:
      OSError: If the files cannot be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    shared = {key: value for key, value in dataclasses.asdict(experiment).items() if key in tables.SETTINGS}
    for own in ("momentum_below", "momentum_above", "phase"):
        del shared[own]
    document = records.environment() | {
        "command": command,
        "seed": seed,
        "settings": shared,
        "phases": _PHASES,
        "magnitude_edges": MAGNITUDE_EDGES.tolist(),
        "rate_edges": RATE_EDGES.tolist(),
        "measurements": [_numbers(each) for each in measured],
    }
    paths = [out / "directions.json"]
    files.write_atomically(paths[0], files.dumps(document).encode())
    network = f"{experiment.dataset}, WRN-{experiment.depth}-{experiment.width}"
    for epoch in sorted({each.epoch for each in measured}):
        of_epoch = [each for each in measured if each.epoch == epoch]
        title = f"{network}, epoch {epoch} of {experiment.epochs}"
        paths += figures.save(draw(of_epoch, title), out / f"directions-epoch-{epoch}")
    return [phase_table(measured), noise_table(measured)], paths


def phase_table(measured: Sequence[Measurement]) -> tables.Table:
    """Updates and sign changes of each arm and epoch, below the mean and above it."""
    rows = []
    for each in measured:
        seen = each.directions
        rows.append(
            (
                f"{each.arm}, epoch {each.epoch}",
                f"{seen.steps[0] / seen.steps.sum():.0%}",
                *(f"{value:.2e}" for value in seen.mean_update),
                *(_ratio(values) for values in (seen.mean_update, seen.slow_update, seen.frequent_update)),
                *(f"{value:.1%}" for value in seen.sign_changes),
            )
        )
    return tables.Table(
        title="Updates by the phase of the step's loss",
        columns=(
            "Arm",
            "steps below",
            "|update| below",
            "|update| above",
            "above / below",
            "slow half",
            "frequent half",
            "sign changes below",
            "sign changes above",
        ),
        rows=rows,
        note="|update|: mean over parameters and steps. Slow and frequent half: the same ratio, above / below, of the "
        "parameters whose updates changed their sign at most as often as the median parameter's in this epoch, and of "
        "the others. Sign changes: share of parameters, mean over steps. A step's phase is that of the loss whose "
        "gradient it took; LCAM's momentum was picked by the loss before. One seed.",
    )


def noise_table(measured: Sequence[Measurement]) -> tables.Table:
    """The gradient's noise of each arm after each epoch."""
    return tables.Table(
        title="Noise of the gradient after the epoch",
        columns=("Arm", "training loss", "trace", "largest eigenvalue", "effective rank", "|g|²", "noise scale"),
        rows=[
            (
                f"{each.arm}, epoch {each.epoch}",
                f"{each.train_loss:.3f}",
                f"{each.noise.trace:.3g}",
                f"{each.noise.eigenvalues[0]:.3g}",
                f"{each.noise.effective_rank:.1f}",
                f"{each.noise.squared_gradient:.3g}",
                tables.NONE if np.isnan(each.noise.noise_scale) else f"{each.noise.noise_scale:.3g}",
            )
            for each in measured
        ],
        note=f"Of {len(measured[0].noise.eigenvalues) + 1} training images in evaluation mode, without weight decay. "
        "Effective rank: tr(C)² / tr(C²). |g|²: unbiased, so it may be negative where noise drowns the gradient; "
        "there the noise scale tr(C) / |g|² cannot be told.",
    )


@figures.styled
def draw(measured: Sequence[Measurement], title: str) -> Figure:
    """Draw the distributions of one epoch, an arm a column, the phases as lines."""
    figure = Figure(figsize=(7.2, 7.2), layout="constrained")
    grid = figure.subplots(3, len(measured), sharex="row", sharey="row", squeeze=False)
    for column, each in zip(grid.T, measured, strict=True):
        column[0].set_title(each.arm, loc="left")
        for phase, look in enumerate(_LOOKS):
            # The open bins at both ends have no width to be drawn with: they are in the JSON.
            column[0].stairs(each.directions.magnitudes[phase][1:-1], MAGNITUDE_EDGES, **look)
            _cumulative(column[1], each, phase, look)
            _update_by_rate(column[2], each, phase, look)
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
        "Top: distribution of |update| over parameters, mean over steps. Middle: parameters whose update has another\n"
        "sign than at the step before in less than this share of steps. Bottom: |update| by that share over all steps."
    )
    figures.frame(figure, title, caption, grid[0, 0].get_legend_handles_labels()[0])
    return figure


def _cumulative(axes: Axes, each: Measurement, phase: int, look: dict[str, Any]) -> None:
    # Counts of few steps fall on few values: a histogram of them would show a comb.
    shares = np.concatenate([[0.0], np.cumsum(each.directions.change_rates[phase])])
    axes.plot(RATE_EDGES, shares, **look)


def _update_by_rate(axes: Axes, each: Measurement, phase: int, look: dict[str, Any]) -> None:
    # Of fewer than a thousandth of the parameters the mean is an accident.
    kept = np.asarray(each.directions.rate_share) > 1e-3
    middles = (RATE_EDGES[1:] + RATE_EDGES[:-1]) / 2
    axes.plot(middles[kept], each.directions.rate_update[phase][kept], marker="o^"[phase], markersize=3.5, **look)


def _drawn(shares: np.ndarray, edges: np.ndarray) -> tuple[float, float]:
    """The outer edges of the bins that hold a thousandth of the parameters in any of the histograms."""
    used = np.flatnonzero((np.nan_to_num(shares) > 1e-3).reshape(-1, shares.shape[-1]).any(axis=0))
    return (float(edges[used[0]]), float(edges[used[-1] + 1])) if used.size else (float(edges[0]), float(edges[-1]))


def _ratio(values: Array) -> str:
    ratio = float(values[1] / values[0])
    return f"{ratio:.3f}" if np.isfinite(ratio) else tables.NONE


def _numbers(each: Measurement) -> dict[str, Any]:
    """One measurement as JSON values."""
    return {
        "arm": each.arm,
        "epoch": each.epoch,
        "train_loss": each.train_loss,
        "directions": {name: value.tolist() for name, value in each.directions._asdict().items()},
        "noise": {name: value.tolist() for name, value in each.noise._asdict().items()},
    }
