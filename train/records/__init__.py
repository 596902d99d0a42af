"""What is kept of a run: its record, its steps, and what a file has to be to count as one."""

from train.records.record import RESULT, Record, environment, read, read_all, run_dir, write
from train.records.steps import Steps

__all__ = ["RESULT", "Record", "Steps", "environment", "read", "read_all", "run_dir", "write"]
