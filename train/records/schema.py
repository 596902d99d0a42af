"""The schema of a record: checks every field and names it in errors."""

import math
import re
from pathlib import Path
from typing import Any

from train import files
from train.errors import RecordError
from train.records.metrics import MEASURED, EpochMetrics

VERSION = 1
# The advice for any record that differs from what was written.
ADVICE = "take the run out (its folder, or its line of runs.jsonl) and run the arm again"
FIELDS = {
    "name": str,
    "group": str,
    "seed": int,
    "config": dict,
    "versions": dict,
    "device": dict,
    "command": str,
    "history": list,
}
# Names become folders and file names: no part may be empty or climb out of the root.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+=-]*(/[A-Za-z0-9][A-Za-z0-9_.+=-]*)*")


def loads(data: bytes, path: Path | str) -> Any:
    """The value of a record's JSON.

    Raises:
      RecordError: naming the source, if the bytes are not strict JSON.
    """
    try:
        return files.loads(data)
    except ValueError as error:
        raise RecordError(f"{path}: damaged, not strict JSON: {error}; {ADVICE}") from error


def check(result: Any, path: Path | str, checksum: str) -> dict[str, Any]:
    """The checked content of a record.

    Args:
      result: its JSON value, the history as a list of rows.
      path: the source, for the errors.
      checksum: the field with the checksum of the steps.

    Returns:
      The same value, with `EpochMetrics` as rows of the history, and with nan for each null in the place of a number.

    Raises:
      RecordError: if a field differs from what this package writes. The message names the file and the field.
    """
    if not isinstance(result, dict) or result.get("schema") != VERSION:
        raise RecordError(
            f"{path}: not a record of schema {VERSION}, but another program's or version's file; {ADVICE}"
        )
    for key, kind in {**FIELDS, checksum: str}.items():
        if type(result.get(key)) is not kind:
            raise RecordError(f"{path}: `{key}` is {result.get(key)!r:.80}, expected {kind.__name__}; {ADVICE}")
    if type(result.get("donor_seed", 0)) is not int:
        raise RecordError(f"{path}: `donor_seed` is {result['donor_seed']!r:.80}, expected int; {ADVICE}")
    lost = result.get("lost_rates", [])
    if type(lost) is not list or not all(type(rate) in (int, float) for rate in lost):
        raise RecordError(f"{path}: `lost_rates` is {lost!r:.80}, expected a list of numbers; {ADVICE}")
    for key in ("name", "group"):
        if not NAME.fullmatch(result[key]):
            raise RecordError(f"{path}: `{key}` is {result[key]!r:.80}, expected words and slashes; {ADVICE}")
    if type(result["config"].get("epochs")) is not int:
        raise RecordError(f"{path}: `config` has no whole number of `epochs`; {ADVICE}")
    if not result["history"]:
        raise RecordError(f"{path}: `history` is empty, expected an entry for each epoch; {ADVICE}")
    for key in ("final_test_error", "best_test_error"):
        result[key] = _number(result, key, path)
    result["history"] = [_epoch(*entry, path) for entry in enumerate(result["history"])]
    return result


def _epoch(index: int, epoch: Any, path: Path | str) -> EpochMetrics:
    """One checked row of the history, without fields that this version does not know."""
    if not isinstance(epoch, dict) or epoch.get("epoch") != index:
        raise RecordError(f"{path}: `history[{index}]` is {epoch!r:.80}, expected an object of epoch {index}; {ADVICE}")
    numbers = {key: _number(epoch, key, path, f"history[{index}].") for key in MEASURED}
    skipped = epoch.get("skipped_steps")
    if not (skipped is None or (type(skipped) is int and skipped >= 0)):
        raise RecordError(
            f"{path}: `history[{index}].skipped_steps` is {skipped!r:.80}, expected a whole number; {ADVICE}"
        )
    return EpochMetrics(epoch=index, skipped_steps=skipped, **numbers)


def _number(holder: dict[str, Any], key: str, path: Path | str, prefix: str = "") -> float:
    """A float, with nan for null and for numbers that no float can represent."""
    value = holder.get(key, "missing")
    if value is None:
        return math.nan
    if type(value) not in (int, float):
        raise RecordError(f"{path}: `{prefix}{key}` is {value!r:.80}, expected a number or null; {ADVICE}")
    try:
        return value + 0.0 if math.isfinite(value) else math.nan
    except OverflowError:
        return math.nan
