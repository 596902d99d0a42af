import math

import numpy as np
import pytest
import scipy.stats

from train.report.equivalence import contrasts, omnibus, omnibus_note, pairs_for_equivalence

# Differences 0.1, 0.2, 0.3, -0.1, 0: mean 0.1, variance 0.025, standard error sqrt(0.005).
OURS = np.array([5.1, 6.2, 7.3, 4.9, 6.0])
THEIRS = np.array([5.0, 6.0, 7.0, 5.0, 6.0])
ERROR = math.sqrt(0.005)


def contrast(ours, theirs, margin=0.4):
    (found,) = contrasts([("lcam", "yoked")], {"lcam": np.array(ours), "yoked": np.array(theirs)}, margin)
    return found


def upper_tail(t):
    """Student's t with 4 degrees of freedom, from its closed form."""
    x = t / math.sqrt(4 + t**2)
    return 0.5 - 0.75 * (x - x**3 / 3)


def test_the_closed_form_is_student_s():
    assert upper_tail(2.7764451052) == pytest.approx(0.025)


def test_a_contrast_by_hand():
    found = contrast(OURS, THEIRS)
    assert (found.name, found.against, found.margin) == ("lcam", "yoked", 0.4)
    assert found.difference.mean == pytest.approx(0.1)
    assert found.p_different == pytest.approx(2 * upper_tail(0.1 / ERROR))
    # The end at 0.4 is the nearer one, so its test has the larger p-value.
    assert found.p_equivalent == pytest.approx(upper_tail(0.3 / ERROR))
    assert found.smallest_margin == pytest.approx(0.1 + 2.1318467863 * ERROR)  # 95 % quantile, 4 degrees


@pytest.mark.parametrize("sign", [1, -1])
def test_the_smallest_margin_is_where_the_test_passes(sign):
    smallest = contrast(sign * OURS, sign * THEIRS).smallest_margin
    assert contrast(sign * OURS, sign * THEIRS, smallest * 0.999).p_equivalent > 0.05
    assert contrast(sign * OURS, sign * THEIRS, smallest * 1.001).p_equivalent < 0.05


def test_the_detectable_difference_is_found_in_four_of_five_studies():
    detectable = contrast(OURS, THEIRS).detectable
    noncentrality, critical = detectable / ERROR, 2.7764451052
    power = scipy.stats.nct.sf(critical, 4, noncentrality) + scipy.stats.nct.cdf(-critical, 4, noncentrality)
    assert power == pytest.approx(0.8, abs=1e-4)
    drawn = np.random.default_rng(0).normal(detectable, math.sqrt(0.025), (4000, 5))
    assert np.mean(scipy.stats.ttest_1samp(drawn, 0, axis=1).pvalue < 0.05) == pytest.approx(0.8, abs=0.03)


def test_both_families_are_corrected_by_holm():
    errors = {"lcam": OURS, "yoked": THEIRS, "sgd": THEIRS + np.array([2, 2.1, 2, 1.9, 2])}
    alone = [contrast(OURS, errors[name]) for name in ("yoked", "sgd")]
    first, second = contrasts([("lcam", "yoked"), ("lcam", "sgd")], errors, 0.4)
    assert alone[1].p_different < alone[0].p_different
    assert second.p_different == pytest.approx(2 * alone[1].p_different)
    assert first.p_different == pytest.approx(alone[0].p_different)
    assert first.p_equivalent == pytest.approx(2 * alone[0].p_equivalent)
    assert second.p_equivalent == pytest.approx(alone[1].p_equivalent)


@pytest.mark.parametrize(
    ("shift", "margin", "verdict"),
    [
        (0.0, 0.4, "equivalent"),
        (0.3, 1.0, "equivalent, not equal"),
        (0.9, 0.4, "worse"),
        (-1.1, 0.4, "better"),
        (0.0, 0.1, "undecided"),
    ],
)
def test_verdicts(shift, margin, verdict):
    assert contrast(OURS + shift, THEIRS, margin).verdict(p_omnibus=0.01) == verdict


@pytest.mark.parametrize(("p_omnibus", "verdict"), [(0.05, "undecided"), (0.049, "worse"), (math.nan, "worse")])
def test_no_difference_counts_where_all_arms_may_be_equal(p_omnibus, verdict):
    assert contrast(OURS + 0.9, THEIRS, 0.4).verdict(p_omnibus) == verdict
    assert contrast(OURS, THEIRS, 0.4).verdict(p_omnibus) == "equivalent"


@pytest.mark.parametrize("errors", [([4.0], [5.0]), ([4.0, 5.0], [4.5, 5.5]), ([], [])])
def test_without_spread_nothing_is_tested(errors):
    found = contrast(*errors)
    numbers = [found.p_different, found.p_equivalent, found.smallest_margin, found.detectable]
    assert np.isnan(numbers).all()
    assert found.verdict(math.nan) == "undecided"


def test_arms_of_different_seeds_are_refused():
    with pytest.raises(ValueError, match="same seeds"):
        contrast([1.0, 2.0], [1.0, 2.0, 3.0])


@pytest.mark.parametrize("margin", [0.0, -0.1, math.nan])
def test_a_margin_is_positive(margin):
    with pytest.raises(ValueError, match="margin must be positive"):
        contrast(OURS, THEIRS, margin)


def test_omnibus_by_hand():
    # Ranks per seed: (1, 2, 3), (1, 2, 3), (1, 3, 2), (2, 1, 3); their sums are 5, 8 and 11.
    errors = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [1.0, 3.0, 2.0], [2.0, 1.0, 3.0]]).T
    statistic = 12 / (4 * 3 * 4) * (25 + 64 + 121) - 3 * 4 * 4
    assert omnibus(list(errors)) == pytest.approx(math.exp(-statistic / 2))  # chi-squared, 2 degrees


@pytest.mark.parametrize(
    ("p_omnibus", "words"),
    [(1e-5, "equal: p < 0.001."), (0.0123, "equal: p = 0.012."), (0.05, "equal: p = 0.050. So no single difference")],
)
def test_the_note_says_what_the_omnibus_test_found(p_omnibus, words):
    assert words in omnibus_note(p_omnibus)


def test_omnibus_needs_three_arms_two_seeds_and_a_difference():
    assert math.isnan(omnibus([OURS, THEIRS]))
    assert math.isnan(omnibus([OURS[:1], THEIRS[:1], OURS[:1]]))
    assert math.isnan(omnibus([OURS, OURS, OURS]))


def test_pairs_for_equivalence_have_the_power():
    pairs = pairs_for_equivalence(0.66, 0.2, 0.9)
    assert pairs == pytest.approx(120, abs=1)
    drawn = np.random.default_rng(0).normal(0, 0.66, (4000, pairs))
    half = scipy.stats.t.ppf(0.95, pairs - 1) * drawn.std(axis=1, ddof=1) / math.sqrt(pairs)
    assert np.mean(np.abs(drawn.mean(axis=1)) + half < 0.2) == pytest.approx(0.9, abs=0.02)
