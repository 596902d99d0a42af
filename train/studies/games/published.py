"""The published tables of the games, made from their committed record."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from train import files
from train.report.publish import Rows, Tables
from train.studies.games import report


def _rows(make: Callable[[Mapping[str, Any]], Rows]) -> Callable[[Path], Rows]:
    return lambda results: make(files.loads((results / "games" / "games.json").read_bytes()))


TABLES: Tables = {"small-games": _rows(report.small_rows), "gan": _rows(report.gan_rows)}
