"""The workloads of the benchmarks."""

import dataclasses

import jax
import numpy as np
import pytest

from tests.train.bench.tiny_bench import CASE, STEPS
from train.bench import workload
from train.bench.timing import Donated
from train.bench.workload import LARGE, Case, Training, cases, filled_in, require_counts, tree_bytes
from train.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Options:
    depth: int | None = None
    width: int | None = None
    repeats: int = 20


def test_cases_follow_the_device_and_the_options(monkeypatch):
    small = (Case(width=1), Case(width=4))
    assert cases(Options(), small) == list(small)
    assert cases(Options(depth=10), small) == [Case(depth=10, width=1), Case(depth=10, width=4)]
    assert cases(Options(width=2), small) == [Case(width=2)]
    monkeypatch.setattr(workload, "on_gpu", lambda: True)
    assert cases(Options(), small) == [LARGE]
    assert cases(Options(width=2), small) == [dataclasses.replace(LARGE, width=2)]


def test_options_are_filled_in_with_what_all_networks_share():
    common = {"depth": 16, "batch_size": 128, "dtype": "float32", "data": "cifar10"}
    assert filled_in(Options(), [Case(width=1), Case(width=4)]) == common | {"width": None, "repeats": 20}
    assert filled_in(Options(), [Case(width=4)]) == common | {"width": 4, "repeats": 20}


@pytest.mark.parametrize("number", [-1, 0, 10**6 + 1])
def test_a_count_below_one_or_without_measure_is_refused(number):
    with pytest.raises(ConfigError, match=f"repeats is {number}, allowed: a whole number from 1 to 1000000"):
        require_counts(Options(repeats=number))


def test_more_images_than_memory_holds_are_refused():
    # More bytes than a process can name.
    with pytest.raises(ConfigError, match="1000000000000000 images do not fit into memory; try fewer --steps"):
        Training(Case(batch_size=10**6), 10**9)


def test_a_network_that_cannot_be_built_is_refused():
    with pytest.raises(ConfigError, match="depth is 11"):
        Training(Case(depth=11), STEPS)


def test_a_slice_trains_on_and_stays_finite():
    training = Training(CASE, STEPS)
    program, _ = training.slice(STEPS)
    donated = Donated(program, training.state(), training.data)
    losses = [donated()[1].loss for _ in range(3)]
    assert donated.state.step.tolist() == [3 * STEPS]
    assert np.isfinite(losses).all()
    assert losses[0].shape == (1, STEPS)


def test_abstract_state_has_the_shapes_of_the_state():
    training = Training(CASE, STEPS)
    state, abstract = training.state(), training.abstract_state()
    assert jax.tree.map(lambda x: (x.shape, x.dtype), state) == jax.tree.map(lambda x: (x.shape, x.dtype), abstract)
    assert tree_bytes(abstract) == sum(x.nbytes for x in jax.tree.leaves(state))
