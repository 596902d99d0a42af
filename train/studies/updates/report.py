"""The record, the figures and the tables of `train.studies.updates.directions`, written to a folder."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from train import files, records
from train.experiments import MAIN_SETTINGS, Experiment
from train.report import style
from train.report.tables import Table
from train.studies.updates import tables as directions_tables
from train.studies.updates.directions import Measurement
from train.studies.updates.figures import draw
from train.studies.updates.update_statistics import MAGNITUDE_EDGES, RATE_EDGES, Array, Directions

# Number of the largest eigenvalues to store. The others are nearly zero, and would be a third of a record.
_KEPT_EIGENVALUES = 32


def write(
    out: Path, measured: Sequence[Measurement], experiment: Experiment, *, command: str
) -> tuple[list[Table], list[Path]]:
    """Write `directions.json` and, for each epoch measured, `directions-epoch-<n>.png` and `.svg`.

    Args:
      out: Folder to write to, created if necessary.
      measured: All arms, with the same seeds in the same order, at the same epochs.
      experiment: One of the arms, for the seeds and settings that all share.
      command: The command line, for the record.

    Returns:
      The tables, and the files written.

    Raises:
      OSError: If the files cannot be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    shared = {key: value for key, value in dataclasses.asdict(experiment).items() if key in MAIN_SETTINGS}
    for own in ("momentum_below", "momentum_above", "phase"):
        del shared[own]
    words = files.dumps_entries(
        records.environment()
        | {
            "command": command,
            "seeds": experiment.seeds,
            "settings": shared,
            "examples": len(measured[0].noise.eigenvalues) + 1,
            "phases": ("below", "above"),
            "magnitude_edges": _short(MAGNITUDE_EDGES),
            "rate_edges": _short(RATE_EDGES),
            "measurements": [_numbers(each) for each in measured],
        },
        entries=("measurements",),
    )
    paths = [out / "directions.json"]
    files.write_atomically(paths[0], words.encode())
    # Make the figures and tables from the written record, so that they can be reproduced from it.
    document = files.loads(words.encode())
    for epoch in sorted({each.epoch for each in measured}):
        paths += style.save(redraw(document, epoch), out / f"directions-epoch-{epoch}")
    made = (directions_tables.updates, directions_tables.noise, directions_tables.against_sgd)
    return [make(document) for make in made], paths


def redraw(document: Mapping[str, Any], epoch: int) -> Figure:
    """Draw the figure of one epoch from a record.

    Args:
      document: The contents of `directions.json`.
      epoch: The epoch to draw, counted from 1.
    """
    settings = document["settings"]
    what = f"{settings['dataset']}, WRN-{settings['depth']}-{settings['width']}, epoch {epoch} of {settings['epochs']}"
    runs: dict[str, list[Directions]] = {}
    for each in document["measurements"]:
        if each["epoch"] == epoch:
            fields = {name: np.asarray(value) for name, value in each["directions"].items()}
            runs.setdefault(each["arm"], []).append(Directions(**fields))
    return draw(runs, what)


def _numbers(each: Measurement) -> dict[str, Any]:
    """One measurement as JSON values."""
    noise = each.noise._replace(eigenvalues=each.noise.eigenvalues[:_KEPT_EIGENVALUES])
    return {
        "arm": each.arm,
        "seed": each.seed,
        "epoch": each.epoch,
        "train_loss": each.train_loss,
        "directions": {name: _short(value) for name, value in each.directions._asdict().items()},
        "noise": {name: _short(value) for name, value in noise._asdict().items()},
    }


def _short(values: Array) -> Any:
    """Round to the digits that float32 can represent."""
    values = np.asarray(values)
    if values.ndim:
        return [_short(value) for value in values]
    return float(f"{values:.6g}") if values.dtype.kind == "f" else int(values)
