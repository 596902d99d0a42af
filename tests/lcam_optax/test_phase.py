"""The phases against NumPy."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lcam_optax

LOSSES = st.lists(st.integers(1, 64).map(lambda k: k / 8), min_size=1, max_size=24)


def follow(phase, losses):
    """The sides and the loss means, step by step."""

    def step(state, loss):
        below, state = phase.update(loss, state)
        return state, (below, state.loss_mean)

    return jax.device_get(jax.lax.scan(step, phase.init(), jnp.asarray(losses, jnp.float32))[1])


def assert_follows(phase, losses, means):
    below, got = follow(phase, losses)
    np.testing.assert_allclose(got, means, rtol=1e-5)
    clear = np.abs(np.asarray(losses) - means) > 1e-4
    np.testing.assert_array_equal(below[clear], (np.asarray(losses) < means)[clear])


@given(losses=LOSSES, steps=st.integers(1, 7))
def test_epoch_mean(losses, steps):
    starts = [i - i % steps for i in range(len(losses))]
    assert_follows(lcam_optax.epoch_mean(steps), losses, [np.mean(losses[s : i + 1]) for i, s in enumerate(starts)])


@given(losses=LOSSES, decay=st.sampled_from([0.0, 0.5, 0.99]))
def test_ema_is_bias_corrected(losses, decay):
    raw, means = 0.0, []
    for t, loss in enumerate(losses, 1):
        raw = decay * raw + (1 - decay) * loss
        means.append(raw / (1 - decay**t))
    assert_follows(lcam_optax.ema(decay), losses, means)


@given(losses=LOSSES, size=st.integers(1, 9))
def test_window(losses, size):
    assert_follows(
        lcam_optax.window(size), losses, [np.mean(losses[max(0, i + 1 - size) : i + 1]) for i in range(len(losses))]
    )


@pytest.mark.parametrize("phase", [lcam_optax.epoch_mean(3), lcam_optax.ema(0.9), lcam_optax.window(4)])
def test_equal_losses_tie_and_losses_that_are_not_finite_are_left_out(phase):
    below, means = follow(phase, [0.1, np.nan, 0.1, np.inf, 0.1, 0.1, 0.1])
    assert not below[[0, 2, 4, 5, 6]].any()
    np.testing.assert_array_equal(means, np.float32(0.1))


def draws(phase, number):
    def step(state, _):
        below, state = phase.update(jnp.float32(1), state)
        return state, below

    return np.asarray(jax.lax.scan(step, phase.init(), length=number)[1])


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_random_phase_keeps_its_duty_cycle(probability):
    share = draws(lcam_optax.random_phase(probability, 7), 4000).mean()
    assert share == pytest.approx(probability, abs=4 * np.sqrt(probability * (1 - probability) / 4000))


def test_random_phase_follows_a_schedule_and_its_seed_alone():
    phase = lcam_optax.random_phase(lambda step: jnp.where(step < 50, 0.0, 1.0), 3)
    np.testing.assert_array_equal(draws(phase, 100), np.arange(100) >= 50)
    first = draws(lcam_optax.random_phase(0.5, 1), 64)
    np.testing.assert_array_equal(first, draws(lcam_optax.random_phase(0.5, 1), 64))
    assert not np.array_equal(first, draws(lcam_optax.random_phase(0.5, 2), 64))


def test_random_phase_vmaps_over_seeds():
    def draw(seed):
        phase = lcam_optax.random_phase(0.5, seed)
        return jax.lax.scan(lambda s, _: phase.update(jnp.float32(1), s)[::-1], phase.init(), length=64)[1]

    both = np.asarray(jax.vmap(draw)(jnp.arange(2)))
    assert not np.array_equal(both[0], both[1])
    np.testing.assert_array_equal(both[1], draws(lcam_optax.random_phase(0.5, 1), 64))


@pytest.mark.parametrize("seed", [2**31, 2**32 - 1, 2**40 + 5, -1])
def test_any_int_is_a_seed(seed):
    assert int(lcam_optax.random_phase(0.5, seed).init().random_seed) == seed % 2**32


def test_a_window_s_size_may_be_a_whole_float():
    assert lcam_optax.window(3.0).init().recent_losses.shape == (3,)


@pytest.mark.parametrize(
    "phase",
    [lcam_optax.epoch_mean(3), lcam_optax.ema(0.9), lcam_optax.window(3), lcam_optax.random_phase(0.5, 1)],
    ids=["epoch_mean", "ema", "window", "random"],
)
def test_a_state_read_back_as_numpy_goes_on(phase):
    _, state = phase.update(jnp.float32(2), phase.init())
    expected = phase.update(jnp.float32(1), state)
    chex.assert_trees_all_equal(phase.update(jnp.float32(1), jax.device_get(state)), expected)


def test_windows_run_in_double_precision():
    with jax.enable_x64(True):
        below, state = lcam_optax.window(2).update(jnp.float64(1), lcam_optax.window(2).init())
    assert (bool(below), state.loss_mean.dtype) == (False, np.float64)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: lcam_optax.epoch_mean(2**31), "steps_per_epoch"),
        (lambda: lcam_optax.ema(0.99999999), "decay"),
        (lambda: lcam_optax.epoch_mean(0), "steps_per_epoch"),
        (lambda: lcam_optax.epoch_mean(2.5), "steps_per_epoch"),
        (lambda: lcam_optax.epoch_mean(float("inf")), "steps_per_epoch"),
        (lambda: lcam_optax.window(0), "size"),
        (lambda: lcam_optax.window(float("nan")), "size"),
        (lambda: lcam_optax.ema(1.0), "decay"),
        (lambda: lcam_optax.random_phase(1.5, 0), "probability"),
    ],
)
def test_bad_numbers_are_named(make, name):
    with pytest.raises(ValueError, match=name):
        make()
