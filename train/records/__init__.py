"""What is kept of a run: its record, its steps, and what a file has to be to count as one."""

from train.records.metrics import EpochMetrics, StepMetrics
from train.records.record import FINGERPRINT, RESULT, Record, environment, read, read_all, run_dir, write

__all__ = [
    "FINGERPRINT",
    "RESULT",
    "EpochMetrics",
    "Record",
    "StepMetrics",
    "environment",
    "read",
    "read_all",
    "run_dir",
    "write",
]
