"""The optimizers of the arena on a small problem: they learn, keep the form of their state, and decay the weights."""

import dataclasses
import functools
from typing import get_args

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lcam_optax import contrib
from tests.train import tiny_run
from train.engine.batches import Images
from train.engine.devices import make_mesh
from train.engine.programs import slice_program
from train.engine.state import init_state, make_setup
from train.experiments import Experiment
from train.recipe import optimizer
from train.recipe import optimizers as alternatives

STEPS, CLASSES = 40, 3
RATES = {"adam": 0.02, "adamw": 0.02, "lion": 0.005, "muon": 0.02, "polyak": 1.0, "momo": 1.0, "schedule-free": 0.5}
NAMES = ["sgd", *alternatives.BUILDERS]


@pytest.fixture(autouse=True)
def standard_promotion():
    """Optax's own Adam and Lookahead mix integers and floats."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def experiment(name, **changes):
    settings = {"learning_rate": RATES.get(name, 0.1), "schedule": "cosine", "epochs": 4, "weight_decay": 1e-4}
    return Experiment(name=f"g/{name}", dataset="digits", optimizer=name, **settings | changes)


def start():
    """A convolution that covers the whole of an image of 2x2, and a linear layer behind it."""
    kernel = jax.random.normal(jax.random.key(0), (2, 2, 1, 8)) / 2
    linear = {"kernel": jax.random.normal(jax.random.key(1), (8, CLASSES)) / 3, "bias": jnp.zeros(CLASSES)}
    return {"conv": kernel, "linear": linear}


def problem():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, 60).astype(np.int32)
    images = rng.normal(size=(60, 4)).astype(np.float32)
    images[np.arange(60), labels] += 2
    return jnp.asarray(images), jnp.asarray(labels)


def logits(params, images):
    hidden = jax.nn.relu(images @ params["conv"].reshape(4, 8))
    return hidden @ params["linear"]["kernel"] + params["linear"]["bias"]


def loss(params, images, labels):
    return optax.softmax_cross_entropy_with_integer_labels(logits(params, images), labels).mean()


def train(arm, params, images, labels, steps=STEPS):
    """Train on the whole set in each step; the losses before each, and where it ends."""
    tx = optimizer.make_optimizer(arm, steps // arm.epochs)
    params = optimizer.initial_params(arm, params)

    def step(carry, _):
        params, state = carry
        own = optimizer.gradient_params(arm, params)
        value, grads = jax.value_and_grad(loss)(own, images, labels)
        updates, state = tx.update(
            grads,
            state,
            params,
            value=value,
            value_fn=lambda p: loss(p, images, labels),
            grad_fn=lambda p: jax.grad(loss)(p, images, labels),
            labels=labels,
            predictions=logits(own, images).argmax(-1),
        )
        return (optax.apply_updates(params, updates), state), value

    # A scan refuses a state that changes its form.
    (params, state), losses = jax.jit(lambda: jax.lax.scan(step, (params, tx.init(params)), length=steps))()
    return losses, params, state


@pytest.mark.parametrize("name", NAMES)
def test_it_learns(name):
    arm = experiment(name)
    losses, params, state = train(arm, start(), *problem())
    judged = loss(optimizer.evaluation_params(arm, params, state), *problem())
    assert losses[-1] < 0.8 * losses[0]
    assert judged < 0.8 * losses[0]
    chex.assert_tree_all_finite((params, state))


@pytest.mark.parametrize("name", NAMES)
def test_seeds_together_are_the_seeds_alone(name):
    arm = experiment(name)
    images, labels = problem()
    several = jax.tree.map(lambda x: jnp.stack([x, 2 * x]), start())
    together = jax.vmap(lambda params: train(arm, params, images, labels, 8)[0])(several)
    for i in range(2):
        alone = train(arm, jax.tree.map(lambda x, i=i: x[i], several), images, labels, 8)[0]
        np.testing.assert_allclose(together[i], alone, rtol=2e-3)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("schedule-free", "lookahead")])
def test_weights_that_the_loss_does_not_see_decay(name):
    """The second input of a dead unit has no gradient: only the decay moves it."""
    arm = experiment(name, weight_decay=0.1, schedule="constant")
    params = start() | {"unseen": jnp.ones(2)}
    end = train(arm, params, *problem(), steps=8)[1]
    assert np.all(end["unseen"] < 1)
    still = train(dataclasses.replace(arm, weight_decay=0.0), params, *problem(), steps=8)[1]
    if name != "salp-swarm":  # whose salps wander
        np.testing.assert_array_equal(still["unseen"], params["unseen"])


def test_every_name_that_an_experiment_may_have_is_built():
    (allowed,) = [field.type for field in dataclasses.fields(Experiment) if field.name == "optimizer"]
    assert set(NAMES) == set(get_args(allowed))


@pytest.mark.parametrize("name", ["muon", "mutual-information", "lookahead", "schedule-free", "lrsgd-c", "salp-swarm"])
def test_it_takes_the_network_s_own_tree(name):
    arm = tiny_run.experiment(optimizer=name, phase="none", momentum_above=0.9, nonfinite="skip")
    setup = make_setup(arm, tiny_run.dataset())
    before = jax.eval_shape(functools.partial(init_state, setup, 3), np.uint32(0))
    data = Images(np.zeros((54, 8, 8, 1), np.uint8), np.zeros(54, np.int32))
    after, _ = jax.eval_shape(slice_program(setup, make_mesh(1), 2, 16), before, data)
    chex.assert_trees_all_equal_shapes_and_dtypes(before, after)


def settings(**changes):
    given = {
        "rate": optax.constant_schedule(0.1),
        "peak": 0.1,
        "weight_decay": 0.0,
        "decayed": None,
        "momentum": 0.9,
        "steps_per_epoch": 4,
        "total_steps": 40,
        "seed": 0,
    }
    return alternatives.Settings(**given | changes)


def test_slopes_are_left_to_those_that_can_spare_them():
    def decayed(params):
        return {"weight": True, "slope": False}

    params = {"weight": jnp.ones(2), "slope": jnp.ones(2)}
    for build in (alternatives.sgd, *(alternatives.BUILDERS[name] for name in ("adam", "adamw", "lion"))):
        tx = build(settings(weight_decay=0.5, decayed=decayed))
        updates, _ = tx.update(optax.tree.zeros_like(params), tx.init(params), params)
        assert np.all(updates["weight"] < 0)
        assert not np.any(updates["slope"])


def test_sam_descends_with_the_gradient_uphill():
    params = {"w": jnp.asarray([3.0, 4.0])}
    tx = alternatives.BUILDERS["sam"](settings())
    updates, _ = tx.update(params, tx.init(params), params, value=0.0, grad_fn=lambda p: p)  # of |w|^2 / 2
    np.testing.assert_allclose(updates["w"], -0.1 * np.asarray([3.0, 4.0]) * (1 + 0.05 / 5), rtol=1e-6)


def test_polyak_counts_the_penalty_that_its_gradient_has():
    params = {"w": jnp.asarray([3.0, 4.0])}
    tx = alternatives.BUILDERS["polyak"](settings(peak=100.0, weight_decay=0.5))
    updates, _ = tx.update({"w": jnp.zeros(2)}, tx.init(params), params, value=jnp.float32(1.0))
    # The loss 1 + 0.5 / 2 * 25 over the squared norm of 0.5 w.
    np.testing.assert_allclose(updates["w"], -(7.25 / 6.25) * 0.5 * np.asarray([3.0, 4.0]), rtol=1e-5)


def test_extragradient_spends_its_schedule_once_a_step():
    rate = optax.linear_schedule(0.4, 0.0, 4)
    tx = alternatives.BUILDERS["extragradient"](settings(rate=rate, momentum=0.0))
    params = {"w": jnp.ones(1)}
    state = tx.init(params)
    for step in range(4):
        updates, state = tx.update({"w": jnp.ones(1)}, state, params, grad_fn=lambda p: {"w": jnp.ones(1)})
        np.testing.assert_allclose(updates["w"], -rate(step), rtol=1e-6)


def test_annealed_momentum_ends_without_any_and_with_the_same_effective_step():
    tx = alternatives.BUILDERS["annealed-momentum"](settings())
    params = {"w": jnp.ones(1)}
    state = tx.init(params)
    for _ in range(40):
        _, state = tx.update({"w": jnp.ones(1)}, state, params)
    told = optax.tree.get(state, "hyperparams")
    np.testing.assert_allclose(told["momentum"], 0.9 / 40, rtol=1e-4)
    np.testing.assert_allclose(told["learning_rate"] / (1 - told["momentum"]), 1.0, rtol=1e-4)


def test_information_is_that_of_the_epoch_so_far():
    tx = alternatives.BUILDERS["mutual-information"](settings(steps_per_epoch=2))
    params = start()
    state = tx.init(params)
    batches = [([0, 1, 2], [0, 1, 2]), ([0, 1, 2, 2**31 - 1], [0, 1, 1, 0]), ([2], [0])]
    tables = []
    for labels, predictions in batches:
        batch = {"labels": jnp.asarray(labels, jnp.int32), "predictions": jnp.asarray(predictions, jnp.int32)}
        _, state = tx.update(optax.tree.zeros_like(params), state, params, **batch)
        tables.append(np.asarray(state.table))
    np.testing.assert_array_equal(tables[1], [[2, 0, 0], [0, 2, 0], [0, 1, 1]])  # padding is left out
    np.testing.assert_array_equal(tables[2], [[0, 0, 0], [0, 0, 0], [1, 0, 0]])  # the next epoch
    told = optax.tree.get(state, "last_information")
    np.testing.assert_allclose(told, contrib.label_information(tables[1]), rtol=1e-6)


def test_muon_takes_the_convolutions():
    tx = alternatives.BUILDERS["muon"](settings())
    params = start()
    updates, _ = tx.update(params, tx.init(params), params)
    # Orthogonal: of four rows, all singular values are near each other.
    values = np.linalg.svd(np.reshape(updates["conv"], (4, 8)), compute_uv=False)
    assert values.max() / values.min() < 2
    # Adam's first step (with Nesterov momentum, as Optax has it here), alike for all entries.
    steps = abs(np.asarray(updates["linear"]["kernel"]))
    np.testing.assert_allclose(steps, steps.flat[0], rtol=1e-3)
    assert 0.1 < steps.flat[0] < 0.2
