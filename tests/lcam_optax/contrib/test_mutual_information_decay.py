"""`mutual_information_decay` against its rule in NumPy, layer by layer, and in a small training run."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lcam_optax import contrib


def make(low=0.01, high=0.1, steps_per_epoch=1, threshold=0.05, **settings):
    return contrib.mutual_information_decay(low, high, steps_per_epoch=steps_per_epoch, threshold=threshold, **settings)


def twin(information, *, low, high, start, steps_per_epoch, threshold):
    """The rate that each update uses."""
    rate, last, used = start, None, []
    for step, now in enumerate(information):
        used.append(rate)
        if (step + 1) % steps_per_epoch or not np.isfinite(now):
            continue
        if last is not None and not now - last > threshold * last:
            rate = min(rate, low + (high - low) * (1 - now))
        last = now
    return np.array(used)


def rates_of(tx, information):
    """The rate that each update uses, seen in the update of a gradient of one."""

    def step(state, told):
        updates, state = tx.update(jnp.ones(()), state, information=told)
        return state, -updates

    return jax.lax.scan(step, tx.init(jnp.ones(())), jnp.asarray(information, jnp.float32))[1]


SHARE = st.sampled_from([np.nan, *np.arange(0, 33) / 32])


@jax.jit
def traced_rates_of(information, **settings):
    return rates_of(make(**settings), information)


@given(
    information=st.lists(SHARE, min_size=20, max_size=20),
    steps_per_epoch=st.integers(1, 3),
    threshold=st.sampled_from([0.0, 0.06, 0.3]),
    start=st.sampled_from([0.01, 0.05, 0.1]),
)
def test_equals_the_twin(information, steps_per_epoch, threshold, start):
    rule = {"low": 0.01, "high": 0.1, "steps_per_epoch": steps_per_epoch, "threshold": threshold}
    ours = traced_rates_of(np.float32(information), initial_learning_rate=start, **rule)
    np.testing.assert_allclose(ours, twin(information, start=start, **rule), rtol=1e-5)


def test_holds_while_the_information_grows_and_then_falls_with_it():
    used = rates_of(make(), [0.2, 0.4, 0.8, 0.8, 0.5, 0.9, 0.91, 0.91])
    np.testing.assert_allclose(used, [0.1, 0.1, 0.1, 0.1, 0.028, 0.028, 0.028, 0.0181], rtol=1e-5)


def test_looks_only_at_the_last_update_of_an_epoch():
    used = rates_of(make(steps_per_epoch=2), [0.9, 0.5, 0.1, 0.5, 0.7, 0.7])
    np.testing.assert_allclose(used, [0.1, 0.1, 0.1, 0.1, 0.055, 0.055], rtol=1e-5)


def test_per_layer_each_has_its_own_rate():
    params = {"stem": {"w": jnp.ones(2), "b": jnp.ones(2)}, "head": jnp.ones(3, jnp.bfloat16)}
    one, two = [0.5, 0.5, 0.6], [0.1, 0.9, 0.9]
    for layers in ({"stem": "low", "head": "top"}, lambda tree: {"stem": {"w": "low", "b": "low"}, "head": "top"}):
        tx = make(layers=layers)
        state = tx.init(params)
        for low, top in zip(one, two, strict=True):
            updates, state = tx.update(params, state, params, information={"low": low, "top": top})
        np.testing.assert_allclose(updates["stem"]["w"], -rates_of(make(), one)[-1], rtol=1e-6)
        np.testing.assert_allclose(updates["stem"]["b"], -rates_of(make(), one)[-1], rtol=1e-6)
        np.testing.assert_allclose(np.float32(updates["head"]), -rates_of(make(), two)[-1], rtol=1e-2)
        chex.assert_trees_all_equal_dtypes(updates, params)
        assert set(state.current_rate) == {"low", "top"}


@pytest.mark.parametrize("layers", [None, {"a": "x", "b": "y"}])
def test_jit_equals_no_jit_and_compiles_once_with_a_donated_state(layers):
    tx = make(layers=layers)
    params = {"a": jnp.ones(2), "b": jnp.ones((), jnp.bfloat16)}
    step = jax.jit(tx.update, donate_argnums=1)
    left, right = tx.init(params), tx.init(params)
    for told in (0.5, 0.5, 0.2):
        value = jnp.float32(told) if layers is None else {"x": jnp.float32(told), "y": jnp.float32(0.1)}
        a, left = tx.update(params, left, information=value)
        b, right = step(params, right, information=value)
        chex.assert_trees_all_close((a, left), (b, right), rtol=1e-2)
    assert step._cache_size() == 1


def test_vmapped_over_bounds_equals_separate():
    highs = jnp.array([0.1, 0.3])

    def rates(high):
        return rates_of(make(high=high), [0.5, 0.5, 0.6])

    np.testing.assert_allclose(jax.vmap(rates)(highs), jnp.stack([rates(high) for high in highs]), rtol=1e-6)


def test_inject_hyperparams():
    injected = optax.inject_hyperparams(contrib.mutual_information_decay)(0.01, 0.1, steps_per_epoch=2, threshold=0.05)
    information = [0.5, 0.5, 0.5, 0.5, 0.5]
    expected = rates_of(make(steps_per_epoch=2), information)
    np.testing.assert_allclose(rates_of(injected, information), expected, rtol=1e-6)


def test_none_and_masked_places_are_left_alone():
    params = {"a": jnp.ones(2), "b": None}
    for layers in (None, {"a": "x", "b": None}):
        tx = make(layers=layers)
        value = 0.5 if layers is None else {"x": 0.5}
        updates, _ = tx.update(params, tx.init(params), information=value)
        assert updates["b"] is None
    params = {"a": jnp.ones(2), "b": jnp.ones(2)}
    masked = optax.masked(make(), {"a": True, "b": False})
    updates, _ = masked.update(params, masked.init(params), information=0.5)
    np.testing.assert_array_equal(updates["b"], 1)


def blobs():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 400)
    images = np.eye(4)[labels] * 2 + rng.normal(size=(400, 4))
    return jnp.asarray(images, jnp.float32), jnp.asarray(labels)


def test_trains_a_classifier_with_its_own_information():
    images, labels = blobs()
    tx = make(0.01, 1.0, steps_per_epoch=5, threshold=0.02)

    def step(carry, _):
        weights, state = carry
        table = contrib.contingency_table(labels, (images @ weights).argmax(-1), 4, 4)

        def loss_fn(w):
            return optax.softmax_cross_entropy_with_integer_labels(images @ w, labels).mean()

        updates, state = tx.update(jax.grad(loss_fn)(weights), state, information=contrib.label_information(table))
        return (optax.apply_updates(weights, updates), state), (state.current_rate, state.last_information)

    weights = jnp.zeros((4, 4))
    (weights, _), (rates, information) = jax.lax.scan(step, (weights, tx.init(weights)), length=100)
    assert ((images @ weights).argmax(-1) == labels).mean() > 0.8
    assert (jnp.diff(rates) <= 0).all()
    assert rates[0] == 1
    assert rates[-1] == pytest.approx(0.01 + 0.99 * (1 - float(jnp.nanmax(information))), rel=0.1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"low": 0.0}, "min_learning_rate must be positive, got 0.0"),
        ({"high": 0.001}, "max_learning_rate must be at least min_learning_rate = 0.01, got 0.001"),
        ({"initial_learning_rate": 1.0}, r"initial_learning_rate must be in \[0.01, 0.1\], the bounds, got 1.0"),
        ({"threshold": -0.1}, "threshold must not be negative"),
        ({"steps_per_epoch": 0}, "steps_per_epoch must be a whole number"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ValueError, match=message):
        make(**settings)


@pytest.mark.parametrize(
    ("layers", "value", "error", "message"),
    [
        (None, None, TypeError, "information=label_information"),
        (None, jnp.ones(2), ValueError, r"got an array of shape \(2,\) and dtype float32"),
        (None, 1, ValueError, "one real floating-point number"),
        ({"a": "x"}, 0.5, ValueError, r"a dict with the keys \['x'\], got float"),
        ({"a": "x"}, {"y": 0.5}, ValueError, r"a dict with the keys \['x'\], got \['y'\]"),
    ],
)
def test_values_that_do_not_fit(layers, value, error, message):
    tx = make(layers=layers)
    params = {"a": jnp.ones(1)}
    with pytest.raises(error, match=message):
        tx.update(params, tx.init(params), information=value)
