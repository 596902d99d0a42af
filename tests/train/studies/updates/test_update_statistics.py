import jax
import jax.numpy as jnp
import numpy as np
import pytest

from train.studies.updates.update_statistics import MAGNITUDE_EDGES, RATE_EDGES, add, empty, summary

STEPS, PARAMETERS = 30, 200
RNG = np.random.default_rng(0)
# From far below the first edge to beyond the last, each parameter with a frequency of its own.
UPDATES = (RNG.normal(size=(STEPS, PARAMETERS)) * 10.0 ** RNG.uniform(-11, 2, (STEPS, PARAMETERS))).astype(np.float32)
UPDATES[3] = 0
SIGNS = np.sign(UPDATES)
CHANGED = np.concatenate([np.zeros((1, PARAMETERS), bool), SIGNS[1:] * SIGNS[:-1] < 0])
CHANGED &= RNG.random((STEPS, PARAMETERS)) < np.linspace(0, 1, PARAMETERS)
BELOW = RNG.random(STEPS) < 0.6
PHASES = (BELOW, ~BELOW)


@jax.jit
def sums(below):
    seen = jnp.abs(jnp.asarray(UPDATES)), jnp.asarray(CHANGED), below
    start = empty({"a": jnp.zeros((10, 20))})
    return jax.lax.scan(lambda sums, step: (add(sums, *step), None), start, seen)[0]


@pytest.fixture(scope="module")
def summed_up():
    return jax.device_get(jax.jit(summary)(sums(BELOW)))


def test_magnitudes_equal_numpys_histogram(summed_up):
    edges = np.concatenate([[-1], MAGNITUDE_EDGES, [np.inf]])
    for row, phase in zip(summed_up.magnitudes, PHASES, strict=True):
        expected = np.histogram(np.abs(UPDATES[phase]), edges)[0] / (phase.sum() * PARAMETERS)
        np.testing.assert_allclose(row, expected, rtol=1e-5, atol=1e-7)
        assert row[0] > 0 < row[-1]


def test_means_by_phase(summed_up):
    for i, phase in enumerate(PHASES):
        assert summed_up.steps[i] == phase.sum()
        assert summed_up.mean_update[i] == pytest.approx(np.abs(UPDATES[phase]).mean(), rel=1e-5)
        assert summed_up.sign_changes[i] == pytest.approx(CHANGED[phase].mean(), rel=1e-5)


def rates(changed):
    """In which bin the share of each column lies; in whole numbers, as floats round at the edges."""
    return np.minimum(changed.sum(0) * (len(RATE_EDGES) - 1) // len(changed), len(RATE_EDGES) - 2)


def test_change_rates_are_those_of_single_parameters(summed_up):
    for row, phase in zip(summed_up.change_rates, PHASES, strict=True):
        expected = np.bincount(rates(CHANGED[phase]), minlength=20) / PARAMETERS
        np.testing.assert_allclose(row, expected, rtol=1e-6)


def test_updates_by_the_rate_of_both_phases(summed_up):
    bins = rates(CHANGED)
    np.testing.assert_allclose(summed_up.rate_share, np.bincount(bins, minlength=20) / PARAMETERS, rtol=1e-6)
    for row, phase in zip(summed_up.rate_update, PHASES, strict=True):
        for number, value in enumerate(row):
            own = np.abs(UPDATES[phase])[:, bins == number]
            if own.size:
                assert value == pytest.approx(own.mean(), rel=1e-4)
            else:
                assert np.isnan(value)


def test_slow_are_those_with_at_most_the_median_number_of_changes(summed_up):
    changes = CHANGED.sum(0)
    slow = changes <= np.sort(changes)[(PARAMETERS - 1) // 2]
    assert 0.5 <= slow.mean() < 1
    assert summed_up.slow_share == pytest.approx(slow.mean())
    for i, phase in enumerate(PHASES):
        assert summed_up.slow_update[i] == pytest.approx(np.abs(UPDATES[phase])[:, slow].mean(), rel=1e-5)
        assert summed_up.frequent_update[i] == pytest.approx(np.abs(UPDATES[phase])[:, ~slow].mean(), rel=1e-5)


def test_a_phase_without_steps_is_not_a_number():
    found = jax.device_get(jax.jit(summary)(sums(np.ones(STEPS, bool))))
    assert found.steps.tolist() == [STEPS, 0]
    for rows in (found.magnitudes, found.mean_update, found.sign_changes, found.change_rates, found.slow_update):
        assert np.isnan(rows[1]).all()
        assert np.isfinite(rows[0]).all()


def test_a_tally_has_the_types_of_its_start():
    start, end = empty({"a": jnp.zeros((10, 20))}), sums(BELOW)
    assert [(x.shape, x.dtype) for x in start] == [(x.shape, x.dtype) for x in end]
