"""The published tables of the updates by phase, made from their committed record."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from train import files
from train.report.publish import Rows, Tables
from train.report.tables import Table
from train.studies.updates import tables


def _rows(make: Callable[[Mapping[str, Any]], Table]) -> Callable[[Path], Rows]:
    return lambda results: make(files.loads((results / "directions" / "directions.json").read_bytes())).rows


TABLES: Tables = {
    "directions": _rows(tables.updates),
    "directions-against-sgd": _rows(tables.against_sgd),
    "gradient-noise": _rows(tables.noise),
}
