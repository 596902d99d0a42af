import jax
import numpy as np
import pytest
from rich.console import Console

from train import files
from train.errors import ConfigError
from train.studies.command import Games
from train.studies.games import figures as games_figures
from train.studies.games import report as games_report
from train.studies.games.games import ARMS, GAMES, Found, Sweep
from train.studies.games.gan import Gan, Outcome, Tuned

SWEEP = Sweep(steps=30, lowest=0.01, highest=1.0, per_decade=2)
GAN = Gan(latent=2, width=4, batch=8, steps=4, look_every=2, samples=50, sgd_rates=(0.1, 0.5), adam_rates=(0.01, 0.05))
GAN_ARMS = [("sgd", "plain"), ("adam", "extragradient")]
DRAWN = ("bilinear", "weak-attractor")


@pytest.fixture(scope="module")
def studied(tmp_path_factory):
    out = tmp_path_factory.mktemp("games") / "new"
    with pytest.MonkeyPatch.context() as patch, jax.numpy_dtype_promotion("standard"):  # Optax's Adam needs it
        patch.setattr(games_report, "GAMES", {name: GAMES[name] for name in DRAWN})
        patch.setattr(games_report, "GAN_ARMS", GAN_ARMS)
        return out, *games_report.study(out, seeds=4, command="the words", how=SWEEP, gan=GAN)


@pytest.fixture
def document(studied):
    return files.loads(studied[2][0].read_bytes())


def test_a_study_writes_numbers_and_pictures(studied):
    out, _, paths = studied
    kinds = ("small.png", "small.svg", "gan.png", "gan.svg")
    assert paths == [out / "games.json", *(out / f"games-{kind}" for kind in kinds)]
    assert all(path.stat().st_size > 1000 for path in paths)


def test_the_json_holds_settings_and_every_number(document):
    assert document["command"] == "the words"
    assert {"versions", "device"} < document.keys()
    small, gan = document["small"], document["gan"]
    assert (small["sweep"]["steps"], gan["settings"]["steps"], gan["seeds"]) == (30, 4, 4)
    assert len(small["rates"]) == 5
    for game in small["games"].values():
        assert list(game["arms"]) == list(ARMS)
        for numbers in game["arms"].values():
            assert len(numbers["distance"]) == len(numbers["steps"]) == 5
            assert numbers["converged"] == np.count_nonzero(numbers["steps"])
    assert [(arm["inner"], arm["method"]) for arm in gan["arms"]] == GAN_ARMS
    for arm in gan["arms"]:
        assert arm["rate"] in [tried["rate"] for tried in arm["tuning"]]
        assert [len(tried["modes"]) for tried in arm["tuning"]] == [2, 2]
        assert len(arm["modes"]["values"]) == len(arm["quality"]["values"]) == 4
        assert arm["looks"]["steps"] == [2, 4]


def test_best_rate_and_range_follow_from_the_steps(document):
    rates = document["small"]["rates"]
    numbers = document["small"]["games"]["bilinear"]["arms"]["sga"]
    converging = [(steps, rate) for steps, rate in zip(numbers["steps"], rates, strict=True) if steps]
    assert (numbers["best_steps"], numbers["best_rate"]) == min(converging)
    assert numbers["range"] == [converging[0][1], converging[-1][1]]
    assert document["small"]["games"]["bilinear"]["arms"]["sgd"]["range"] is None


def test_the_tables_show_what_the_json_holds(studied, document):
    _, tables, _ = studied
    assert [table.title for table in tables[:2]] == [GAMES[name].title for name in DRAWN]
    assert [row[0] for row in tables[0].rows] == list(ARMS)
    numbers = document["small"]["games"]["bilinear"]["arms"]["sga"]
    assert tables[0].rows[4][:4] == ("sga", "3", f"{numbers['best_rate']:.3g}", str(numbers["best_steps"]))
    assert tables[0].rows[0][2:5] == ("n/a",) * 3
    assert tables[2].rows == games_report.gan_rows(document)


def test_published_rows():
    best = {"cost": 3, "best_rate": 0.501187, "best_steps": 20, "range": [0.00141254, 0.891251]}
    never = {"cost": 3, "best_rate": None, "best_steps": None, "range": None}
    games = {"bilinear": {"arms": {"sga": best}}, "other": {"arms": {"sga": never}}}
    rows = games_report.small_rows({"small": {"games": games}})
    assert rows == [("sga", "3", "20 at 0.501 (0.0014 to 0.89)", "none")]
    arm = {
        "inner": "adam",
        "method": "sga",
        "cost": 3,
        "rate": 0.001,
        "modes": {"mean": 8.0, "interval": [None, None]},
        "quality": {"mean": 0.876, "interval": [0.85, 0.9]},
        "not_finite": 1,
    }
    impossible = arm | {"modes": {"mean": 7.5, "interval": [6.5, 8.5]}, "quality": {"mean": 0.1, "interval": [-1, 1.2]}}
    rows = games_report.gan_rows({"gan": {"seeds": 10, "settings": {"modes": 8}, "arms": [arm, impossible]}})
    assert rows == [
        ("adam", "sga", "3", "0.001", "8.0", "88% (85% to 90%)", "1 of 10"),
        ("adam", "sga", "3", "0.001", "7.5 (6.5 to 8.0)", "10% (0% to 100%)", "1 of 10"),
    ]


def test_lines_stop_where_a_method_no_longer_converges():
    rates, steps = np.float32([0.1, 0.2, 0.3]), np.int32([9, 5, 0])
    never = Found(rates=rates, distance=np.full(3, np.nan, np.float32), steps=np.int32([0, 0, 0]))
    some = Found(rates=rates, distance=np.float32([0, 0, 2]), steps=steps)
    with jax.numpy_dtype_promotion("standard"):
        figure = games_figures.small({name: dict.fromkeys(ARMS, never) | {"sga": some} for name in DRAWN})
    for axes in figure.axes[1::2]:
        lines = {line.get_label(): np.column_stack(line.get_data()) for line in axes.get_lines()}
        np.testing.assert_array_equal(lines["sga"], np.stack([rates[:2], steps[:2]], axis=1))
        assert len(lines["sgd"]) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": 1}, "seeds is 1, allowed"),
        ({"seeds": 1001}, "seeds is 1001, allowed"),
        ({"steps": 0}, "steps is 0, allowed"),
        ({"steps": 300}, "steps is 300, allowed: a positive multiple of 250"),
    ],
)
def test_options_out_of_their_range(tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        Games(out=tmp_path, **options)(Console())
    assert not list(tmp_path.iterdir())


def outcome(inner, modes, samples):
    """A tuned arm that was never trained: modes found by each seed, and the samples of the first."""
    shape = (len(modes), 1)
    final = Outcome(
        modes=np.reshape(modes, shape),
        quality=np.full(shape, 0.5),
        finite=np.ones(len(modes), bool),
        samples=np.asarray(samples, np.float32)[None],
    )
    return {(inner, "plain"): Tuned(0.1, final, final)}


def test_samples_outside_the_axes_are_counted():
    tuned = outcome("sgd", [2, 4], [[0, 0], [9, 0], [np.nan, 0]]) | outcome("adam", [8, 7], [[0, 0], [1, 1], [2, 0]])
    figure = games_figures.samples(GAN, tuned)
    assert [axes.get_xlabel() for axes in figure.axes] == ["2 outside", ""]
    assert games_figures.samples_title(GAN, tuned) == "Of 8 modes, the methods find 3.0 with sgd, 7.5 with adam"


@pytest.mark.parametrize(
    ("diverging", "words"),
    [
        (("sgd", "adam"), "In the bilinear game, sgd and adam converge at no learning rate"),
        (("sgd",), "In the bilinear game, sgd converges at no learning rate"),
        ((), "In the bilinear game, all methods converge"),
    ],
)
def test_the_title_of_the_small_games_says_who_does_not_converge(diverging, words):
    def found(steps):
        return Found(rates=np.float32([0.1]), distance=np.float32([0]), steps=np.int32([steps]))

    assert games_figures.small_title({"bilinear": {arm: found(int(arm not in diverging)) for arm in ARMS}}) == words
