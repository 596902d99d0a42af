"""The record, the tables and the picture of the study, written to a folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from train import files, records
from train.report import style, tables
from train.report.equivalence import ALPHA, Contrast, contrasts, omnibus, omnibus_note
from train.report.statistics import estimate
from train.studies.perceptrons import controls, study
from train.studies.perceptrons import figures as perceptrons_figures
from train.studies.perceptrons.record import Record, decode, encode, make
from train.studies.perceptrons.study import Outcome
from train.studies.perceptrons.task import Task

MARGIN = 0.03  # percentage points; fixed in docs/preregistration.md


def write(
    out: Path,
    task: Task,
    test_images: int,
    found: Sequence[tuple[np.ndarray, Mapping[str, Outcome]]],
    *,
    command: str,
) -> tuple[list[tables.Table], list[Path]]:
    """Write `perceptrons.jsonl`, `perceptrons.png` and `perceptrons.svg`.

    Args:
      out: Folder to write to, which exists.
      task: The task of the runs.
      test_images: Number of test images of each run.
      found: The seeds and the outcomes of each part, in order.
      command: The command line, for the record.

    Returns:
      The table of the arms, the table of the differences, and the files written.

    Raises:
      OSError: If the files cannot be written.
    """
    path = out / "perceptrons.jsonl"
    content = encode(make(task, test_images, found, records.environment() | {"command": command}))
    files.write_atomically(path, content)
    # Make tables and picture from the written record, so that they can be reproduced from it.
    record = decode(content)
    compared = compare(record)
    drawn = style.save(perceptrons_figures.draw(record, compared), out / "perceptrons")
    return [arms(record), differences(record, compared)], [path, *drawn]


def compare(record: Record) -> tuple[Contrast, ...]:
    """Each LCAM minus each of its controls and both SGDs."""
    return contrasts(study.comparisons(), {arm: record.error(arm) for arm in record.arms}, MARGIN)


def p_omnibus(record: Record) -> float:
    """Return the p-value of Friedman's test that all arms are equal.

    Unless this test is significant, no single difference counts as found.
    """
    return omnibus([record.error(arm) for arm in record.arms])


def compare_blocks(record: Record) -> Contrast:
    """The primary contrast over the means of blocks of seeds. Blocks share no momenta, so they are independent."""
    primary = study.comparisons()[0]
    means = {arm: record.error(arm).reshape(-1, controls.BLOCK).mean(axis=1) for arm in primary}
    return contrasts([primary], means, MARGIN)[0]


def arms(record: Record) -> tables.Table:
    """Test error and momentum of each arm."""
    note = (
        f"After the last of {record.settings['task']['epochs']} epochs, over {record.settings['seeds']} seeds from "
        f"{record.settings['first_seed']} on. Interval: of the mean, by Student's t over seeds. "
        f"{omnibus_note(p_omnibus(record))}"
    )
    for arm, numbers in record.arms.items():
        if numbers["not_finite"]:
            note += f" {arm}: {len(numbers['not_finite'])} runs ended not finite and count as 100 % wrong."
    return tables.Table(
        title="Perceptrons: final test error (%)",
        columns=("Arm", "Mean", "Standard deviation", "95 % interval", "Mean momentum"),
        rows=[_arm_row(arm, record) for arm in record.arms],
        note=note,
    )


def differences(record: Record, compared: Sequence[Contrast]) -> tables.Table:
    """LCAM minus its controls and SGD: difference, equivalence, and the detectable difference."""
    blocks, p_all = compare_blocks(record), p_omnibus(record)
    return tables.Table(
        title=f"Perceptrons: final test error, {record.settings['seeds']} pairs (percentage points)",
        columns=(
            *("Arm minus arm", "Difference", "95 % interval", "p different", "p equivalent", "Smallest margin"),
            *("Detectable", "Verdict"),
        ),
        rows=[
            (
                f"{contrast.name} minus {contrast.against}",
                f"{contrast.difference.mean:+.3f}",
                tables.interval(contrast.difference.interval, "+.3f"),
                tables.probability(contrast.p_different),
                tables.probability(contrast.p_equivalent),
                tables.number(contrast.smallest_margin, ".3f"),
                tables.number(contrast.detectable, ".3f"),
                contrast.verdict(p_all),
            )
            for contrast in compared
        ],
        note="Paired by seed; negative: LCAM is better. p different: paired t-test. p equivalent: two one-sided paired "
        f"t-tests with a margin of ±{MARGIN} points. Both are corrected by Holm for the {len(compared)} tests of their "
        f"column, and give the verdict at the level {ALPHA:g}. {omnibus_note(p_all)} Uncorrected: intervals, the "
        "smallest margin that would pass the test of equivalence, and the smallest true difference found with 80 % "
        f"power. The first row over means of blocks of {controls.BLOCK} seeds, uncorrected: "
        f"{tables.interval(blocks.difference.interval, '+.3f')}, p different {tables.probability(blocks.p_different)}, "
        f"p equivalent {tables.probability(blocks.p_equivalent)}.",
    )


def _arm_row(arm: str, record: Record) -> tuple[str, ...]:
    error = estimate(record.error(arm).tolist())
    return (
        arm,
        tables.number(error.mean, ".3f"),
        tables.number(error.deviation, ".3f"),
        tables.interval(error.interval, ".3f"),
        f"{np.mean(record.arms[arm]['momentum']):.4f}",
    )
