"""`salp_swarm_sgd` against its equations for single salps, and its guarantees for every step."""

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
from lcam_optax.contrib._salp_swarm import _keys, _salp_step
from tests.lcam_optax.contrib.descent import assert_jit_changes_nothing_and_compiles_once, run

SETTINGS = {"iterations": 20, "radius": 0.8, "population": 7}
START = jnp.array([3.0, -2.0])  # about a local minimum of Rastrigin's function, of 12.9


def rastrigin(w, lib=jnp):
    return lib.sum(w**2 - 10 * lib.cos(2 * np.pi * w) + 10)


def sphere(w):
    return jnp.sum(w**2)


@partial(jax.jit, static_argnums=(0, 1, 3))
def descend(tx, value_fn, params, steps):
    """Returns the parameters and the whole state after each step."""

    def step(carry, _):
        params, state = carry
        value, grads = jax.value_and_grad(value_fn)(params)
        updates, state = tx.update(grads, state, params, value=value, value_fn=value_fn)
        params = optax.apply_updates(params, updates)
        return (params, state), (params, state)

    return jax.lax.scan(step, (params, tx.init(params)), length=steps)[1]


def with_value_fn(tx, value_fn):
    """The same transformation for those who pass no `value_fn`."""
    return optax.GradientTransformation(tx.init, partial(tx.update, value_fn=value_fn))


def move_chain(salps, food, c1, radius, c2, c3):
    """Equations 3.1 and 3.4 for each salp in turn, then the clip; [N, d], [d], [leaders, d]."""
    salps, leaders = salps.copy(), len(c2)
    for i in range(len(salps)):
        for j in range(len(food)):
            lb, ub = -radius, radius
            move = c1 * ((ub - lb) * c2[min(i, leaders - 1), j] + lb)
            if i >= leaders:
                salps[i, j] = (salps[i, j] + salps[i - 1, j]) / 2
            elif c3[i, j] < 0.5:
                salps[i, j] = food[j] + move
            else:
                salps[i, j] = food[j] - move
    return np.clip(salps, food - radius, food + radius)


def twin(w, salps, draws, *, rates, momentum, iterations, radius):
    """The whole update on Rastrigin's function; `draws` gives c2 and c3 of each iteration."""
    buf, path = np.zeros_like(w), []
    for iteration, ((c2, c3), rate) in enumerate(zip(draws, rates, strict=True), start=1):
        buf = momentum * buf + 2 * w + 20 * np.pi * np.sin(2 * np.pi * w)
        w = w - rate * buf
        salps = move_chain(salps, w, 2 * np.exp(-((4 * iteration / iterations) ** 2)), radius, c2, c3)
        losses = [rastrigin(salp, np) for salp in salps]
        if min(losses) < rastrigin(w, np):
            w = salps[np.argmin(losses)]
        path.append(w)
    return np.stack(path), salps


def drop(step):
    return jnp.where(step < 8, 1e-3, 1e-4)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize(("population", "leaders"), [(1, 1), (6, 3), (7, 4)])
def test_equals_the_twin(population, leaders, momentum):
    numbers = {"iterations": 20, "radius": 1.3, "momentum": momentum}
    with jax.enable_x64(True):
        tx = contrib.salp_swarm_sgd(drop, population=population, seed=population, **numbers)
        start = START.astype(float)
        path, states = jax.device_get(descend(tx, rastrigin, start, 15))
        keys = [_keys(jnp.uint32(population), jnp.int32(step), start) for step in range(1, 16)]
        draws = jax.device_get([jax.random.uniform(key, (2, leaders, 2)) for key in keys])
        salps = np.asarray(tx.init(start).population)
    rates = np.where(np.arange(15) < 8, 1e-3, 1e-4)
    expected, salps = twin(np.asarray(start), salps, draws, rates=rates, **numbers)
    np.testing.assert_allclose(path, expected, rtol=1e-9)
    np.testing.assert_allclose(states.population[-1], salps, rtol=1e-9)


def test_each_leaf_draws_its_own_numbers():
    tx = contrib.salp_swarm_sgd(0.0, **SETTINGS)
    state = tx.init((START, START))
    step = jax.jit(partial(tx.update, value_fn=lambda tree: sphere(tree[0])))
    _, after = step((START, START), state, (START, START))
    for first, second in (state.population, after.population):
        assert (first != second).any()


@pytest.mark.parametrize("population", [1, 4, 5])
@given(seed=st.integers(0, 2**32 - 1), reach=st.floats(0, 2, width=32), radius=st.sampled_from([0.0, 0.5, 3.0]))
def test_the_chain_moves_by_the_equations(population, seed, reach, radius):
    rng = np.random.default_rng(seed)
    salps, food = rng.normal(size=(population, 2)), rng.normal(size=2)
    c2, c3 = rng.uniform(size=(2, (population + 1) // 2, 2))
    arguments = salps, food, reach, radius, c2, c3
    got = jax.jit(_salp_step)(*(jnp.asarray(x, jnp.float32) for x in arguments))
    np.testing.assert_allclose(got, move_chain(*arguments), rtol=1e-5, atol=1e-5)


def test_leaves_a_local_minimum_that_holds_sgd():
    @jax.jit
    @jax.vmap
    def final(seed):
        tx = contrib.salp_swarm_sgd(1e-3, iterations=100, radius=2.5, momentum=0.0, seed=seed)
        return descend(tx, rastrigin, START, 200)[0][-1]

    alone = descend(optax.with_extra_args_support(optax.sgd(1e-3)), rastrigin, START, 200)[0][-1]
    np.testing.assert_allclose(alone, START, atol=0.02)
    losses = [rastrigin(w) for w in final(jnp.arange(8))]
    assert max(losses) < 2  # not all find the global minimum
    assert min(losses) < 1e-3


def test_finds_the_minimum_of_the_sphere_before_sgd_does():
    tx = contrib.salp_swarm_sgd(0.01, iterations=60, radius=0.5, population=20, momentum=0.0)
    alone = descend(optax.with_extra_args_support(optax.sgd(0.01)), sphere, START, 60)[0][-1]
    assert sphere(descend(tx, sphere, START, 60)[0][-1]) < 0.01 * sphere(alone)


@given(
    seed=st.integers(0, 2**32 - 1),
    radius=st.sampled_from([0.01, 0.3, 2.0]),
    learning_rate=st.sampled_from([0.0, 0.01, 1.0]),
)
def test_is_never_worse_than_sgd_on_its_batch(seed, radius, learning_rate):
    gaps, salp_won = gaps_to_sgd(np.uint32(seed), radius, learning_rate)
    # What is left is the rounding of a loss that was evaluated among others.
    assert (gaps <= 1e-5).all()
    assert (gaps[salp_won] < 0).any() or not salp_won.any()


@jax.jit
def gaps_to_sgd(seed, radius, learning_rate):
    """Loss after our step minus the loss after that of SGD, from the same place, over batches of their own."""
    tx = contrib.salp_swarm_sgd(learning_rate, iterations=10, radius=radius, population=6, seed=seed)
    plain = optax.sgd(learning_rate, momentum=0.9)

    def step(carry, batch):
        params, state, plain_state = carry

        def value_fn(w):
            return jnp.mean(jnp.sin(3 * batch @ w) + (batch @ w - 1) ** 2 / 5)

        grads = jax.grad(value_fn)(params)
        updates, state = tx.update(grads, state, params, value_fn=value_fn)
        plain_updates, plain_state = plain.update(grads, plain_state)
        gap = value_fn(params + updates) - value_fn(params + plain_updates)
        # Far apart, so that rounding of the same step does not pass for a salp's.
        salp_won = jnp.abs(updates - plain_updates).max() > 1e-3
        return (params + updates, state, plain_state), (gap, salp_won)

    batches = jax.random.normal(jax.random.key(seed), (12, 8, 3))
    return jax.lax.scan(step, (jnp.ones(3), tx.init(jnp.ones(3)), plain.init(jnp.ones(3))), batches)[1]


def test_an_equal_loss_leaves_the_step_to_sgd_and_weight_decay_reaches_it():
    gradients = jax.random.normal(jax.random.key(0), (10, 3))
    ours = optax.chain(optax.add_decayed_weights(0.1), contrib.salp_swarm_sgd(drop, **SETTINGS))
    path, _ = run(with_value_fn(ours, lambda w: 0.0 * w.sum()), jnp.ones(3), gradients)
    expected, _ = run(optax.chain(optax.add_decayed_weights(0.1), optax.sgd(drop, 0.9)), jnp.ones(3), gradients)
    np.testing.assert_allclose(path, expected, rtol=1e-6)


def test_the_chain_stays_in_its_box_and_gathers_at_the_food():
    tx = with_value_fn(contrib.salp_swarm_sgd(0.0, **SETTINGS), lambda w: 0.0 * w.sum())
    _, states = run(tx, jnp.ones(4), jnp.zeros((60, 4)))
    away = jnp.abs(jnp.asarray(states.population) - 1).max(axis=(1, 2))
    assert away[0] == pytest.approx(0.8, rel=1e-6)
    assert (away < 0.8 + 1e-6).all()
    assert away[-1] < 1e-5


def test_a_loss_that_is_not_a_number_never_wins():
    tx = contrib.salp_swarm_sgd(0.1, **SETTINGS)
    start = jnp.array([0.5])
    state = tx.init(start)

    def step_to(value_fn):
        updates, _ = tx.update(jnp.zeros(1), state, start, value_fn=value_fn)
        return float((start + updates)[0])

    assert 0 < step_to(lambda w: jnp.log(w).sum()) < 0.5  # some salps are below zero
    assert abs(step_to(lambda w: jnp.where(w == start, jnp.nan, w**2).sum())) < 0.5
    assert step_to(lambda w: jnp.nan * w.sum()) == 0.5


def test_a_resumed_run_repeats_bit_for_bit():
    def steps(tx, params, state, number):
        @jax.jit
        def step(params, state):
            updates, state = tx.update(jax.grad(sphere)(params), state, params, value_fn=sphere)
            return optax.apply_updates(params, updates), state

        for _ in range(number):
            params, state = step(params, state)
        return jax.device_get((params, state))

    def make(seed):
        return contrib.salp_swarm_sgd(1e-3, seed=seed, **SETTINGS)

    whole = steps(make(5), START, make(5).init(START), 8)
    saved = steps(make(5), START, make(5).init(START), 3)
    chex.assert_trees_all_equal(steps(make(5), *saved, 5), whole)
    other = steps(make(6), START, make(6).init(START), 8)
    assert (other[0] != whole[0]).all()


def test_vmapped_over_seeds_equals_separate():
    @jax.jit
    def final(seed):
        tx = contrib.salp_swarm_sgd(1e-3, seed=seed, **SETTINGS)
        return descend(tx, sphere, START, 10)[0][-1]

    separate = jnp.stack([final(seed) for seed in jnp.arange(3)])
    np.testing.assert_allclose(jax.vmap(final)(jnp.arange(3)), separate, rtol=1e-5)
    assert len(np.unique(separate)) == 6


def test_jit_equals_no_jit_and_compiles_once():
    tx = with_value_fn(contrib.salp_swarm_sgd(drop, **SETTINGS), lambda p: p["b"].astype(float) ** 2 + sphere(p["w"]))
    params = {"w": jnp.ones((2, 2)), "b": jnp.ones((), jnp.bfloat16)}
    assert_jit_changes_nothing_and_compiles_once(tx, params, steps=3, rtol=1e-2)


def test_no_rank_is_promoted_in_passing():
    with jax.numpy_rank_promotion("raise"):
        descend(contrib.salp_swarm_sgd(1e-3, seed=0, **SETTINGS), sphere, START, 2)


def test_the_loss_is_asked_for_once():
    calls = []

    def value_fn(params):
        calls.append(params.shape)
        return sphere(params)

    tx = contrib.salp_swarm_sgd(0.1, **SETTINGS)
    tx.update(jnp.ones(2), tx.init(jnp.ones(2)), jnp.ones(2), value_fn=value_fn)
    assert calls == [(2,)]


def test_the_state_is_one_copy_for_each_salp_and_one_more():
    state = contrib.salp_swarm_sgd(0.1, **SETTINGS).init({"w": jnp.ones((2, 3)), "b": jnp.ones(())})
    chex.assert_tree_shape_prefix(state.population, (7,))
    assert sum(leaf.size for leaf in jax.tree.leaves(state)) == (7 + 1) * 7 + 2


def test_dtypes_and_none_are_kept_and_the_state_is_nobodys_buffer():
    tx = with_value_fn(contrib.salp_swarm_sgd(0.1, **SETTINGS), lambda p: sphere(p["b"]))
    params = {"a": jnp.ones(2, jnp.bfloat16), "b": jnp.ones(2), "c": None}
    before = tx.init(params)
    updates, state = jax.jit(tx.update)(params, before, params)
    chex.assert_trees_all_equal_dtypes(updates, params)
    assert updates["c"] is None
    chex.assert_trees_all_equal_shapes_and_dtypes(state, before)
    assert not any(leaf.weak_type for leaf in jax.tree.leaves((before, state)))
    jax.jit(tx.update, donate_argnums=(1, 2))(updates, before, params)  # fails on a buffer that is in both


def test_bfloat16_descends():
    tx = contrib.salp_swarm_sgd(0.01, iterations=40, radius=0.5, population=10)
    path, _ = descend(tx, sphere, START.astype(jnp.bfloat16), 40)
    assert sphere(path[-1]) < 0.01


def test_inject_hyperparams():
    make = optax.inject_hyperparams(contrib.salp_swarm_sgd, static_args=("population",))
    injected = make(1e-3, seed=5, **SETTINGS)
    path, states = descend(injected, sphere, START, 8)
    expected, _ = descend(contrib.salp_swarm_sgd(1e-3, seed=5, **SETTINGS), sphere, START, 8)
    np.testing.assert_allclose(path, expected, rtol=1e-5)
    assert set(states.hyperparams) >= {"learning_rate", "iterations", "radius", "momentum"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"iterations": 0}, "iterations must be positive, got 0"),
        ({"radius": -0.1}, "radius must not be negative, got -0.1"),
        ({"population": 0}, "population must be a Python int of at least 1, for it is a shape, got 0"),
        ({"population": jnp.array(3)}, r"got Array\(3.*static_args="),
        ({"momentum": 1.0}, r"momentum must be in \[0, 1\), got 1.0"),
    ],
)
def test_settings_out_of_range(changes, message):
    with pytest.raises(ValueError, match=message):
        contrib.salp_swarm_sgd(0.1, **SETTINGS | changes)


def test_missing_value_fn():
    tx = contrib.salp_swarm_sgd(0.1, **SETTINGS)
    with pytest.raises(TypeError, match="was given no value_fn: call"):
        tx.update(jnp.ones(1), tx.init(jnp.ones(1)), jnp.ones(1), value=1.0)


def test_missing_params():
    tx = contrib.salp_swarm_sgd(0.1, **SETTINGS)
    with pytest.raises(ValueError, match="moves the parameters and was given none"):
        tx.update(jnp.ones(1), tx.init(jnp.ones(1)), value_fn=sphere)


@pytest.mark.parametrize(("value_fn", "got"), [(lambda w: w, r"\(2,\)"), (lambda w: (w.sum(), w), r"\(\(\), \(2,\)\)")])
def test_a_loss_that_is_no_scalar(value_fn, got):
    tx = contrib.salp_swarm_sgd(0.1, **SETTINGS)
    with pytest.raises(ValueError, match=rf"must return the loss alone, a scalar of shape \(\), got {got}\."):
        tx.update(jnp.ones(2), tx.init(jnp.ones(2)), jnp.ones(2), value_fn=value_fn)
