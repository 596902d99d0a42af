import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from train.studies.mechanism import ARMS, Arm, Walk, beyond_mean, control, controls, find, sgd, walk
from train.studies.surfaces import SURFACES

HOW = Walk(steps=40, steps_per_epoch=8)
SURFACE = SURFACES["ravine-frequent"]


@pytest.fixture(scope="module")
def walked():
    return walk(SURFACE, ARMS, 3, HOW)


def losses(paths, seed):
    """The noisy losses that one path saw."""
    shifts = HOW.noise * jax.random.normal(jax.random.key(np.uint32(seed)), (HOW.steps, 2), jnp.float32)
    return np.asarray(jax.vmap(SURFACE.loss)(paths.points[seed, :-1] + shifts), np.float64)


def test_equal_momenta_are_sgd(walked):
    tx = optax.sgd(HOW.learning_rate, momentum=0.95)
    point = jnp.asarray(SURFACE.start, jnp.float32)
    state = tx.init(point)
    shifts = HOW.noise * jax.random.normal(jax.random.key(np.uint32(2)), (HOW.steps, 2), jnp.float32)
    for shift in shifts:
        updates, state = tx.update(jax.grad(SURFACE.loss)(point + shift), state)
        point = optax.apply_updates(point, updates)
    np.testing.assert_allclose(walked["sgd-0.95"].points[2, -1], point, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["lcam-0.95-0.9", "lcam-0.9-0.95"])
def test_the_phase_is_that_of_the_losses_and_picks_the_next_momentum(walked, name):
    paths, arm = walked[name], ARMS[name]
    for seed in range(3):
        epochs = losses(paths, seed).reshape(-1, HOW.steps_per_epoch)
        means = np.cumsum(epochs, axis=1) / np.arange(1, HOW.steps_per_epoch + 1)
        np.testing.assert_array_equal(paths.below[seed], (epochs < means - 1e-6).ravel())
        picked = np.where(paths.below[seed], np.float32(arm.below), np.float32(arm.above))
        np.testing.assert_array_equal(paths.momentum[seed], np.append(np.float32(0.9), picked[:-1]))


def test_arms_meet_the_same_noise_and_seeds_do_not(walked):
    first_steps = np.stack([paths.points[:, 1] for paths in walked.values()])
    np.testing.assert_array_equal(first_steps, np.broadcast_to(first_steps[0], first_steps.shape))
    assert len(np.unique(first_steps[0], axis=0)) == 3


def test_found_sums_up_the_paths(walked):
    found = find(SURFACE, walked["lcam-0.9-0.95"])
    paths = walked["lcam-0.9-0.95"]
    assert found.below.mean == pytest.approx(paths.below.mean())
    assert found.momentum.mean == pytest.approx(paths.momentum.mean(), rel=1e-6)
    assert found.progress.values == pytest.approx(SURFACE.progress(paths.points).tolist(), rel=1e-4)
    finals = [float(SURFACE.loss(jnp.asarray(point))) for point in paths.points[:, -1]]
    assert found.final_loss.values == pytest.approx(finals, rel=1e-5)


def test_controls_are_sgd_at_the_mean_momentum_of_each_lcam(walked):
    found = {name: find(SURFACE, paths) for name, paths in walked.items()}
    matched = controls(found)
    assert matched == {control(name): sgd(found[name].momentum.mean) for name in ("lcam-0.95-0.9", "lcam-0.9-0.95")}
    assert all(0.9 < arm.below == arm.above < 0.95 for arm in matched.values())


def test_differences_to_the_control_are_paired(walked):
    found = {name: find(SURFACE, paths) for name, paths in walked.items()}
    assert beyond_mean(found) == {}
    lcam = "lcam-0.95-0.9"
    difference = beyond_mean(found | {control(lcam): found["sgd-0.9"]})[lcam]
    expected = np.subtract(found[lcam].progress.values, found["sgd-0.9"].progress.values)
    assert difference.values == pytest.approx(expected.tolist())


def test_sgd_starts_with_its_own_momentum():
    assert sgd(0.95) == Arm(below=0.95, above=0.95, initial=0.95)
