"""What is trained in the benchmarks."""

import dataclasses

import jax
import numpy as np
import pytest

from tests.train.bench.tiny_bench import CASE, STEPS
from train.bench import workload
from train.bench.timing import Donated
from train.bench.workload import LARGE, Case, Training, cases, require_positive, tree_bytes
from train.experiments import ConfigError


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


def test_counts_below_one_are_refused():
    with pytest.raises(ConfigError, match="repeats is 0, allowed: a whole number of at least 1"):
        require_positive(Options(repeats=0))


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
