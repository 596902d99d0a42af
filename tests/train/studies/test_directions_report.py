import jax
import numpy as np
import pytest
from rich.console import Console

from tests.train import tiny_run
from train import data, files
from train.experiments import ConfigError
from train.studies import directions, directions_report
from train.studies.command import Directions
from train.studies.directions import Measurement
from train.studies.gradient_noise import GradientNoise
from train.studies.tally import Tally, summary

pytestmark = pytest.mark.slow

ARMS = ("sgd-0.9", "lcam-0.95-0.9", "lcam-0.9-0.95")


def measurement(arm, epoch, squared_gradient=0.5):
    rng = np.random.default_rng(epoch)
    steps = np.array([12, 8], np.int32)
    magnitudes = rng.random((2, 62)).astype(np.float32)
    tally = Tally(
        steps=steps,
        magnitudes=magnitudes / magnitudes.sum(1, keepdims=True) * steps[:, None],
        moved=rng.random((2, 50)).astype(np.float32),
        changed=rng.integers(0, 8, (2, 50)).astype(np.int32),
    )
    trace = np.float32(6.0)
    noise = GradientNoise(
        eigenvalues=np.array([3, 2, 1], np.float32),
        trace=trace,
        squared_gradient=np.float32(squared_gradient),
        effective_rank=np.float32(36 / 14),
        noise_scale=np.float32(trace / squared_gradient if squared_gradient > 0 else np.nan),
    )
    return Measurement(arm, epoch, 0.25, jax.device_get(summary(jax.device_put(tally))), noise)


MEASURED = [measurement(arm, epoch) for arm in ARMS for epoch in (2, 4)]


def test_a_folder_holds_the_numbers_and_a_figure_for_each_epoch(tmp_path):
    experiment = tiny_run.experiment(epochs=4)
    _, paths = directions_report.write(tmp_path / "new", MEASURED, experiment, seed=7, command="the words")
    names = ["directions.json", *(f"directions-epoch-{epoch}.{kind}" for epoch in (2, 4) for kind in ("png", "svg"))]
    assert [path.name for path in paths] == names
    document = files.loads(paths[0].read_bytes())
    assert (document["command"], document["seed"], document["settings"]["epochs"]) == ("the words", 7, 4)
    assert "momentum_below" not in document["settings"]
    for kept, each in zip(document["measurements"], MEASURED, strict=True):
        assert (kept["arm"], kept["epoch"]) == (each.arm, each.epoch)
        for part in ("directions", "noise"):
            for name, value in getattr(each, part)._asdict().items():
                np.testing.assert_allclose(np.array(kept[part][name], float), value)


def test_the_table_of_phases_shows_ratios_of_above_to_below():
    table = directions_report.phase_table(MEASURED)
    seen = MEASURED[0].directions
    assert table.rows[0][:2] == ("sgd-0.9, epoch 2", "60%")
    assert table.rows[0][4] == f"{seen.mean_update[1] / seen.mean_update[0]:.3f}"
    assert table.rows[0][6] == f"{seen.frequent_update[1] / seen.frequent_update[0]:.3f}"
    assert {len(row) for row in table.rows} == {len(table.columns)}


def test_a_noise_scale_that_cannot_be_told_is_said_so():
    table = directions_report.noise_table([MEASURED[0], measurement("sgd-0.9", 4, squared_gradient=-0.1)])
    assert [row[-1] for row in table.rows] == ["12", "n/a"]
    assert table.note.startswith("Of 4 training images")
    assert {len(row) for row in table.rows} == {len(table.columns)}


def test_the_figure_has_a_column_for_each_arm_and_a_line_for_each_phase():
    figure = directions_report.draw([each for each in MEASURED if each.epoch == 4], "title")
    grid = np.array(figure.axes).reshape(3, 3)
    assert [axes.get_title(loc="left") for axes in grid[0]] == list(ARMS)
    seen = MEASURED[1].directions
    for phase, (steps, cumulative) in enumerate(zip(grid[0, 0].patches, grid[1, 0].get_lines(), strict=True)):
        np.testing.assert_allclose(steps.get_data().values, seen.magnitudes[phase, 1:-1])
        assert cumulative.get_ydata()[-1] == pytest.approx(1)
        np.testing.assert_allclose(np.diff(cumulative.get_ydata()), seen.change_rates[phase], atol=1e-6)


def test_the_command_trains_and_writes(tmp_path, monkeypatch):
    arms = directions.arms
    monkeypatch.setattr(data, "load", lambda name, data_dir: tiny_run.dataset())
    monkeypatch.setattr(directions, "arms", lambda *words, **settings: arms(*words, **settings)[1:2])
    console = Console(width=200, record=True, quiet=True)
    Directions(out=tmp_path, epochs=2, at=(2,), batch_size=27, examples=8)(console)
    (kept,) = files.loads((tmp_path / "directions.json").read_bytes())["measurements"]
    assert (kept["arm"], kept["epoch"], sum(kept["directions"]["steps"])) == ("lcam-0.95-0.9", 2, 2)
    assert (tmp_path / "directions-epoch-2.png").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": -1}, "seed is -1, allowed"),
        ({"examples": 1}, "examples is 1, allowed"),
        ({"at": (3, 11)}, "at is"),
        ({"at": ()}, "at is"),
    ],
)
def test_options_out_of_range_are_refused(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        Directions(out=tmp_path, **changes)(Console())
