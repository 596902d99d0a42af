import dataclasses
import math
import subprocess
import sys
from io import BytesIO

import matplotlib
import numpy as np
import pytest
from PIL import Image

from tests.train.report.layout import nothing_is_cut_off
from tests.train.synthetic import record, steps
from train import records
from train.report import figures, style


def _arms(epochs=12, arms=("sgd-0.9", "lcam-0.9-0.95"), seeds=3):
    return {
        arm: [
            record(arm, seed, [90.0 / (1 + epoch) + seed + index for epoch in range(epochs)]) for seed in range(seeds)
        ]
        for index, arm in enumerate(arms)
    }


def _lines(axes):
    return [line for line in axes.get_lines() if len(line.get_xdata()) > 2]


def _texts(figure):
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text)]


def _texts_and_legends(figure):
    return [*_texts(figure), *(legend.get_title().get_text() for legend in figure.legends)]


def test_curves_show_the_mean_of_each_arm_over_epochs():
    figure = figures.curves(_arms(), "title")
    line, other = _lines(figure.axes[0])
    np.testing.assert_array_equal(line.get_xdata(), np.arange(1, 13))
    np.testing.assert_allclose(line.get_ydata(), 90 / np.arange(1, 13) + 1)
    np.testing.assert_allclose(other.get_ydata(), 90 / np.arange(1, 13) + 2)


def test_a_long_caption_is_broken_into_lines():
    title = "decision-cifar10, cifar10, resolution 16, train size 10000, WRN-10-1"
    long, short = (figures.curves(_arms(), words) for words in (title, "title"))
    for figure in (long, short):
        nothing_is_cut_off(figure)
    caption = long._supxlabel
    assert caption.get_text().startswith(f"{title}. Lines: mean over seeds.")
    assert caption.get_window_extent().height > 1.5 * short._supxlabel.get_window_extent().height


def test_a_short_caption_and_its_own_lines_stay():
    figures_of_captions = [matplotlib.figure.Figure(figsize=(7.2, 2.0), layout="constrained") for _ in range(2)]
    for figure, caption in zip(figures_of_captions, ("One line.\nAnother one.", "One line."), strict=True):
        style.frame(figure, "title", caption)
        figure.draw_without_rendering()
        assert figure._supxlabel.get_text() == caption
    two, one = (figure._supxlabel.get_window_extent().height for figure in figures_of_captions)
    assert 1.5 * one < two < 3 * one


def test_bands_are_one_standard_deviation():
    figure = figures.curves(_arms(), "title")
    corners = figure.axes[0].collections[0].get_paths()[0].vertices
    mean_at_12 = 90 / 12 + 1
    at_12 = corners[corners[:, 0] == 12][:, 1]
    assert (at_12.min(), at_12.max()) == pytest.approx((mean_at_12 - 1, mean_at_12 + 1))
    assert any("one standard deviation" in text for text in _texts(figure))


def test_one_seed_has_no_band():
    assert not figures.curves(_arms(seeds=1), "title").axes[0].collections


def test_rows_are_error_loss_and_phase():
    figure = figures.curves(_arms(), "title")
    labels = [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()]
    assert labels == ["test error (%)", "average training loss", "steps below the mean"]


def test_the_second_column_is_the_last_quarter():
    figure = figures.curves(_arms(), "title")
    assert len(figure.axes) == 6
    np.testing.assert_array_equal(_lines(figure.axes[1])[0].get_xdata(), [10, 11, 12])


def test_short_runs_have_one_column():
    assert len(figures.curves(_arms(epochs=4), "title").axes) == 3


def test_the_loss_is_logarithmic_only_over_a_decade():
    assert figures.curves(_arms(epochs=30), "title").axes[2].get_yscale() == "log"
    assert figures.curves(_arms(epochs=4), "title").axes[1].get_yscale() == "linear"


def test_arms_differ_in_more_than_colour():
    names = tuple(f"arm-{index}" for index in range(14))
    lines = _lines(figures.curves(_arms(arms=names), "title").axes[0])
    shapes = {(str(line._unscaled_dash_pattern), line.get_marker()) for line in lines}
    assert len(shapes) == len(names)


def test_arms_may_have_different_budgets():
    arms = _arms(epochs=40) | {"half": _arms(epochs=20)["sgd-0.9"]}
    figure = figures.curves(arms, "title")
    assert len(_lines(figure.axes[0])[2].get_xdata()) == 20


def test_runs_that_are_not_finite_can_be_drawn(tmp_path):
    run = record("sgd-0.9", 0, [math.nan] * 12)
    run.history[:] = [dataclasses.replace(row, train_loss=math.nan) for row in run.history]
    assert style.save(figures.curves({"a": [run]}, "title"), tmp_path / "a")[0].exists()


@pytest.fixture
def run(tmp_path):
    path = records.write(tmp_path, record("lcam", 0, [9.0, 8.0, 7.0]), steps(3))
    return records.read(path)


def test_steps_are_split_by_the_side_of_the_mean(run):
    figure = figures.steps(run, [0, 2], "title")
    above, below, mean = figure.axes[0].get_lines()
    np.testing.assert_array_equal(above.get_xdata(), [1, 3, 6])
    np.testing.assert_array_equal(below.get_xdata(), [2, 4, 5])
    np.testing.assert_allclose(mean.get_ydata()[:3], [2.0, 1.75, 5.3 / 3], rtol=1e-6)
    assert [axes.get_title("left") for axes in figure.axes[:2]] == ["epoch 1", "epoch 3"]


def test_steps_show_the_momentum_that_was_used(run):
    axes = figures.steps(run, [1], "title").axes[1]
    (line,) = axes.get_lines()
    np.testing.assert_array_equal(line.get_ydata(), run.steps.momentum[6:12])
    assert line.get_drawstyle() == "steps-mid"
    low, high = axes.get_ylim()
    assert low < 0.9 < 0.95 < high
    assert [label.get_text() for label in axes.get_yticklabels()] == ["0.9", "0.95"]


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({}, "picked by the loss before"),
        ({"delay": False}, "picked by the step's own loss"),
        ({"phase": "random"}, "drawn at random"),
        ({"phase": "none", "control": "yoked"}, "given before the run"),
        ({"phase": "none", "follows": "lcam-0.9-0.95"}, "given before the run"),
    ],
)
def test_the_caption_says_what_picked_the_momentum(run, config, said):
    changed = dataclasses.replace(run, config=run.config | config)
    assert f"Momentum: the one that the step used, {said}." in " ".join(_texts(figures.steps(changed, [1], "title")))


def test_of_many_steps_the_momentum_of_the_first_is_shown(tmp_path):
    long = records.StepMetrics(*(np.tile(values, 20) for values in steps(1)))
    run = records.read(records.write(tmp_path, record("lcam", 0, [9.0]), long))
    axes = figures.steps(run, [0], "title").axes
    assert len(axes[0].get_lines()[-1].get_xdata()) == 120
    np.testing.assert_array_equal(axes[1].get_lines()[0].get_ydata(), run.steps.momentum[:40])
    assert axes[1].get_xlabel() == "the first 40 of 120 steps"


def test_titles_say_what_is_seen(run):
    assert "50% of the losses of epoch 1 are below the mean, 50% in epoch 3" in _texts_and_legends(
        figures.steps(run, [0, 2], "title")
    )
    assert "The 2 arms end with test errors of 8.50 to 9.50 %" in _texts_and_legends(figures.curves(_arms(), "title"))


def _draw_all(run):
    return {
        "curves": figures.curves(_arms(), "title"),
        "steps": figures.steps(run, [0, 2], "title"),
    }


def test_figures_are_the_same_byte_for_byte(run, tmp_path):
    first, second = (
        {
            path.name: path.read_bytes()
            for name, figure in _draw_all(run).items()
            for path in style.save(figure, tmp_path / name)
        }
        for _ in range(2)
    )
    assert len(first) == 4
    assert first == second


def test_pngs_have_a_palette_and_look_the_same(run, tmp_path):
    figure = _draw_all(run)["curves"]
    png, _ = style.save(figure, tmp_path / "curves")
    kept = Image.open(png)
    assert (kept.mode, kept.size) == ("P", (864, 912))
    whole = BytesIO()
    figure.savefig(whole, format="png", dpi=120)
    assert png.stat().st_size < len(whole.getvalue()) / 2
    difference = np.abs(np.int16(kept.convert("RGB")) - np.int16(Image.open(whole).convert("RGB")))
    assert difference.max() <= 32
    assert difference.mean() < 1


def test_svgs_hold_no_date(run, tmp_path):
    _, svg = style.save(figures.steps(run, [0], "title"), tmp_path / "steps")
    assert "<dc:date>" not in svg.read_text()


@pytest.mark.parametrize("name", ["curves", "steps"])
def test_nothing_is_cut_off_or_overlaps(run, name):
    nothing_is_cut_off(_draw_all(run)[name])


def test_the_settings_of_other_figures_are_left_alone(run):
    before = dict(matplotlib.rcParams)
    _draw_all(run)
    assert dict(matplotlib.rcParams) == before


def test_no_window_system_is_asked_for():
    modules = "train.report.figures, train.report.differences, train.report.forest"
    code = f"import sys, {modules}; print('matplotlib.pyplot' in sys.modules)"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert output.stdout.strip() == "False"
