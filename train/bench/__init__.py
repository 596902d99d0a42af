"""Benchmarks: every figure is a ratio of two programs timed in turn in one process. `python -m train bench`."""
