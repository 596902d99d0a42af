"""A network and a batch small enough to benchmark in a test."""

from train.bench.workload import Case

NETWORK = {"depth": 10, "width": 1, "batch_size": 4, "dtype": "float32", "data": "digits"}
CASE = Case(**NETWORK)
STEPS = 2
