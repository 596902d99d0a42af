"""The record, the figures and the tables of `train.studies.updates.directions`, written to a folder."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from train import files, records
from train.experiments import MAIN_SETTINGS, Experiment
from train.report import style
from train.report.tables import Table
from train.studies.updates import tables as directions_tables
from train.studies.updates.directions import Measurement
from train.studies.updates.figures import draw
from train.studies.updates.update_statistics import MAGNITUDE_EDGES, RATE_EDGES, Array

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
    network = f"{experiment.dataset}, WRN-{experiment.depth}-{experiment.width}"
    for epoch in sorted({each.epoch for each in measured}):
        of_epoch = [each for each in measured if each.epoch == epoch]
        title = f"{network}, epoch {epoch} of {experiment.epochs}"
        paths += style.save(draw(of_epoch, title), out / f"directions-epoch-{epoch}")
    # Make the tables from the written record, so that they can be reproduced from it.
    document = files.loads(words.encode())
    made = (directions_tables.updates, directions_tables.noise, directions_tables.against_sgd)
    return [make(document) for make in made], paths


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
