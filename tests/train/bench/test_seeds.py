"""The benchmark of several seeds at a tiny size."""

import pytest

from tests.train.bench.tiny_bench import NETWORK, STEPS
from train.bench import seeds

pytestmark = pytest.mark.slow


def test_together_and_in_turn_are_compared():
    result = seeds.run(seeds.Options(**NETWORK, seeds=2, steps=STEPS, repeats=3))
    (name,) = result.ratios
    assert name == "seeds per second, 2 of WRN-10-1: together / in turn"
    together, in_turn = (sorted(result.seconds[key]) for key in ("together", "in turn"))
    assert len(together) == len(in_turn) == 3
    assert in_turn[0] / together[-1] <= result.ratios[name].median <= in_turn[-1] / together[0]
