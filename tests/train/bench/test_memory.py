"""The benchmark of memory at a tiny size."""

import pytest

from tests.train.bench.tiny_bench import NETWORK, STEPS
from train.bench import memory


@pytest.fixture(scope="module")
def facts():
    return memory.run(memory.Options(**NETWORK, steps=STEPS, seeds=2)).facts


@pytest.mark.parametrize("name", ["a step", "a slice of 2 steps", "a slice of 2 seeds"])
def test_the_state_is_updated_in_place(facts, name):
    state = facts[f"{name}: bytes of state"]
    assert facts[f"{name}: bytes of state and others updated in place"] >= state
    assert facts[f"{name}: bytes of arguments"] >= state + facts["bytes of data"]
    assert facts[f"{name}: bytes of temporaries"] > 0


def test_two_seeds_hold_two_states(facts):
    assert facts["a slice of 2 seeds: bytes of state"] == 2 * facts["a slice of 2 steps: bytes of state"]
