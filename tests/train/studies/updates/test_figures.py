import numpy as np
import pytest
from matplotlib.collections import FillBetweenPolyCollection

from tests.train.studies.updates.directions_samples import ARMS, measurements
from train.studies.updates.figures import draw


def drawn(seeds):
    measured = [each for each in measurements(seeds) if each.epoch == 4]
    figure = draw(measured, "title")
    return [each.directions for each in measured], figure, np.array(figure.axes).reshape(3, len(ARMS))


def test_a_column_for_each_arm_and_a_line_for_each_phase():
    seen, figure, grid = drawn((0,))
    assert [axes.get_title(loc="left") for axes in grid[0]] == list(ARMS)
    for directions, (top, middle, bottom) in zip(seen, grid.T, strict=True):
        for phase in range(2):
            np.testing.assert_allclose(top.patches[phase].get_data().values, directions.magnitudes[phase, 1:-1])
            cumulative = middle.get_lines()[phase].get_ydata()
            assert cumulative[-1] == pytest.approx(1)
            np.testing.assert_allclose(np.diff(cumulative), directions.change_rates[phase], atol=1e-6)
            kept = directions.rate_share > 1e-3
            np.testing.assert_allclose(bottom.get_lines()[phase].get_ydata(), directions.rate_update[phase, kept])
        assert len(top.patches) == 2
        assert not middle.collections
    assert "Seed 0." in figure.get_supxlabel()


def test_several_seeds_are_a_mean_and_a_band():
    seen, figure, grid = drawn((0, 1, 2))
    rates = np.cumsum([directions.change_rates for directions in seen[:3]], axis=-1)
    middle = grid[1, 0]
    for phase in range(2):
        np.testing.assert_allclose(middle.get_lines()[phase].get_ydata()[1:], rates[:, phase].mean(0), rtol=1e-6)
        (band,) = [each for each in middle.collections if isinstance(each, FillBetweenPolyCollection)][
            phase
        ].get_paths()
        at = band.vertices[np.isclose(band.vertices[:, 0], 0.5), 1]
        expected = rates[:, phase, 9].mean() + rates[:, phase, 9].std(ddof=1) * np.array([-1, 1])
        np.testing.assert_allclose([at.min(), at.max()], expected, rtol=1e-5)
    magnitudes = np.mean([directions.magnitudes[1, 1:-1] for directions in seen[:3]], axis=0)
    lines = [each for each in grid[0, 0].patches if not each.get_fill()]
    np.testing.assert_allclose(lines[1].get_data().values, magnitudes)
    assert len(grid[0, 0].patches) == 4
    assert "Mean over seeds" in figure.get_supxlabel()
