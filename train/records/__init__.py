"""The stored data of a run: its record and its steps, and the checks of their files."""

from train.records.find import discard, find, has_runs, of_arm, read_all, root_of
from train.records.metrics import EpochMetrics, StepMetrics
from train.records.pack import pack
from train.records.record import FINGERPRINT, RESULT, VMAPPED, Record, environment, read, run_dir, write
from train.records.trials import find_trials, write_trials

__all__ = [
    "FINGERPRINT",
    "RESULT",
    "VMAPPED",
    "EpochMetrics",
    "Record",
    "StepMetrics",
    "discard",
    "environment",
    "find",
    "find_trials",
    "has_runs",
    "of_arm",
    "pack",
    "read",
    "read_all",
    "root_of",
    "run_dir",
    "write",
    "write_trials",
]
