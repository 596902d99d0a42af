"""The numbers, with the picture, of `train.studies.surfaces.mechanism`, written to a folder."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from train import files, records
from train.report import style, tables
from train.report.statistics import Estimate
from train.studies.surfaces.figures import draw
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
    shown, found = {}, {}
    for name, surface in SURFACES.items():
        walked = walk(surface, ARMS, seeds, how)
        walked |= walk(surface, controls(walked, how), seeds, how)
        found[name] = {arm: find(surface, paths) for arm, paths in walked.items()}
        shown[name] = {arm: Paths(*(values[:1] for values in paths)) for arm, paths in walked.items()}
    document = records.environment() | {
        "command": command,
        "seeds": seeds,
        "walk": dataclasses.asdict(how),
        "surfaces": {name: _numbers(SURFACES[name], arms) for name, arms in found.items()},
    }
    path = out / "mechanism.json"
    files.write_atomically(path, files.dumps_entries(document, entries=("arms",)).encode())
    drawn = style.save(draw(shown, found), out / "mechanism")
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
        "by a coin, with its share of steps below in each epoch of each path; yoked-* replays the momenta of its path "
        "with the next noise seed.",
    )


def differences(found: Mapping[str, Mapping[str, Found]]) -> tables.Table:
    """The progress of each LCAM minus the progress of its controls, one row per surface of `SURFACES` and LCAM."""
    rows = []
    for surface, arms in found.items():
        by_kind = [beyond(kind, arms) for kind in CONTROLS]
        rows += [(f"{surface} {name}", *(_in_words(found[name], "+.2f") for found in by_kind)) for name in by_kind[0]]
    measures = dict.fromkeys(SURFACES[surface].measure for surface in found)
    return tables.Table(
        title="LCAM and its controls",
        columns=("On, optimizer", "minus constant momentum", "minus random switching", "minus yoked"),
        rows=rows,
        note=f"In {' or '.join(measures)}, paired by noise seed, with 95 % intervals by Student's t.",
    )


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
