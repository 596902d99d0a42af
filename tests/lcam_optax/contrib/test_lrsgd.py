"""`lrsgd` against the authors' loop in NumPy."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lcam_optax import contrib
from tests.lcam_optax.contrib.descent import assert_jit_changes_nothing_and_compiles_once, run


def twin(w, gradients, lengths, *, rates, lambda_w, momentum, weight_decay, decays):
    """The authors' inner loops, one of each given length; `decays` is their variant C."""
    buf, path, batches = np.zeros_like(w), [], iter(zip(gradients, rates, strict=True))
    for length in lengths:
        anchor = w
        for i, (g, rate) in zip(range(length), batches, strict=False):
            lam = lambda_w / rate
            d = g + 2 * lam * (w - anchor) + weight_decay * w
            buf = momentum * buf + d
            w = w - rate / (i + 1 if decays else 1) * buf
            path.append(w)
    return np.stack(path)


def test_the_reference_vector():
    tx = contrib.lrsgd(0.1, 0.01, weight_decay=0.0)
    params, path = jnp.array([1.0, -2.0]), []
    state = tx.init(params)
    for _ in range(3):
        updates, state = tx.update(params, state, params)
        params = optax.apply_updates(params, updates)
        path.append(params)
    np.testing.assert_allclose(path, [(0.9, -1.8), (0.811, -1.622), (0.73182667, -1.46365333)], rtol=1e-6)


def drop(step):
    return jnp.where(step < 8, 0.1, 0.01)


@partial(jax.jit, static_argnames="variant")
def run_lrsgd(params, gradients, **settings):
    return run(contrib.lrsgd(drop, inner_steps=4, **settings), params, gradients)


@pytest.mark.parametrize("variant", ["C", "R"])
@given(
    seed=st.integers(0, 2**32 - 1),
    lambda_w=st.sampled_from([0.0, 0.01, 0.1]),
    momentum=st.sampled_from([0.0, 0.9]),
    weight_decay=st.sampled_from([0.0, 0.01]),
)
def test_equals_the_twin(variant, seed, **numbers):
    rng = np.random.default_rng(seed)
    params = {"w": rng.normal(size=(2, 3)), "b": rng.normal(size=())}
    gradients = {"w": rng.normal(size=(30, 2, 3)), "b": rng.normal(size=(30,))}
    with jax.enable_x64(True):
        path, states = jax.device_get(run_lrsgd(params, gradients, variant=variant, seed=seed, **numbers))
    starts = np.concatenate([[True], optax.tree.get(states, "inner_step")[:-1] == 0])
    lengths = optax.tree.get(states, "inner_length")[starts]
    assert (lengths == 4).all() or variant == "R"
    rates = np.where(np.arange(30) < 8, 0.1, 0.01)
    for name in params:
        expected = twin(params[name], gradients[name], lengths, rates=rates, decays=variant == "C", **numbers)
        np.testing.assert_allclose(path[name], expected, rtol=1e-6, atol=1e-6)


def test_the_pull_outlives_a_drop_of_the_rate():
    tx = contrib.lrsgd(drop, 0.01, variant="R", inner_steps=1e9, momentum=0.0, weight_decay=0.0, seed=1)
    state, w = tx.init(jnp.ones(1)), jnp.ones(1)
    for step in range(12):
        updates, state = tx.update(jnp.zeros(1), state, w)
        if step > 0:
            np.testing.assert_allclose(updates, -2 * 0.01, rtol=1e-4)
        w = 2.0 * jnp.ones(1)  # one off the anchor


def test_drawn_lengths_are_geometric_and_follow_the_seed():
    def lengths(seed):
        tx = contrib.lrsgd(0.1, variant="R", inner_steps=4, seed=seed)
        _, states = run(tx, jnp.ones(1), jnp.zeros((4000, 1)))
        return optax.tree.get(states, "inner_length"), optax.tree.get(states, "inner_step")

    all_lengths, inner_steps = jax.vmap(lengths)(jnp.array([0, 1, 0]))
    np.testing.assert_array_equal(all_lengths[0], all_lengths[2])
    assert (all_lengths[0] != all_lengths[1]).any()
    ends = all_lengths[0][inner_steps[0] == 0]
    assert ends.min() == 1
    # Mean 4, standard deviation sqrt(12) over about 1000 draws.
    assert ends.mean() == pytest.approx(4, abs=0.5)
    assert (ends == 1).mean() == pytest.approx(0.25, abs=0.06)


@pytest.mark.parametrize("variant", ["C", "R"])
def test_converges(variant):
    tx = contrib.lrsgd(0.05, 0.005, variant=variant, weight_decay=0.0)
    target = jnp.array([3.0, -2.0])

    def step(carry, _):
        params, state = carry
        updates, state = tx.update(params - target, state, params)
        return (optax.apply_updates(params, updates), state), None

    (params, _), _ = jax.lax.scan(step, (jnp.zeros(2), tx.init(jnp.zeros(2))), length=2000)
    np.testing.assert_allclose(params, target, rtol=1e-3)


def test_a_rate_of_zero_is_finite():
    tx = contrib.lrsgd(optax.linear_schedule(0.0, 0.1, 5))
    path, states = run(tx, jnp.ones(2), jnp.ones((10, 2)))
    np.testing.assert_array_equal(path[0], 1)
    assert jnp.isfinite(path).all()
    assert jnp.isfinite(optax.tree.get(states, "trace")).all()


@pytest.mark.parametrize("variant", ["C", "R"])
def test_jit_equals_no_jit_and_compiles_once(variant):
    tx = contrib.lrsgd(drop, variant=variant, weight_decay=0.0)
    params = {"w": jnp.ones((2, 2)), "b": jnp.ones((), jnp.bfloat16)}
    assert_jit_changes_nothing_and_compiles_once(tx, params, steps=3, rtol=1e-2)


@pytest.mark.parametrize("variant", ["C", "R"])
def test_inject_hyperparams(variant):
    gradients = jax.random.normal(jax.random.key(0), (12, 3))
    injected = optax.inject_hyperparams(contrib.lrsgd)(0.1, variant=variant, inner_steps=3, seed=5)
    path, states = run(injected, jnp.ones(3), gradients)
    expected, _ = run(contrib.lrsgd(0.1, variant=variant, inner_steps=3, seed=5), jnp.ones(3), gradients)
    np.testing.assert_allclose(path, expected, rtol=1e-6)
    assert set(states.hyperparams) >= {"learning_rate", "lambda_w", "momentum", "inner_steps"}


def test_vmapped_over_rates_equals_separate():
    gradients = jax.random.normal(jax.random.key(0), (12, 3))
    rates = jnp.array([0.01, 0.1])

    def final(rate):
        return run(contrib.lrsgd(rate), jnp.ones(3), gradients)[0][-1]

    np.testing.assert_allclose(jax.vmap(final)(rates), jnp.stack([final(r) for r in rates]), rtol=1e-6)


def test_dtypes_are_kept_and_the_state_is_nobodys_buffer():
    tx = contrib.lrsgd(0.1, weight_decay=0.0)
    params = {"a": jnp.ones(2, jnp.bfloat16), "b": jnp.ones(2)}
    before = tx.init(params)
    updates, state = tx.update(params, before, params)
    chex.assert_trees_all_equal_dtypes(updates, params)
    chex.assert_trees_all_equal_shapes_and_dtypes(state, before)
    jax.jit(tx.update, donate_argnums=(1, 2))(updates, before, params)  # fails on a buffer that is in both


def test_none_and_masked_places_are_left_alone():
    tx = contrib.lrsgd(0.1, weight_decay=0.0)
    params = {"a": jnp.ones(2), "b": None}
    updates, _ = tx.update(params, tx.init(params), params)
    assert updates["b"] is None
    masked = optax.masked(tx, {"a": True, "b": False})
    params = {"a": jnp.ones(2), "b": jnp.ones(2)}
    updates, _ = masked.update(params, masked.init(params), params)
    np.testing.assert_allclose(updates["a"], -0.1, rtol=1e-6)
    np.testing.assert_array_equal(updates["b"], 1)


def test_weight_decay_mask():
    tx = contrib.lrsgd(0.1, weight_decay=0.5, weight_decay_mask={"a": True, "b": False})
    params = {"a": jnp.ones(2), "b": jnp.ones(2)}
    updates, _ = tx.update(optax.tree.zeros_like(params), tx.init(params), params)
    np.testing.assert_allclose(updates["a"], -0.05, rtol=1e-6)
    np.testing.assert_array_equal(updates["b"], 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"variant": "X"}, 'variant must be "C"'),
        ({"inner_steps": 0}, "inner_steps must be at least 1, got 0"),
        ({"inner_steps": float("nan")}, "inner_steps must be at least 1, got nan"),
        ({"inner_steps": 2.5}, "inner_steps must be a whole number"),
        ({"momentum": 1.0}, r"momentum must be in \[0, 1\), got 1.0"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ValueError, match=message):
        contrib.lrsgd(0.1, **settings)


def test_missing_params():
    tx = contrib.lrsgd(0.1, weight_decay=0.0)
    with pytest.raises(ValueError, match="current value of parameters"):
        tx.update(jnp.ones(1), tx.init(jnp.ones(1)))


def test_a_gradient_that_comes_later_finds_an_anchor():
    tx = contrib.lrsgd(0.1, weight_decay=0)
    params = {"a": jnp.float32(10.0), "b": jnp.float32(10.0)}
    state = tx.init(params)
    updates, state = tx.update({"a": jnp.float32(0.0), "b": None}, state, params)
    assert updates["b"] is None
    updates, state = tx.update({"a": jnp.float32(0.0), "b": jnp.float32(0.0)}, state, params)
    assert updates == {"a": 0.0, "b": 0.0}


def test_the_length_of_a_loop_may_be_injected_outside_jit():
    tx = optax.inject_hyperparams(contrib.lrsgd, static_args="variant")(
        learning_rate=0.1, weight_decay=0.0, inner_steps=optax.linear_schedule(2, 5, 10), variant="C"
    )
    params = jnp.ones(2)
    state = tx.init(params)
    for _ in range(3):
        updates, state = tx.update(params, state, params)
    assert np.isfinite(updates).all()
