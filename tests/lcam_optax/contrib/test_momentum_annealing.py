"""The tied schedules: their algebra, their use in Optax's SGD, and the fluctuations that they control."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lcam_optax import contrib
from tests.lcam_optax.contrib.descent import run

STEPS = 60
MOMENTUM = optax.linear_schedule(0.9, 0.0, 40)
ANNEALED = optax.exponential_decay(1.0, 20, 0.5)


@pytest.fixture(autouse=True)
def standard_promotion():
    """Optax itself relies on implicit promotion here."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def values(schedule):
    return np.stack([schedule(step) for step in range(STEPS)])


def test_the_effective_step_is_what_was_asked_for():
    for effective_step, expected in ((2.0, np.full(STEPS, 2.0)), (ANNEALED, values(ANNEALED))):
        rate = contrib.learning_rate_from_momentum(effective_step, MOMENTUM)
        np.testing.assert_allclose(values(rate) / (1 - values(MOMENTUM)), expected, rtol=1e-5)


def test_each_schedule_undoes_the_other():
    rate = contrib.learning_rate_from_momentum(ANNEALED, MOMENTUM)
    momentum = contrib.momentum_from_learning_rate(ANNEALED, rate)
    np.testing.assert_allclose(values(momentum), values(MOMENTUM), atol=1e-6)


def test_a_rate_above_the_effective_step_takes_no_momentum():
    momentum = contrib.momentum_from_learning_rate(optax.linear_schedule(1.0, 0.05, STEPS - 1), 0.1)
    seen = values(momentum)
    assert seen[0] == pytest.approx(0.9)
    assert (np.diff(seen) <= 0).all()
    assert seen[-1] == 0


def heavy_ball(w, gradients, rates, momenta):
    """The paper's recursion (1.2)."""
    before, path = w, []
    for g, rate, momentum in zip(gradients, rates, momenta, strict=True):
        w, before = w - rate * g + momentum * (w - before), w
        path.append(w)
    return np.stack(path)


def trace_form(w, gradients, rates, momenta):
    """Optax's and PyTorch's: the velocity is multiplied by the rate of the step."""
    velocity, path = np.zeros_like(w), []
    for g, rate, momentum in zip(gradients, rates, momenta, strict=True):
        velocity = momentum * velocity + g
        w = w - rate * velocity
        path.append(w)
    return np.stack(path)


@pytest.mark.parametrize("twin", [trace_form, heavy_ball])
@pytest.mark.parametrize("effective_step", [0.5, ANNEALED], ids=["held", "annealed"])
def test_optax_runs_either_recursion_on_them(effective_step, twin):
    rng = np.random.default_rng(0)
    w, gradients = rng.normal(size=3).astype(np.float32), rng.normal(size=(STEPS, 3)).astype(np.float32)
    rate = contrib.learning_rate_from_momentum(effective_step, MOMENTUM)
    if twin is trace_form:
        tx = optax.inject_hyperparams(optax.sgd)(learning_rate=rate, momentum=MOMENTUM)
    else:
        tx = optax.chain(optax.scale_by_learning_rate(rate), optax.inject_hyperparams(optax.trace)(decay=MOMENTUM))
    path, _ = run(tx, jnp.asarray(w), jnp.asarray(gradients))
    np.testing.assert_allclose(path, twin(w, gradients, values(rate), values(MOMENTUM)), rtol=1e-4, atol=1e-5)


def test_the_effective_step_sets_the_fluctuation():
    """Stationary spread about a minimum of curvature 1 under unit noise: half the effective step, for small steps."""

    def spread(tx):
        def step(carry, noise):
            w, state = carry
            updates, state = tx.update(w + noise, state, w)
            return (optax.apply_updates(w, updates), state), None

        w = jnp.zeros(4000)
        noise = jax.random.normal(jax.random.key(0), (600, 4000))
        return jnp.var(jax.lax.scan(step, (w, tx.init(w)), noise)[0][0])

    momentum = optax.linear_schedule(0.9, 0.0, 300)
    held = contrib.learning_rate_from_momentum(0.04, momentum)
    annealed = contrib.momentum_from_learning_rate(optax.linear_schedule(0.04, 0.01, 300), 0.01)
    assert spread(optax.sgd(0.004, momentum=0.9)) == pytest.approx(0.02, rel=0.1)
    assert spread(optax.inject_hyperparams(optax.sgd)(held, momentum=momentum)) == pytest.approx(0.02, rel=0.1)
    assert spread(optax.inject_hyperparams(optax.sgd)(0.01, momentum=annealed)) == pytest.approx(0.005, rel=0.1)


def test_traced_numbers_and_steps():
    def rate(effective_step, momentum, step):
        return contrib.learning_rate_from_momentum(effective_step, momentum)(step)

    together = jax.jit(jax.vmap(rate))(jnp.array([1.0, 2.0]), jnp.array([0.5, 0.75]), jnp.arange(2))
    np.testing.assert_allclose(together, [0.5, 0.5])
    assert together.dtype == jnp.float32


@pytest.mark.parametrize(
    ("factory", "settings", "message"),
    [
        (contrib.learning_rate_from_momentum, (0.0, 0.9), "effective_step must be positive, got 0.0"),
        (contrib.learning_rate_from_momentum, (1.0, 1.0), r"momentum must be in \[0, 1\)"),
        (contrib.momentum_from_learning_rate, (1.0, -0.1), "learning_rate must be positive, got -0.1"),
        (contrib.momentum_from_learning_rate, (float("nan"), 0.1), "effective_step must be positive"),
    ],
)
def test_numbers_out_of_range(factory, settings, message):
    with pytest.raises(ValueError, match=message):
        factory(*settings)
