"""The figure of updates by phase: one row per arm, two panels, every seed and the means."""

import numpy as np
import pytest

from tests.train.studies.updates.directions_samples import ARMS, measurements
from train.studies.updates.figures import draw, title


def drawn(seeds):
    measured = [each for each in measurements(seeds) if each.epoch == 4]
    runs = {arm: [each.directions for each in measured if each.arm == arm] for arm in ARMS}
    return runs, draw(runs, "digits, WRN-10-1")


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_a_row_shows_every_seed_and_the_mean_of_both_phases(seeds):
    runs, figure = drawn(seeds)
    assert len(figure.axes) == 2
    for axes, field in zip(figure.axes, ("sign_changes", "mean_update"), strict=True):
        for row, arm in enumerate(ARMS):
            values = np.stack([getattr(each, field) for each in runs[arm]])
            for phase, (single, mean) in enumerate(np.reshape(axes.get_lines()[4 * row : 4 * row + 4], (2, 2))):
                np.testing.assert_allclose(single.get_xdata(), values[:, phase])
                np.testing.assert_allclose(mean.get_xdata(), values[:, phase].mean())
                assert single.get_markerfacecolor() == "none"
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == list(ARMS)
    assert f"means over {len(seeds)} seeds" in figure.get_supxlabel()


def test_phases_differ_in_their_markers_and_the_axes_begin_at_zero():
    _, figure = drawn((0, 1))
    for axes in figure.axes:
        assert axes.get_xlim()[0] == 0
        assert [line.get_marker() for line in axes.get_lines()[:4]] == ["o", "o", "^", "^"]


@pytest.mark.parametrize(("above", "words"), [(0.3, "is above the mean"), (0.1, "is below the mean")])
def test_the_title_says_what_holds_in_every_arm(above, words):
    runs, _ = drawn((0, 1))
    made = {arm: [each._replace(sign_changes=np.array([0.2, above])) for each in seeds] for arm, seeds in runs.items()}
    assert words in title(made)
    made[ARMS[0]] = [each._replace(sign_changes=np.array([above, 0.2])) for each in made[ARMS[0]]]
    assert title(made) == "The arms differ in when updates change sign more often"
