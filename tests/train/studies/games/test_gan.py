import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from train.studies.games import gan
from train.studies.games.gan import Gan, Outcome

TINY = Gan(
    latent=2,
    width=4,
    batch=8,
    steps=4,
    look_every=2,
    samples=50,
    sgd_rates=(0.1, 0.5),
    adam_rates=(0.01, 0.05),
)


@pytest.fixture(autouse=True)
def standard_promotion():
    """Optax's Adam relies on implicit promotion."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def test_true_samples_find_every_mode():
    modes, quality = gan.score(Gan(), gan.draw(Gan(), jax.random.key(0), 5000))
    assert modes == 8
    assert quality == pytest.approx(1 - math.exp(-4.5), abs=0.005)  # within three standard deviations, in the plane


@pytest.mark.parametrize(("near", "found"), [(1, 0), (2, 1)])
def test_a_mode_needs_its_share_of_the_samples(near, found):
    how = Gan()
    samples = np.full((100, 2), 50.0, np.float32)
    samples[:near] = how.centres[3] + np.float32([0.0, 2.9 * how.deviation])
    samples[60:] = how.centres[5] + np.float32([3.1 * how.deviation, 0.0])
    modes, quality = gan.score(how, jnp.asarray(samples))
    assert modes == found
    assert quality == pytest.approx(near / 100)


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
def test_what_is_not_finite_is_near_nothing(value):
    modes, quality = gan.score(Gan(), jnp.full((10, 2), value, jnp.float32))
    assert (modes, quality) == (0, 0)


def test_losses_are_non_saturating():
    params = gan.init_networks(TINY, jnp.uint32(0))
    real, noise = jnp.ones((3, 2)), jnp.ones((3, 2))
    on_real = np.float64(gan.apply(params["discriminator"], real))
    on_generated = np.float64(gan.apply(params["discriminator"], gan.apply(params["generator"], noise)))
    probability = 1 / (1 + np.exp(-on_generated))
    assert gan.generator_loss(params, real, noise) == pytest.approx(-np.log(probability).mean(), rel=1e-5)
    expected = np.log(1 + np.exp(-on_real)).mean() - np.log(1 - probability).mean()
    assert gan.discriminator_loss(params, real, noise) == pytest.approx(expected, rel=1e-5)


def test_a_step_of_sgd_moves_each_player_down_its_own_loss():
    how = dataclasses.replace(TINY, steps=1, look_every=1, sgd_rates=(0.5,))
    final = gan.run_arm(how, "sgd", "plain", 2).final
    seed = jnp.uint32(1)
    params = gan.init_networks(how, seed)
    real, noise = (batches[1, 0] for batches in gan._batches(how, np.uint32([0, 1]), np.int32(0)))
    gradient = jax.grad(gan.generator_loss)(params, real, noise)["generator"]
    moved = params | {"generator": jax.tree.map(lambda p, g: p - 0.5 * g, params["generator"], gradient)}
    *_, samples = gan._look(how, jax.tree.map(lambda leaf: leaf[None], moved), np.uint32([1]))
    np.testing.assert_allclose(final.samples[1], samples[0], rtol=1e-4, atol=1e-5)


def test_best_rate_is_by_modes_and_then_by_quality():
    modes = np.int32([[0, 3], [0, 4], [9, 3], [9, 4], [0, 1], [0, 0]])  # of the last look: 3.5, 3.5, 0.5 a rate
    quality = np.float32([[1, 0.2], [1, 0.2], [0, 0.3], [0, 0.3], [1, 0.9], [1, 0.9]])
    outcome = Outcome(modes, quality, np.ones(6, bool), np.zeros((6, 1, 2)))
    assert gan.best_rate(outcome, 3) == 1


def test_an_arm_is_tuned_on_other_seeds_than_it_is_run_on():
    tuned = gan.run_arm(TINY, "adam", "optimistic", 4)
    assert tuned.rate == TINY.adam_rates[gan.best_rate(tuned.tuning, 2)]
    assert tuned.tuning.modes.shape == (4, 2)
    assert tuned.final.quality.shape == (4, 2)
    assert tuned.final.finite.all()
    runs = np.concatenate([tuned.tuning.samples, tuned.final.samples])
    assert runs.shape == (8, 50, 2)
    assert len(np.unique(runs, axis=0)) == 8


def test_a_run_does_not_depend_on_those_beside_it():
    how = dataclasses.replace(TINY, sgd_rates=(0.1,))
    two, three = (gan.run_arm(how, "sgd", "plain", seeds).final.samples for seeds in (2, 3))
    np.testing.assert_allclose(two, three[:2], rtol=1e-4, atol=1e-6)


def test_a_run_that_is_not_finite_found_nothing():
    final = gan.run_arm(dataclasses.replace(TINY, sgd_rates=(math.inf,)), "sgd", "plain", 2).final
    assert not final.finite.any()
    assert not final.modes[:, -1].any()
    assert not final.quality[:, -1].any()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["plain", "sga-aligned"])
def test_adam_finds_most_modes(method):
    how = Gan(steps=1000, adam_rates=(0.003,), tuning_seeds=4)
    assert gan.run_arm(how, "adam", method, 4).final.modes[:, -1].mean() > 5
