"""Test whether two arms differ or are equivalent, and find how small a difference a comparison can detect.

A difference that is not significant does not prove that two arms are equal. Equivalence is a separate claim: the true
difference lies within a stated margin. Two one-sided tests (TOST) check it, one against each end of the margin.
All errors are in percent, all differences and margins in percentage points.

References:
  Schuirmann 1987, J. Pharmacokinet. Biopharm. 15, 657-680.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
import scipy.stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import ttost_paired

from train.report.statistics import RESOLUTION, Estimate, estimate
from train.report.tables import p_in_words

ALPHA = 0.05
POWER = 0.8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contrast:
    """The errors of one arm minus those of another, paired by seed.

    P-values, `smallest_margin` and `detectable` are nan if there are fewer than two pairs or all differences are equal.

    Attributes:
      name: The arm.
      against: The other arm.
      difference: `name` minus `against`, with its 95 % interval.
      margin: The margin of equivalence.
      p_different: p-value of the two-sided paired t-test for a difference, after Holm's correction.
      p_equivalent: p-value of the two one-sided paired t-tests for equivalence, after Holm's correction.
      smallest_margin: The smallest margin for which an uncorrected test at the 5 % level would show equivalence. It is
        the end of the 90 % interval that is farther from zero.
      detectable: The smallest true difference that an uncorrected two-sided paired t-test at the 5 % level detects with
        a power of 80 %, given this number of pairs and this standard deviation.
    """

    name: str
    against: str
    difference: Estimate
    margin: float
    p_different: float
    p_equivalent: float
    smallest_margin: float
    detectable: float

    def verdict(self, p_omnibus: float) -> str:
        """Put the result of the two corrected tests in one or two words.

        Args:
          p_omnibus: p-value of the test that all arms are equal. If it is 0.05 or more, no difference counts as found.
            If it is nan because that test was not possible, the two corrected tests decide alone.
        """
        different = self.p_different < ALPHA and not p_omnibus >= ALPHA
        return conclude(different, self.p_equivalent < ALPHA, self.difference.mean)


def conclude(different: bool, equivalent: bool, mean: float) -> str:
    """Put a result in one or two words, as the table "What counts as what" of docs/preregistration.md defines them.

    Args:
      different: Whether the arms differ significantly.
      equivalent: Whether they are shown to be equivalent.
      mean: Mean difference of the errors, negative if the first arm is better.
    """
    if equivalent:
        return "equivalent, not equal" if different else "equivalent"
    if different:
        return "better" if mean < 0 else "worse"
    return "undecided"


def contrasts(
    pairs: Sequence[tuple[str, str]], errors: Mapping[str, np.ndarray], margin: float
) -> tuple[Contrast, ...]:
    """Compare some arms with others.

    Holm's correction is applied to all tests of difference together, and separately to all tests of equivalence.

    Args:
      pairs: Names of an arm and of the arm to compare it with.
      errors: Maps the name of an arm to the errors of its runs in percent, [seeds]. All arms have the same seeds in the
        same order.
      margin: Margin of equivalence in percentage points: arms are equivalent if they differ by less.

    Raises:
      ValueError: If two arms have different numbers of seeds, or the margin is not positive.
    """
    if not margin > 0:
        raise ValueError(f"margin must be positive, got {margin}.")
    sizes = {name: len(errors[name]) for pair in pairs for name in pair}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"all arms must have the same seeds, got these numbers of seeds: {sizes}.")
    tests = [_tests(np.asarray(errors[name]), np.asarray(errors[against]), margin) for name, against in pairs]
    different, equivalent = (_holm(np.array(p_values)) for p_values in zip(*tests, strict=True))
    found = []
    for (name, against), p_different, p_equivalent in zip(pairs, different, equivalent, strict=True):
        difference = estimate(np.subtract(errors[name], errors[against]).tolist())
        contrast = Contrast(
            name=name,
            against=against,
            difference=difference,
            margin=margin,
            p_different=float(p_different),
            p_equivalent=float(p_equivalent),
            smallest_margin=_smallest_margin(difference),
            detectable=_detectable(difference),
        )
        found.append(contrast)
    return tuple(found)


def omnibus(errors: Sequence[np.ndarray]) -> float:
    """Test whether any of several arms differs, before they are compared one by one.

    This is Friedman's test. It ranks the arms within each seed.

    Args:
      errors: The errors of each arm, an array [seeds]. All arms have the same seeds in the same order.

    Returns:
      The p-value. It is nan with fewer than three arms or two seeds, or if all arms are equal for every seed.
    """
    table = np.array(errors)
    if len(table) < 3 or table.shape[1] < 2 or np.all(np.ptp(table, axis=0) <= RESOLUTION):
        return math.nan
    return float(scipy.stats.friedmanchisquare(*table).pvalue)


def omnibus_note(p_omnibus: float) -> str:
    """Write the sentences about Friedman's test for the note under a table of contrasts."""
    if math.isnan(p_omnibus):
        return "Friedman's test that all arms are equal is not possible here."
    sentence = f"Friedman's test that all arms are equal: {p_in_words(p_omnibus)}."
    return f"{sentence} So no single difference counts as found." if p_omnibus >= ALPHA else sentence


def pairs_for_equivalence(deviation: float, margin: float, power: float = POWER) -> int:
    """Find how many pairs a test of equivalence at the 5 % level needs to reach a given power for two equal arms.

    Args:
      deviation: Standard deviation of the paired differences, from a pilot study.
      margin: Margin of equivalence.
      power: Probability that the test shows equivalence.

    Returns:
      The smallest number of pairs.
    """
    # If the arms are equal, each of the two one-sided tests accounts for half of the failures to show equivalence.
    pairs = TTestPower().solve_power(
        effect_size=margin / deviation, alpha=ALPHA, power=(1 + power) / 2, alternative="larger"
    )
    return math.ceil(pairs)


def _tests(ours: np.ndarray, theirs: np.ndarray, margin: float) -> tuple[float, float]:
    """The uncorrected p-values of the paired tests for a difference and for equivalence."""
    if ours.size < 2 or np.ptp(ours - theirs) <= RESOLUTION:
        return math.nan, math.nan
    return float(scipy.stats.ttest_rel(ours, theirs).pvalue), float(ttost_paired(ours, theirs, -margin, margin)[0])


def _holm(p_values: np.ndarray) -> np.ndarray:
    """Apply Holm's correction to all p-values that are not nan."""
    corrected = np.full_like(p_values, math.nan)
    tested = np.isfinite(p_values)
    if tested.any():
        corrected[tested] = multipletests(p_values[tested], method="holm")[1]
    return corrected


def _smallest_margin(difference: Estimate) -> float:
    if not math.isfinite(difference.interval[0]):
        return math.nan
    pairs = len(difference.values)
    scale = difference.deviation / math.sqrt(pairs)
    interval = scipy.stats.t.interval(1 - 2 * ALPHA, pairs - 1, loc=difference.mean, scale=scale)
    return float(np.max(np.abs(interval)))


def _detectable(difference: Estimate) -> float:
    if not math.isfinite(difference.interval[0]):
        return math.nan
    power = TTestPower()
    return difference.deviation * float(power.solve_power(nobs=len(difference.values), alpha=ALPHA, power=POWER))
