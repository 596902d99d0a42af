"""Benchmarks, run by `python -m train bench`: they compare programs that take turns in one process."""
