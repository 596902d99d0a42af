"""The benchmark of steps at a tiny size."""

import importlib.util

import pytest

from tests.train.bench.tiny_bench import NETWORK, STEPS
from train.bench import step
from train.bench.peers import MISSING, TUNED

pytestmark = pytest.mark.slow


@pytest.mark.usefixtures("one_thread")
def test_every_program_is_compared():
    result = step.run(step.Options(**NETWORK, steps=STEPS, repeats=2))
    rate = "rate of operations: {} / float32 matrix products"
    expected = {rate.format(step.OURS)}
    if importlib.util.find_spec("torch"):
        expected |= {f"{step.OURS} / {TUNED}", rate.format(TUNED)}
    else:
        assert result.facts["WRN-10-1: PyTorch"] == MISSING
    assert set(result.ratios) == {f"WRN-10-1: {name}" for name in expected}
    assert all(ratio.median > 0 and ratio.repeats == 2 for ratio in result.ratios.values())
    assert result.options == NETWORK | {"steps": STEPS, "repeats": 2}
