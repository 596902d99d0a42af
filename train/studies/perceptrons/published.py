"""The published tables of the perceptrons, made from their committed record."""

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from train.report import forest
from train.report.publish import Rows, Tables
from train.studies.perceptrons import figures, report
from train.studies.perceptrons.record import Record, decode


def _record(results: Path) -> Record:
    return decode((results / "perceptrons" / "perceptrons.jsonl").read_bytes())


def _arms(results: Path) -> Rows:
    """Test error and momentum of each arm."""
    return report.arms(_record(results)).rows


def _differences(results: Path) -> Rows:
    """LCAM minus its controls and SGD."""
    record = _record(results)
    return report.differences(record, report.compare(record)).rows


def figure(results: Path) -> Figure:
    """Draw the figure of the study from the committed record."""
    record = _record(results)
    return figures.draw(record, report.compare(record))


def forest_task(results: Path, lcam: str, controls: Mapping[str, str]) -> forest.Task:
    """One LCAM minus some of its controls, with the verdicts of all tests of the study.

    Args:
      results: The folder of committed records.
      lcam: The arm.
      controls: The arms that it is compared with, by what the figure calls them.
    """
    record = _record(results)
    p_all = report.p_omnibus(record)
    compared = {each.against: each for each in report.compare(record) if each.name == lcam}
    rows = [
        forest.Row(against=words, difference=compared[arm].difference, verdict=compared[arm].verdict(p_all))
        for words, arm in controls.items()
    ]
    title = f"64-{record.settings['task']['hidden']}-10 perceptron, digits"
    return forest.Task(title=title, margin=report.MARGIN, rows=rows)


TABLES: Tables = {"perceptrons": _arms, "perceptrons-differences": _differences}
