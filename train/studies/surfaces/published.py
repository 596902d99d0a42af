"""The published table of the surfaces, made from its committed record."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from train import files
from train.report.publish import Rows, Tables

_ARMS = ("sgd-0.9", "sgd-0.95", "lcam-0.95-0.9", "lcam-0.9-0.95")
_CONTROLS = {"constant": "minus constant momentum", "random": "minus random switching", "yoked": "minus yoked"}


def _mechanism(results: Path) -> Rows:
    """The progress of each optimizer on each surface, and the differences of LCAM from its controls."""
    surfaces = files.loads((results / "mechanism" / "mechanism.json").read_bytes())["surfaces"].values()
    rows = []
    for surface in surfaces:
        arms = [surface["arms"][arm] for arm in _ARMS]
        means = [f"{arm['progress']['mean']:.2f}" for arm in arms]
        rows.append((f"{surface['title']}: {surface['progress']}", *means))
        for kind, label in _CONTROLS.items():
            rows.append((label, *(_difference(arm.get(f"progress_minus_{kind}")) for arm in arms)))
    return rows


def _difference(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return ""
    low, high = found["interval"]
    return f"{found['mean']:+.2f} ({low:+.2f} to {high:+.2f})"


TABLES: Tables = {"mechanism": _mechanism}
