import dataclasses

import numpy as np
import pytest

from tests.train.studies.perceptrons import synthetic_study
from train.studies.perceptrons import figures, report, study


@pytest.fixture(scope="module")
def record():
    return synthetic_study.record()


def test_every_difference_is_drawn_beside_the_margin(record):
    compared = report.compare(record)
    differences, _ = figures.draw(record, compared).axes
    labels = [label.get_text() for label in differences.get_yticklabels()]
    assert labels == [f"minus {against}" for _, against in study.comparisons()]
    points = [tuple(line.get_xydata()[0]) for line in differences.get_lines() if line.get_marker() in "Do"]
    assert points == [(contrast.difference.mean, row) for row, contrast in enumerate(compared)]
    shaded = differences.patches[0].get_extents().transformed(differences.transData.inverted())
    assert (shaded.x0, shaded.x1) == pytest.approx((-0.03, 0.03))


def test_the_momentum_of_both_orders_is_drawn(record):
    _, momenta = figures.draw(record, report.compare(record)).axes
    lines = [line.get_xydata() for line in momenta.get_lines()]
    for line, order in zip(lines, study.ORDERS, strict=True):
        np.testing.assert_allclose(line, [*enumerate(record.arms[study.name("lcam", order)]["momentum"], 1)])


@pytest.mark.parametrize(
    ("p_equivalent", "said"),
    [(0.049, "makes no difference as large as the margin"), (0.05, "LCAM minus each other arm")],
)
def test_the_title_claims_only_what_both_corrected_tests_show(record, p_equivalent, said):
    first, *rest = (dataclasses.replace(contrast, p_equivalent=0.01) for contrast in report.compare(record))
    assert first.against.startswith("yoked")
    assert said in figures.title([dataclasses.replace(first, p_equivalent=p_equivalent), *rest])
