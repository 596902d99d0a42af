import matplotlib
import numpy as np
import pytest

from tests.train.report.layout import nothing_is_cut_off
from train.report import forest
from train.report.statistics import estimate

OTHERS = ("yoked", "schedule", "SGD 0.9")


def task(*verdicts, margin=0.2, seeds=120):
    """A task whose differences are 0.1, 0.2 and 0.3 points."""
    values = [(0.1 * (i + 1) + np.linspace(-1, 1, seeds)).tolist() for i in range(len(verdicts))]
    rows = [
        forest.Row(against=other, difference=estimate(value), verdict=verdict)
        for other, value, verdict in zip(OTHERS, values, verdicts, strict=True)
    ]
    return forest.Task(title="a network, some data", margin=margin, rows=rows)


TASKS = [task("equivalent", "equivalent", "better", margin=0.03, seeds=2000), task("equivalent", "worse", "undecided")]


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_each_task_has_a_panel_an_axis_and_a_margin_of_its_own():
    first, second = forest.draw(TASKS).axes
    assert first.get_xlim() != second.get_xlim()
    for axes, margin in ((first, 0.03), (second, 0.2)):
        (shaded,) = axes.patches
        assert (shaded.get_x(), shaded.get_x() + shaded.get_width()) == pytest.approx((-margin, margin))
        assert axes.get_xlim()[0] == -axes.get_xlim()[1]
        assert axes.get_title("left").endswith(f"margin ±{margin:g} points")


def test_each_row_has_its_point_its_interval_its_seeds_and_its_verdict():
    axes = forest.draw(TASKS).axes[1]
    lines = [tuple(line.get_xdata()) for line in axes.get_lines()[1:]]
    for i, row in enumerate(TASKS[1].rows):
        assert lines[2 * i] == row.difference.interval
        assert lines[2 * i + 1] == (row.difference.mean,)
        assert f"LCAM \N{MINUS SIGN} {row.against}, n = 120" in texts(axes)
        assert row.verdict in texts(axes)


@pytest.mark.parametrize(
    ("verdicts", "said"),
    [
        (["equivalent", "equivalent"], "no difference as large as the margin"),
        (["equivalent, not equal"], "a smaller one than the margin"),
        (["better", "better"], "lower the test error"),
        (["worse"], "raise the test error"),
        (["undecided"], "undecided"),
        (["equivalent", "better", "equivalent"], "without the loss: equivalent; better"),
    ],
)
def test_the_title_follows_from_the_verdicts_on_the_yoked_control(verdicts, said):
    assert said in forest.title([task(verdict, "worse", "better") for verdict in verdicts])


def test_the_words_tell_every_number():
    words = forest.in_words(TASKS)
    assert words.startswith(f"{forest.title(TASKS)}. ")
    for each in TASKS:
        for row in each.rows:
            low, high = row.difference.interval
            assert f"minus {row.against} {row.difference.mean:+.3f} ({low:+.3f} to {high:+.3f})" in words
    assert "2000 seeds" in words


@pytest.mark.parametrize("tasks", [TASKS, [*TASKS, task("equivalent, not equal", "undecided", "better")]])
def test_two_and_three_tasks_fit_side_by_side(tasks):
    figure = forest.draw(tasks)
    nothing_is_cut_off(figure)
    for left, right in zip(figure.axes, figure.axes[1:], strict=False):
        edge = right.get_window_extent().x0
        assert all(text.get_window_extent().x1 <= edge for text in left.texts)


def test_nothing_needs_colour():
    figure = forest.draw(TASKS)
    colours = [line.get_color() for line in figure.findobj(matplotlib.lines.Line2D) if line.get_visible()]
    for colour in colours:
        red, green, blue = matplotlib.colors.to_rgb(colour)
        assert red == green == blue
