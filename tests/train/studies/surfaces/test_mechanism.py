import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from train.studies.surfaces.mechanism import (
    ARMS,
    CONTROLS,
    SurfaceArm,
    Walk,
    beyond,
    control,
    controls,
    find,
    sgd,
    shares,
    walk,
)
from train.studies.surfaces.surfaces import SURFACES

HOW = Walk(steps=40, steps_per_epoch=8)
SURFACE = SURFACES["ravine-frequent"]
LCAMS = ["lcam-0.95-0.9", "lcam-0.9-0.95"]


@pytest.fixture(scope="module")
def walked():
    return walk(SURFACE, ARMS, 3, HOW)


@pytest.fixture(scope="module")
def many():
    """As many paths as a share needs, of all arms and controls."""
    walked = walk(SURFACE, ARMS, 200, HOW)
    return walked | walk(SURFACE, controls(walked, HOW), 200, HOW)


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


@pytest.mark.parametrize("name", LCAMS)
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


def test_constant_controls_are_sgd_at_the_mean_momentum_of_each_lcam(walked):
    matched = controls(walked, HOW)
    assert list(matched) == [control(kind, name) for name in LCAMS for kind in CONTROLS]
    for name in LCAMS:
        arm = matched[control("constant", name)]
        assert arm == sgd(arm.below)
        assert 0.9 < arm.below < 0.95
        assert arm.below == pytest.approx(find(SURFACE, walked[name]).momentum.mean, rel=1e-9)


@pytest.mark.parametrize("name", LCAMS)
def test_random_controls_have_the_momenta_of_lcam_and_its_shares(walked, name):
    arm = controls(walked, HOW)[control("random", name)]
    assert arm[:3] == ARMS[name][:3]
    by_epoch = walked[name].below.reshape(3, -1, HOW.steps_per_epoch).mean(axis=2)
    np.testing.assert_allclose(arm.chances, np.repeat(by_epoch, HOW.steps_per_epoch, axis=1))


@pytest.mark.parametrize("name", LCAMS)
def test_yoked_controls_replay_the_momenta_of_the_next_seed_step_for_step(many, name):
    yoked, donors = many[control("yoked", name)], np.roll(np.arange(200), -1)
    assert donors[0] == 1
    assert donors[-1] == 0
    np.testing.assert_array_equal(yoked.momentum, many[name].momentum[donors])
    np.testing.assert_array_equal(yoked.below, many[name].below[donors])
    assert not np.array_equal(yoked.points, many[name].points[donors])


@pytest.mark.parametrize("name", LCAMS)
def test_yoked_controls_meet_the_noise_of_their_own_seed(many, name):
    np.testing.assert_array_equal(many[control("yoked", name)].points[:, 1], many["sgd-0.9"].points[:, 1])


def test_chances_of_a_last_epoch_that_is_short_have_a_number_per_step():
    how = Walk(steps=12, steps_per_epoch=8)
    walked = walk(SURFACE, ARMS, 2, how)
    assert {arm.chances.shape for arm in controls(walked, how).values() if arm.chances is not None} == {(2, 12)}


def test_a_last_epoch_that_is_short_has_its_own_share():
    below = np.array([[True, False, False, True, True], [False, True, True, True, False]])
    how = Walk(steps=5, steps_per_epoch=2)
    np.testing.assert_array_equal(shares(below, how), np.array([[0.5, 0.5, 1], [0.5, 1, 0]], np.float32))


@pytest.mark.parametrize("name", LCAMS)
def test_random_controls_are_below_as_often_as_lcam_in_every_epoch(many, name):
    expected, drawn = shares(many[name].below, HOW), shares(many[control("random", name)].below, HOW)
    deviation = np.sqrt((expected * (1 - expected)).sum(axis=0) / HOW.steps_per_epoch) / len(expected)
    assert np.all(np.abs(drawn.mean(axis=0) - expected.mean(axis=0)) < 4 * deviation)


@pytest.mark.parametrize("name", LCAMS)
def test_random_controls_pick_without_regard_for_the_loss(many, name):
    chances = np.repeat(shares(many[name].below, HOW), HOW.steps_per_epoch, axis=1)

    def score(paths):
        """How losses and picks go together, in standard deviations if the picks are drawn with these chances."""
        noisy = np.stack([losses(paths, seed) for seed in range(len(chances))])
        loss = noisy - noisy.mean(axis=0)
        return np.sum((paths.below - chances) * loss) / np.sqrt(np.sum(chances * (1 - chances) * loss**2))

    assert score(many[name]) < -10
    assert abs(score(many[control("random", name)])) < 4


@pytest.mark.parametrize("name", LCAMS)
def test_a_coin_of_its_own_picks_the_next_momentum_of_a_random_control(many, name):
    paths, chances, arm = many[control("random", name)], shares(many[name].below, HOW), ARMS[name]
    for seed in (0, 7):
        key = jax.random.key(np.uint32(2**31 + seed))
        for step in range(HOW.steps - 1):
            drawn = float(jax.random.uniform(jax.random.fold_in(key, step)))
            below = drawn < chances[seed, step // HOW.steps_per_epoch]
            assert paths.below[seed, step] == below
            assert paths.momentum[seed, step + 1] == np.float32(arm.below if below else arm.above)


def test_random_switching_between_equal_momenta_is_sgd(walked):
    chances = np.full((3, HOW.steps), 0.5, np.float32)
    (drawn,) = walk(SURFACE, {"random": sgd(0.95)._replace(chances=chances)}, 3, HOW).values()
    np.testing.assert_array_equal(drawn.points, walked["sgd-0.95"].points)
    assert not np.array_equal(drawn.below, walked["sgd-0.95"].below)


def test_chances_for_other_seeds_are_refused():
    with pytest.raises(ValueError, match="inconsistent sizes"):
        walk(SURFACE, {"random": sgd(0.95)._replace(chances=np.full((2, HOW.steps), 0.5, np.float32))}, 3, HOW)


@pytest.mark.parametrize("kind", CONTROLS)
def test_differences_to_a_control_are_paired(walked, kind):
    found = {name: find(SURFACE, paths) for name, paths in walked.items()}
    assert beyond(kind, found) == {}
    lcam = "lcam-0.95-0.9"
    difference = beyond(kind, found | {control(kind, lcam): found["sgd-0.9"]})[lcam]
    expected = np.subtract(found[lcam].progress.values, found["sgd-0.9"].progress.values)
    assert difference.values == pytest.approx(expected.tolist())


def test_sgd_starts_with_its_own_momentum():
    assert sgd(0.95) == SurfaceArm(below=0.95, above=0.95, initial=0.95)
