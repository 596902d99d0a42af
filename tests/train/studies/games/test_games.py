import jax
import numpy as np
import pytest

from train.studies.games.games import ARMS, GAMES, NEAR, Found, Sweep, path, sweep

UPPER = np.triu(np.ones((4, 4)), 1)
JACOBIANS = {
    "bilinear": np.array([[0.0, 1.0], [-1.0, 0.0]]),
    "weak-attractor": np.array([[1.0, 10.0], [-10.0, 1.0]]),
    "four-players": 0.01 * np.eye(4) + UPPER - UPPER.T,
    "unstable": np.array([[-0.5, -1.0], [1.0, -0.5]]),
}
HOW = Sweep(steps=400, lowest=0.01, highest=1.0, per_decade=3)


@pytest.fixture(autouse=True)
def standard_promotion():
    """Optax's Adam relies on implicit promotion."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def iteration(name, jacobian, rate):
    """The matrix of one step on (w, what the method remembers of the step before)."""
    one, antisymmetric = np.eye(len(jacobian)), (jacobian - jacobian.T) / 2
    if name == "optimistic":
        return np.block([[one - 2 * rate * jacobian, rate * jacobian], [one, 0 * one]])
    return {
        "sgd": one - rate * jacobian,
        "consensus": one - rate * (jacobian + jacobian.T @ jacobian),
        "sga": one - rate * (jacobian + antisymmetric.T @ jacobian),
        "extragradient": one - rate * jacobian @ (one - rate * jacobian),
    }[name]


def distances(arm, name, rate):
    """Distance after 0, 1, ... steps as a share of that at the start, in float64."""
    start = np.array(GAMES[name].start)
    w = np.concatenate([start, start]) if arm == "optimistic" else start
    matrix, found = iteration(arm, JACOBIANS[name], rate), []
    for _ in range(HOW.steps + 1):
        found.append(np.linalg.norm(w[: len(start)]) / np.linalg.norm(start))
        w = np.clip(matrix @ w, -1e30, 1e30)
    return np.array(found)


@pytest.mark.parametrize("name", JACOBIANS)
def test_linear_methods_walk_as_their_matrices_say(name):
    arms = {arm: ARMS[arm] for arm in ("sgd", "consensus", "sga", "optimistic", "extragradient")}
    for arm, found in sweep(GAMES[name], arms, HOW).items():
        for i, rate in enumerate(found.rates):
            expected = distances(arm, name, float(rate))
            if 1e-15 < expected[-1] < 1e15:  # float32 has the squares
                np.testing.assert_allclose(found.distance[i], expected[-1], rtol=0.01)
            inside = expected[-1] <= NEAR
            settled = 1 + np.flatnonzero(expected > NEAR)[-1] if inside else 0
            assert abs(found.steps[i] - settled) <= (1 if inside else 0), (arm, rate)


@pytest.fixture(scope="module")
def swept():
    with jax.numpy_dtype_promotion("standard"):
        return {name: sweep(game, ARMS, Sweep()) for name, game in GAMES.items() if name != "four-players"}


@pytest.mark.parametrize(
    ("game", "arm", "bound"),
    [
        ("bilinear", "sga", 1.0),
        ("bilinear", "sga-aligned", 1.0),
        ("bilinear", "optimistic", 1 / np.sqrt(3)),
        ("weak-attractor", "sga", 2 / 101),
        ("weak-attractor", "sgd", 2 / 101),
    ],
)
def test_convergence_ends_where_the_algebra_says(swept, game, arm, bound):
    found = swept[game][arm]
    assert found.rates[found.converged].max() == found.rates[found.rates < bound - 1e-6].max()


def test_without_the_align_rule_an_unstable_point_attracts_below_the_step_of_two_fifths(swept):
    found = swept["unstable"]["sga"]
    np.testing.assert_array_equal(found.diverged, found.rates > 0.4)


def test_a_step_of_a_half_shrinks_the_bilinear_game_by_the_root_of_two(swept):
    found = swept["bilinear"]["sga"]
    assert found.rates[found.best] == pytest.approx(0.5, rel=0.01)
    assert found.steps[found.best] == np.ceil(np.log(1 / NEAR) / np.log(np.sqrt(2)))


@pytest.mark.parametrize("arm", ["sgd", "adam"])
def test_no_rate_helps_these_in_the_bilinear_game(swept, arm):
    assert swept["bilinear"][arm].best is None
    if arm == "sgd":
        assert swept["bilinear"][arm].diverged.all()


def test_the_align_rule_stays_away_from_an_unstable_point_unless_it_begins_near(swept):
    assert swept["unstable"]["sga-aligned"].diverged.all()
    assert swept["unstable"]["sga"].converged.any()
    near = swept["unstable-near"]
    np.testing.assert_array_equal(near["sga-aligned"].converged, near["sga"].converged)


@pytest.mark.parametrize("arm", ["sgd", "adam", "consensus-aligned", "optimistic", "extragradient"])
def test_these_leave_an_unstable_point_wherever_they_begin(swept, arm):
    assert swept["unstable"][arm].diverged.all()
    assert swept["unstable-near"][arm].diverged.all()


def test_found_counts_what_is_not_a_number_as_diverged():
    found = Found(
        rates=np.float32([1, 2, 3, 4, 5]),
        distance=np.float32([0.5, 0, 0.0005, np.nan, np.inf]),
        steps=np.int32([0, 7, 7, 0, 0]),
    )
    np.testing.assert_array_equal(found.converged, [False, True, True, False, False])
    np.testing.assert_array_equal(found.diverged, [False, False, False, True, True])
    assert found.best == 1
    assert Found(rates=found.rates[:1], distance=found.distance[:1], steps=found.steps[:1]).best is None


def test_a_path_is_that_of_the_sweep():
    game, arm = GAMES["weak-attractor"], ARMS["adam"]
    points = path(game, arm, 0.01, 400)
    assert points.shape == (401, 2)
    np.testing.assert_array_equal(points[0], np.float32(game.start))
    found = sweep(game, {"adam": arm}, HOW)["adam"]
    share = np.linalg.norm(points[-1]) / np.linalg.norm(points[0])
    assert found.distance[0] == pytest.approx(share, rel=1e-3)


def test_the_grid_is_even_in_the_logarithm():
    rates = Sweep(lowest=0.01, highest=1.0, per_decade=2).rates
    np.testing.assert_allclose(rates, [0.01, 0.0316228, 0.1, 0.316228, 1], 1e-6)
