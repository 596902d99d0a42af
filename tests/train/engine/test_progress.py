"""What a person sees of a run."""

import io
import re

import numpy as np
import pytest
from rich.console import Console

from train.engine.progress import RunProgress
from train.records.metrics import EpochMetrics, StepMetrics

TITLE = "quickstart/lcam-0.9-0.95 seeds 0 1 2"


def console(width, terminal=True):
    return Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system=None)


def row(**changes):
    fields = {
        "epoch": 149,
        "train_loss": 0.1234,
        "test_error": 12.34,
        "test_loss": 0.5,
        "learning_rate": 0.00080,
        "below_fraction": 0.55,
        "mean_momentum": 0.925,
        "skipped_steps": 0,
        "seconds": 123.4,
    }
    return EpochMetrics(**fields | changes)


def slice_of_steps(steps=10):
    values = np.full((3, steps), 0.9, np.float32)
    return StepMetrics(loss=values, momentum=values, below=values > 1)


def bar(progress, width):
    """The bar as it stands."""
    screen = console(width)
    screen.print(progress._bar.get_renderable())
    (line,) = screen.file.getvalue().splitlines()
    return line


def epoch_line(width, terminal=True, **changes):
    screen = console(width, terminal)
    RunProgress(TITLE, 100, 32, screen).epoch(150, [row(**changes)] * 3)
    return screen.file.getvalue()


def test_an_epoch_is_a_line_of_at_most_100_columns():
    expected = "epoch 150/150  test error 12.34%  loss 0.1234  123.4 s  momentum 0.925  lr 0.0008  below 55%\n"
    assert epoch_line(200) == epoch_line(80, terminal=False) == expected
    assert len(expected) <= 100


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100])
def test_an_epoch_fits_the_terminal(width):
    line = epoch_line(width)
    assert line.startswith("epoch 150/150")
    assert len(line.rstrip()) <= width


def test_an_epoch_tells_of_skipped_steps_before_all_else():
    assert epoch_line(80, skipped_steps=2).startswith("epoch 150/150  6 steps skipped  test error")
    assert len(epoch_line(80, skipped_steps=2)) <= 80


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 160])
def test_bar_step_and_time_stay_at_every_width(width):
    progress = RunProgress(TITLE, 36, 32, console(width))
    for compiled in (False, True):
        line = bar(progress, width)
        assert len(line.rstrip()) <= width
        assert re.search("[━╸ ]{11}", line)
        assert "/36" in line
        assert ":--" in line or "0:00" in line
        assert "…" not in line
        assert ("compiling" in line) != compiled
        progress.steps(slice_of_steps())
        progress.steps(slice_of_steps())


def test_nothing_is_shown_that_is_not_known_yet():
    progress = RunProgress(TITLE, 100, 32, console(200))
    assert "compiling 0 s" in bar(progress, 200)
    assert not any(word in bar(progress, 200) for word in ("nan", "images/s", "loss"))
    progress.steps(slice_of_steps())  # took as long as compiling did
    assert "loss 0.900" in bar(progress, 200)
    assert "images/s" not in bar(progress, 200)
    progress.steps(slice_of_steps())
    assert "images/s" in bar(progress, 200)


def test_the_title_leaves_a_narrow_terminal_first():
    progress = RunProgress(TITLE, 36, 32, console(80))
    assert TITLE in bar(progress, 80)
    assert TITLE not in bar(RunProgress(TITLE, 36, 32, console(70)), 70)


def test_a_resumed_run_begins_where_the_other_ended():
    progress = RunProgress(TITLE, 100, 32, console(80))
    progress.resume(40)
    assert " 40/100" in bar(progress, 80)
    assert "-:--:--" in bar(progress, 80)


def test_a_file_gets_the_title_and_no_bar():
    screen = console(80, terminal=False)
    with RunProgress(TITLE, 36, 32, screen) as progress:
        progress.steps(slice_of_steps())
    assert screen.file.getvalue() == f"{TITLE}\n"
