"""The published tables of the perceptrons, made from their committed record."""

from pathlib import Path

from train.report.publish import Rows, Tables
from train.studies.perceptrons import report
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


TABLES: Tables = {"perceptrons": _arms, "perceptrons-differences": _differences}
