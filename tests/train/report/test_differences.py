import dataclasses

import matplotlib
import numpy as np
import pytest

from tests.train.report.layout import nothing_is_cut_off
from tests.train.synthetic import record
from train.report import differences, style
from train.report.statistics import analyse

MINUS = "\N{MINUS SIGN}"


def comparisons(**finals):
    """Arms minus `base`, named without their group."""
    runs = [
        record(arm.replace("_", "."), s, [error]) for arm, errors in finals.items() for s, error in enumerate(errors)
    ]
    group = analyse(runs, "base")
    return [dataclasses.replace(each, name=group.short(each.name)) for each in group.comparisons]


BASE = {"base": [5.0, 5.5, 7.5]}
PAIRS = {
    "random-0_95-0_9": [6.0, 6.1, 8.8],
    "lcam-0_9-0_95": [4.0, 5.0],
    "sgd-0_95": [6.0, 6.5, 7.0],
    "constant-0_9-0_95": [5.0, 5.6, 7.0],
}


def texts(figure):
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text)]


def test_rows_are_grouped_by_their_pair_of_momenta_lcam_first():
    found = differences.grouped(comparisons(**BASE, **PAIRS))
    assert {pair: list(rows) for pair, rows in found.items()} == {
        "0.9 below, 0.95 above": ["lcam", "constant"],
        "0.95 below, 0.9 above": ["random"],
        "other arms": ["sgd-0.95"],
    }


def test_each_row_tells_its_number_of_seeds():
    figure = differences.draw(comparisons(**BASE, **PAIRS), "base", "demo")
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["lcam, n = 2", "constant, n = 3", "random, n = 3", "sgd-0.95, n = 3"]


def test_each_difference_is_drawn_with_its_interval_and_every_seed():
    found = comparisons(**BASE, better=[4.0, 5.0, 6.0], worse=[6.0, 6.1, 8.8])
    figure = differences.draw(found, "base", "demo")
    (axes,) = figure.axes
    seeds, bar, mean = axes.get_lines()[1:4]
    assert tuple(bar.get_xdata()) == found[0].difference.interval
    assert tuple(seeds.get_xdata()) == found[0].difference.values
    assert tuple(mean.get_xdata()) == (found[0].difference.mean,)
    assert axes.get_xlim()[0] == -axes.get_xlim()[1]
    assert any(text.startswith(f"{MINUS}1.00 ({MINUS}2.24 to +0.24), p = ") for text in texts(figure))


def test_equal_seeds_do_not_hide_each_other():
    found = comparisons(base=[5.0, 6.0, 7.0], other=[4.0, 5.0, 6.0])
    seeds = differences.draw(found, "base", "demo").axes[0].get_lines()[1]
    assert len(set(np.asarray(seeds.get_ydata()).tolist())) == 3


def test_a_single_pair_has_no_interval(tmp_path):
    figure = differences.draw(comparisons(base=[5.0], other=[4.5]), "base", "demo")
    assert f"{MINUS}0.50" in texts(figure)
    assert style.save(figure, tmp_path / "differences")[0].exists()


@pytest.mark.parametrize(
    ("finals", "said"),
    [
        ({"a": [5.5, 5.0, 7.0]}, "No arm differs significantly from base"),
        ({"a": [4.0, 4.4, 6.5]}, "Of 1 arms, 1 is better than base"),
        (
            {"a": [9.0, 9.4, 11.6], "b": [9.1, 9.4, 11.6], "c": [2.0, 2.4, 4.6]},
            "Of 3 arms, 1 is better than base and 2",
        ),
    ],
)
def test_the_title_counts_what_differs(finals, said):
    assert differences.title(comparisons(**BASE, **finals), "base").startswith(said)


def test_nothing_is_cut_off_or_overlaps():
    nothing_is_cut_off(differences.draw(comparisons(**BASE, **PAIRS), "base", "demo, digits, WRN-10-1"))
