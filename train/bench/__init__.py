"""Benchmarks, run by `python -m train bench`. Most of them time programs that take turns."""
