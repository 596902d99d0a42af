"""Every optimizer on a small problem: it learns, keeps the form of its state, and decays the weights."""

import dataclasses
import functools
from typing import Literal, get_args

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.train import tiny_run
from tests.train.recipe import toy_problem
from train.engine.batches import Images
from train.engine.devices import make_mesh
from train.engine.programs import evaluation_program, slice_program
from train.engine.state import init_state, make_setup
from train.experiments import Experiment
from train.recipe.optimizer_entry import OptimizerEntry
from train.recipe.optimizers import OPTIMIZERS, make_optimizer

STEPS = 40
RATES = {"adam": 0.02, "adamw": 0.02, "lion": 0.005, "muon": 0.02, "polyak": 1.0, "momo": 1.0, "schedule-free": 0.5}


@pytest.fixture(autouse=True)
def standard_promotion():
    """Optax's own Adam and Lookahead mix integers and floats."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def experiment(name, **changes):
    settings = {"learning_rate": RATES.get(name, 0.1), "schedule": "cosine", "epochs": 4, "weight_decay": 1e-4}
    return Experiment(name=f"g/{name}", dataset="digits", optimizer=name, **settings | changes)


def train(arm, params, images, labels, steps=STEPS):
    """Train on the whole set in each step; return the losses before each step, the parameters and the state."""
    tx = make_optimizer(arm, steps // arm.epochs)
    params = OPTIMIZERS[arm.optimizer].initial_params(params)

    def step(carry, _):
        params, state = carry
        own = OPTIMIZERS[arm.optimizer].gradient_params(params)
        value, grads = jax.value_and_grad(toy_problem.loss)(own, images, labels)
        updates, state = tx.update(
            grads,
            state,
            params,
            value=value,
            value_fn=lambda p: toy_problem.loss(p, images, labels),
            grad_fn=lambda p: jax.grad(toy_problem.loss)(p, images, labels),
            labels=labels,
            predictions=toy_problem.logits(own, images).argmax(-1),
        )
        return (optax.apply_updates(params, updates), state), value

    # A scan refuses a state that changes its form.
    (params, state), losses = jax.jit(lambda: jax.lax.scan(step, (params, tx.init(params)), length=steps))()
    return losses, params, state


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_it_learns(name):
    arm = experiment(name)
    losses, params, state = train(arm, toy_problem.params(), *toy_problem.data())
    evaluation_params = OPTIMIZERS[name].evaluation_params(params, state)
    evaluated = toy_problem.loss(evaluation_params, *toy_problem.data())
    assert losses[-1] < 0.8 * losses[0]
    assert evaluated < 0.8 * losses[0]
    chex.assert_tree_all_finite((params, state))
    same = jax.tree.map(np.array_equal, evaluation_params, OPTIMIZERS[name].gradient_params(params))
    assert all(jax.tree.leaves(same)) != OPTIMIZERS[name].recomputes_batch_stats


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_seeds_together_are_the_seeds_alone(name):
    arm = experiment(name)
    images, labels = toy_problem.data()
    several = jax.tree.map(lambda x: jnp.stack([x, 2 * x]), toy_problem.params())
    together = jax.vmap(lambda params: train(arm, params, images, labels, 8)[0])(several)
    for i in range(2):
        alone = train(arm, jax.tree.map(lambda x, i=i: x[i], several), images, labels, 8)[0]
        np.testing.assert_allclose(together[i], alone, rtol=2e-3)


@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name not in ("schedule-free", "lookahead")])
def test_weights_that_the_loss_does_not_see_decay(name):
    """The second input of a dead unit has no gradient: only the decay moves it."""
    arm = experiment(name, weight_decay=0.1, schedule="constant")
    params = toy_problem.params() | {"unseen": jnp.ones(2)}
    end = train(arm, params, *toy_problem.data(), steps=8)[1]
    assert np.all(end["unseen"] < 1)
    still = train(dataclasses.replace(arm, weight_decay=0.0), params, *toy_problem.data(), steps=8)[1]
    if name != "salp-swarm":  # whose salps wander
        np.testing.assert_array_equal(still["unseen"], params["unseen"])


def test_every_optimizer_of_an_experiment_has_its_entry():
    (allowed,) = [field.type for field in dataclasses.fields(Experiment) if field.name == "optimizer"]
    assert set(OPTIMIZERS) == set(get_args(allowed))


@pytest.mark.parametrize("name", ["muon", "mutual-information", "lookahead", "schedule-free", "lrsgd-c", "salp-swarm"])
def test_it_takes_the_network_s_own_tree(name):
    arm = tiny_run.experiment(optimizer=name, phase="none", momentum_above=0.9, nonfinite="skip")
    setup = make_setup(arm, tiny_run.dataset())
    before = jax.eval_shape(functools.partial(init_state, setup, 3), np.uint32(0))
    data = Images(np.zeros((54, 8, 8, 1), np.uint8), np.zeros(54, np.int32))
    after, _ = jax.eval_shape(slice_program(setup, make_mesh(1), 2, 16), before, data)
    chex.assert_trees_all_equal_shapes_and_dtypes(before, after)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Extended(Experiment):
    """An experiment with the name of one more optimizer."""

    optimizer: Literal["sgd", "sign"] = "sign"


def test_an_optimizer_is_a_function_and_an_entry(monkeypatch):
    """It trains twice the parameters, and is evaluated at zero, where the three classes are equally likely."""

    def build(settings):
        return optax.sign_sgd(settings.learning_rate)

    entry = OptimizerEntry(
        build=build,
        initial_params=lambda params: optax.tree.scale(2.0, params),
        gradient_params=lambda params: optax.tree.scale(0.5, params),
        evaluation_params=lambda params, opt_state: optax.tree.zeros_like(params),
    )
    monkeypatch.setitem(OPTIMIZERS, "sign", entry)
    sgd = tiny_run.experiment(phase="none", momentum_above=0.9, learning_rate=0.25)
    data, one = tiny_run.dataset(), make_mesh(1)
    setup = make_setup(Extended(**dataclasses.asdict(sgd) | {"optimizer": "sign"}), data)
    before = jax.jit(functools.partial(init_state, setup, 3))(np.uint32(0))
    images = Images(jnp.asarray(data.train_images), jnp.asarray(data.train_labels))
    after, _ = jax.jit(slice_program(setup, one, 1, 16))(before, images)
    steps = jax.tree.map(lambda new, old: abs(new - old), after.params, before.params)
    for step in jax.tree.leaves(steps):
        np.testing.assert_allclose(step[step != 0], 0.25, rtol=1e-5)
    assert np.mean([np.any(step) for step in jax.tree.leaves(steps)]) > 0.9
    evaluation = jax.jit(evaluation_program(setup, one, 54))(after, images)
    np.testing.assert_allclose(evaluation.loss / 54, np.log(3), rtol=1e-6)
