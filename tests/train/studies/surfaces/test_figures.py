import numpy as np
import pytest

from tests.train.report.layout import nothing_is_cut_off
from train.report.statistics import estimate
from train.studies.surfaces import figures
from train.studies.surfaces.mechanism import ARMS, CONTROLS, Found, Walk, control, controls, find, walk
from train.studies.surfaces.surfaces import SURFACES

HOW = Walk(steps=20, steps_per_epoch=5)
LCAMS = ["lcam-0.95-0.9", "lcam-0.9-0.95"]


@pytest.fixture(scope="module")
def studied():
    """Paths and numbers of two surfaces."""
    walked, found = {}, {}
    for name in ("ravine-slow", "saddle"):
        walked[name] = walk(SURFACES[name], ARMS, 3, HOW)
        walked[name] |= walk(SURFACES[name], controls(walked[name], HOW), 3, HOW)
        found[name] = {arm: find(SURFACES[name], paths) for arm, paths in walked[name].items()}
    return walked, found


def test_every_step_is_drawn_by_the_momentum_that_it_used(studied):
    walked, found = studied
    axes = figures.draw(walked, found).axes
    for row, paths in enumerate(walked.values()):
        for panel, arm in zip(axes[4 * row :], ("lcam-0.9-0.95", "yoked-0.9-0.95", "random-0.9-0.95"), strict=False):
            lines = {line.get_label(): np.column_stack(line.get_data()) for line in panel.get_lines()}
            points, low = paths[arm].points[0, :-1], paths[arm].momentum[0] < 0.92
            np.testing.assert_array_equal(lines["momentum 0.9"], points[low])
            np.testing.assert_array_equal(lines["momentum 0.95"], points[~low])


def test_every_arm_stands_beside_the_paths(studied):
    walked, found = studied
    for panel, arms in zip(figures.draw(walked, found).axes[3::4], found.values(), strict=True):
        assert {label.get_text().partition(" ")[0].lower() for label in panel.get_yticklabels()} == {
            "sgd", "lcam", *CONTROLS,
        }  # fmt: skip
        drawn = sorted(float(line.get_xdata()[0]) for line in panel.get_lines() if len(line.get_xdata()) == 1)
        assert drawn == pytest.approx(sorted(numbers.progress.mean for numbers in arms.values()))


def test_all_axes_say_what_they_show(studied):
    axes = figures.draw(*studied).axes
    assert all(each.get_xlabel() for each in axes)
    assert all("second parameter" in each.get_ylabel() for each in axes[::4])


def test_nothing_is_cut_off_or_overlaps(studied):
    nothing_is_cut_off(figures.draw(*studied))


@pytest.mark.parametrize(("farthest", "said"), [(10.04, "within 0.4 %"), (9.9, "within 1 %"), (10.041, "within 0.5 %")])
def test_the_title_says_how_near_the_switching_controls_come(farthest, said):
    def of(mean):
        return Found(**dict.fromkeys(("progress", "final_loss", "below", "momentum"), estimate([mean - 1, mean + 1])))

    arms = {lcam: of(10.0) for lcam in LCAMS}
    arms |= {control(kind, lcam): of(10.0) for lcam in LCAMS for kind in CONTROLS}
    arms |= {control("yoked", LCAMS[0]): of(farthest), control("constant", LCAMS[0]): of(20.0)}
    assert said in figures.title({"saddle": arms})
