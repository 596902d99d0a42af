"""`lcam` and `scale_by_lcam` against the oracle, and at their edges."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lcam_optax
from tests.lcam_optax import oracle

PHASE = lcam_optax.epoch_mean(4)
SETTINGS = {"phase": PHASE, "momentum_below": 0.8, "momentum_above": 0.9}
TRACE_LOSSES = (2.0, 1.5, 1.8, 1.7, 1.2, 2.2)


def momenta_of(tx, losses, params=None, delay=True):
    """The momentum that each step uses."""
    params = jnp.ones(2) if params is None else params
    state, used = tx.init(params), []
    for loss in losses:
        before = lcam_optax.read_phase(state).momentum
        _, state = tx.update(params, state, params, value=jnp.float32(loss))
        used.append(float(before if delay else lcam_optax.read_phase(state).momentum))
    return np.float32(used), lcam_optax.read_phase(state)


def test_the_reference_trace():
    used, reading = momenta_of(lcam_optax.scale_by_lcam(lcam_optax.epoch_mean(6), 0.9, 0.95), TRACE_LOSSES)
    np.testing.assert_array_equal(used, np.float32([0.9, 0.95, 0.9, 0.95, 0.9, 0.9]))
    assert reading.momentum == np.float32(0.95)
    assert not reading.below
    assert reading.loss_mean == pytest.approx(np.mean(TRACE_LOSSES))


def test_mean_is_reset_each_epoch_and_momentum_is_not():
    tx = lcam_optax.scale_by_lcam(lcam_optax.epoch_mean(2), 0.8, 0.95)
    used, reading = momenta_of(tx, (5.0, 1.0, 9.0, 9.5, 1.0))
    # 1.0 ends the first epoch below: 0.8 acts on the next one's first step. 9.0 begins it: a tie, so above.
    np.testing.assert_array_equal(used, np.float32([0.9, 0.95, 0.8, 0.95, 0.95]))
    assert reading.loss_mean == 1.0


# Losses on a coarse grid: a mean of up to 8 of them is then a tie or well apart from each of them in float32 too.
LOSS = st.integers(1, 64).map(lambda k: k / 8)


@st.composite
def problems(draw):
    epochs, steps = draw(st.integers(1, 4)), draw(st.integers(1, 8))
    losses = [draw(st.lists(LOSS, min_size=steps, max_size=steps)) for _ in range(epochs)]
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    gradients = rng.normal(size=(epochs, steps, 3))
    return rng.normal(size=3), gradients, losses


def run_ours(w, gradients, losses, dtype, **settings):
    steps = len(losses[0])
    tx = lcam_optax.lcam(
        settings["lr"],
        lcam_optax.epoch_mean(steps),
        settings["below"],
        settings["above"],
        weight_decay=settings["weight_decay"],
        delay=settings["delay"],
        nesterov=settings["nesterov"],
    )

    def step(carry, batch):
        w, state = carry
        g, loss = batch
        updates, after = tx.update(g, state, w, value=loss)
        w = optax.apply_updates(w, updates)
        used = lcam_optax.read_phase(state if settings["delay"] else after).momentum
        return (w, after), (w, used)

    w = jnp.asarray(w, dtype)
    batches = jnp.asarray(gradients, dtype).reshape(-1, 3), jnp.asarray(losses, dtype).ravel()
    return jax.lax.scan(step, (w, tx.init(w)), batches)[1]


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float64, 1e-12), (np.float32, 2e-5)])
@given(problem=problems(), delay=st.booleans(), nesterov=st.booleans(), weight_decay=st.sampled_from([0.0, 5e-4]))
def test_equals_the_oracle(dtype, rtol, problem, delay, nesterov, weight_decay):
    settings = {"lr": 0.1, "below": 0.9, "above": 0.95, "weight_decay": weight_decay}
    settings |= {"delay": delay, "nesterov": nesterov}
    expected, expected_momenta = oracle.run(*problem, dtype=dtype, **settings)
    with jax.enable_x64(dtype is np.float64):
        path, momenta = jax.device_get(run_ours(*problem, dtype, **settings))
    np.testing.assert_array_equal(momenta, expected_momenta)
    np.testing.assert_allclose(path, expected, rtol=rtol, atol=rtol)


@given(loss=st.floats(0.0625, 100, width=32), steps=st.integers(2, 40))
def test_equal_losses_always_tie_so_go_above(loss, steps):
    phase = lcam_optax.epoch_mean(50)
    _, sides = jax.lax.scan(lambda s, x: phase.update(x, s)[::-1], phase.init(), jnp.full(steps, loss))
    assert not sides.any()


@pytest.mark.parametrize("nesterov", [False, True])
def test_equal_momenta_are_optax_sgd_bit_for_bit(nesterov):
    grads = jax.random.normal(jax.random.key(0), (20, 5))
    ours = lcam_optax.lcam(0.1, PHASE, 0.9, 0.9, nesterov=nesterov)
    theirs = optax.with_extra_args_support(optax.sgd(0.1, momentum=0.9, nesterov=nesterov))

    def path(tx):
        def step(carry, batch):
            w, state = carry
            updates, state = tx.update(batch[0], state, w, value=batch[1])
            w = optax.apply_updates(w, updates)
            return (w, state), w

        w = jnp.ones(5)
        return jax.lax.scan(step, (w, tx.init(w)), (grads, jnp.linspace(2, 1, 20)))[1]

    np.testing.assert_array_equal(path(ours), path(theirs))


def test_momenta_may_be_schedules_read_at_the_step_they_act_on():
    below, above = (lambda s: 0.5 + 0.01 * s.astype(float)), (lambda s: 0.7 + 0.01 * s.astype(float))
    tx = lcam_optax.scale_by_lcam(lcam_optax.epoch_mean(9), below, above)
    used, _ = momenta_of(tx, (2.0, 1.0, 3.0, 1.0))
    np.testing.assert_allclose(used, [0.9, 0.71, 0.52, 0.73], rtol=1e-6)
    tx = lcam_optax.scale_by_lcam(lcam_optax.epoch_mean(9), below, above, delay=False)
    used, _ = momenta_of(tx, (2.0, 1.0, 3.0), delay=False)
    np.testing.assert_allclose(used, [0.70, 0.51, 0.72], rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_loss_that_is_not_finite_decides_nothing_but_takes_its_place_in_the_epoch(bad):
    tx = lcam_optax.scale_by_lcam(lcam_optax.epoch_mean(3), 0.8, 0.95)
    used, reading = momenta_of(tx, (4.0, 2.0, bad, 9.0, 1.0))
    np.testing.assert_array_equal(used, np.float32([0.9, 0.95, 0.8, 0.8, 0.95]))
    assert reading.loss_mean == 5.0  # 9 and 1: the epoch began at the fourth step all the same
    used, reading = momenta_of(tx, (4.0, 2.0, 3.0, bad, 1.0))  # at the start of an epoch
    assert reading.loss_mean == 1.0
    assert reading.momentum == np.float32(0.95)


def test_accumulator_dtype_and_output_dtype():
    params = jnp.ones(3, jnp.bfloat16)
    tx = lcam_optax.scale_by_lcam(PHASE, 0.9, 0.95, accumulator_dtype=jnp.float32)
    state = tx.init(params)
    assert state.trace.dtype == jnp.float32
    updates, state = tx.update(params, state, value=jnp.float32(1))
    assert state.trace.dtype == updates.dtype == jnp.float32
    narrow = lcam_optax.scale_by_lcam(PHASE, 0.9, 0.95, accumulator_dtype=jnp.bfloat16)
    updates, state = narrow.update(jnp.ones(3), narrow.init(jnp.ones(3)), value=jnp.float32(1))
    assert (updates.dtype, state.trace.dtype) == (jnp.float32, jnp.bfloat16)


@pytest.mark.parametrize("decay", [jnp.float32(5e-4), lambda step: 5e-4 * jnp.ones(())])
def test_the_trace_keeps_its_dtype_whatever_the_gradients_become(decay):
    tx = lcam_optax.lcam(0.1, PHASE, 0.9, 0.95, weight_decay=decay)
    params = {"narrow": jnp.ones(3, jnp.bfloat16), "wide": jnp.ones(3)}
    state = tx.init(params)
    with jax.numpy_dtype_promotion("standard"):  # asked for by a float32 decay of bfloat16 parameters
        for grads in (params, jax.tree.map(lambda p: p.astype(jnp.float32), params)):
            _, after = tx.update(grads, state, params, value=jnp.float32(1))
            chex.assert_trees_all_equal_shapes_and_dtypes(state, after)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32, jnp.complex64])
def test_scalars_are_float32_whatever_the_parameters_are(dtype):
    tx = lcam_optax.scale_by_lcam(PHASE, 0.9, 0.95)
    params = jnp.ones(3, dtype)
    state = tx.init(params)
    updates, after = tx.update(params, state, value=jnp.asarray(1, jnp.bfloat16))
    assert updates.dtype == after.trace.dtype == dtype
    assert after.momentum.dtype == after.phase_state.loss_mean.dtype == jnp.float32
    chex.assert_trees_all_equal_shapes_and_dtypes(state, after)
    assert not any(leaf.weak_type for leaf in jax.tree.leaves((state, after)))


def test_complex_parameters_follow_the_real_ones():
    tx = lcam_optax.scale_by_lcam(PHASE, 0.9, 0.95)
    z = jnp.asarray([1 + 2j])
    state, parts = tx.init(z), tx.init(jnp.zeros(2))
    for loss in (2.0, 1.0, 3.0):
        update, state = tx.update(z, state, value=loss)
        both, parts = tx.update(jnp.asarray([1.0, 2.0]), parts, value=loss)
    np.testing.assert_allclose([update[0].real, update[0].imag], both, rtol=1e-6)


def test_none_leaves_stay_none():
    tx = lcam_optax.lcam(0.1, PHASE, 0.9, 0.95, weight_decay=0.1)
    params = {"a": jnp.ones(2), "b": None}
    updates, state = tx.update(params, tx.init(params), params, value=1.0)
    assert updates["b"] is None
    np.testing.assert_allclose(updates["a"], -0.11, rtol=1e-6)
    none = {"a": None, "b": None}
    updates, state = lcam_optax.scale_by_lcam(PHASE, 0.9, 0.95).update(none, state[1], value=1.0)
    assert updates == none
    np.testing.assert_allclose(state.trace["a"], 1.1, rtol=1e-6)  # held until there is a gradient again


def test_weight_decay_mask():
    tx = lcam_optax.lcam(1.0, PHASE, 0.9, 0.95, weight_decay=0.5, weight_decay_mask={"w": True, "b": False})
    params = {"w": jnp.ones(1), "b": jnp.ones(1)}
    updates, _ = tx.update(jax.tree.map(jnp.zeros_like, params), tx.init(params), params, value=1.0)
    assert (updates["w"], updates["b"]) == (-0.5, 0.0)


def test_without_weight_decay_params_are_not_needed():
    tx = lcam_optax.lcam(0.1, PHASE, 0.9, 0.95)
    updates, _ = tx.update(jnp.ones(2), tx.init(jnp.ones(2)), value=1.0)
    np.testing.assert_allclose(updates, -0.1, rtol=1e-6)


@pytest.mark.parametrize("value", [jnp.ones(3), jnp.ones(1), jnp.int32(1), jnp.complex64(1)], ids=str)
def test_a_value_that_is_no_real_scalar_is_refused(value):
    tx = lcam_optax.lcam(0.1, PHASE, 0.9, 0.95)
    with pytest.raises(ValueError, match="one real floating-point number"):
        tx.update(jnp.ones(2), tx.init(jnp.ones(2)), value=value)


@pytest.mark.parametrize("settings", [{"momentum_below": 1.0}, {"momentum_above": -0.1}, {"initial_momentum": 2}])
def test_momenta_outside_the_unit_interval_are_refused(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        lcam_optax.scale_by_lcam(PHASE, **({"momentum_below": 0.9, "momentum_above": 0.9} | settings))


def test_the_momentum_in_a_state_may_be_set_to_a_python_number():
    tx = lcam_optax.lcam(0.1, PHASE, 0.9, 0.95)
    state = optax.tree.set(tx.init(jnp.ones(2)), trace=jnp.ones(2), momentum=0.5)
    np.testing.assert_allclose(tx.update(jnp.zeros(2), state, value=1.0)[0], -0.05)


def test_the_state_is_sgd_s_and_a_few_scalars():
    params = jnp.ones(1000)
    extra = sum(x.nbytes for x in jax.tree.leaves(lcam_optax.lcam(0.1, PHASE, 0.9, 0.95).init(params)))
    assert extra - sum(x.nbytes for x in jax.tree.leaves(optax.sgd(0.1, momentum=0.9).init(params))) < 64


def test_injected_hyperparameters_have_the_names_of_the_arguments():
    injected = optax.inject_hyperparams(lcam_optax.lcam)(0.1, PHASE, 0.8, 0.9, weight_decay=0.01)
    names = {"learning_rate", "momentum_below", "momentum_above", "initial_momentum", "weight_decay"}
    assert set(injected.init(jnp.ones(3)).hyperparams) == names


def test_scheduled_momenta_are_static_under_inject_hyperparams():
    settings = dict.fromkeys(("momentum_below", "momentum_above"), lambda step: 0.1 + 0.1 * step.astype(float))
    injected = optax.inject_hyperparams(lcam_optax.scale_by_lcam, static_args=tuple(settings))
    for factory in (injected, lcam_optax.scale_by_lcam):
        tx = factory(lcam_optax.epoch_mean(9), **settings)
        used, reading = momenta_of(tx, (1.0, 1.0, 1.0), jnp.ones(1))
        np.testing.assert_allclose([*used[1:], reading.momentum], [0.2, 0.3, 0.4], rtol=1e-6)


def test_injected_momenta_may_be_changed_by_hand():
    tx = optax.inject_hyperparams(lcam_optax.scale_by_lcam)(lcam_optax.epoch_mean(10), 0.8, 0.9)
    state = tx.init(jnp.ones(1))
    state.hyperparams["momentum_above"] = jnp.float32(0.1)
    _, state = tx.update(jnp.ones(1), state, jnp.ones(1), value=1.0)
    assert lcam_optax.read_phase(state).momentum == np.float32(0.1)


@pytest.mark.parametrize("field", ["learning_rate", "weight_decay"])
def test_schedules_are_accepted(field):
    tx = lcam_optax.lcam(**{"learning_rate": 0.1, field: optax.linear_schedule(0.1, 0.0, 10)}, **SETTINGS)
    updates, _ = tx.update(jnp.ones(2), tx.init(jnp.ones(2)), jnp.ones(2), value=1.0)
    assert jnp.isfinite(updates).all()


def test_a_step_costs_what_sgd_costs_and_scalars():
    """Nothing of the size of the parameters is computed beyond the three operations of SGD with momentum."""
    params = jnp.ones(1000)
    tx = lcam_optax.lcam(0.1, PHASE, 0.8, 0.9)
    program = jax.make_jaxpr(lambda g, s, v: tx.update(g, s, value=v))(params, tx.init(params), jnp.float32(1))
    large = [eqn.primitive.name for eqn in program.eqns if eqn.outvars[0].aval.size == 1000]
    assert sorted(large) == ["add", "mul", "mul"]
    assert "cond" not in str(program)
