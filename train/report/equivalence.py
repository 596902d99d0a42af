"""Whether two arms differ, whether they are equivalent, and how small a difference a comparison can show.

A difference that is not significant does not say that two arms are equal. Equivalence is a claim of its own: the true
difference lies within a stated margin. It is tested by two one-sided tests (TOST), each against one end of the margin.
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
from train.report.tables import probability

ALPHA = 0.05
POWER = 0.8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contrast:
    """The errors of one arm minus those of another, paired by seed.

    P-values, `smallest_margin` and `detectable` are nan for fewer than two pairs and for equal differences.

    Attributes:
      name: The arm.
      against: The other arm.
      difference: `name` minus `against`, with its 95 % interval.
      margin: The margin of equivalence.
      p_different: Of the two-sided paired t-test of no difference, after Holm's correction.
      p_equivalent: Of the two one-sided paired t-tests of a difference beyond the margin, after Holm's correction.
      smallest_margin: The smallest margin that an uncorrected test of equivalence would pass at the 5 % level: the
        farther end of the 90 % interval.
      detectable: The smallest true difference that an uncorrected two-sided paired t-test at the 5 % level finds with
        a power of 80 %, given as many pairs and this standard deviation.
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
        """What the two corrected tests say, in one or two words.

        Args:
          p_omnibus: Of the test that all arms are equal. At 0.05 or more no difference counts as found. It is nan where
            the test cannot be made; then the two corrected tests decide alone.
        """
        different = self.p_different < ALPHA and not p_omnibus >= ALPHA
        return conclude(different, self.p_equivalent < ALPHA, self.difference.mean)


def conclude(different: bool, equivalent: bool, mean: float) -> str:
    """Say in one or two words what was shown, by the table "What counts as what" of docs/preregistration.md.

    Args:
      different: Whether a difference was shown.
      equivalent: Whether equivalence was shown.
      mean: The difference of the errors; negative if the first arm is better.
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

    Holm's correction covers all the tests of difference, and separately all the tests of equivalence.

    Args:
      pairs: The name of an arm, and of the arm that it is compared with.
      errors: The error of each run in percent by the name of the arm, [seeds]; all arms have the same seeds, in the
        same order.
      margin: Differences between `-margin` and `margin` count as equivalence, in percentage points.

    Raises:
      ValueError: If two arms have different numbers of seeds, or the margin is not positive.
    """
    if not margin > 0:
        raise ValueError(f"margin must be positive, got {margin}.")
    sizes = {name: len(errors[name]) for pair in pairs for name in pair}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"all arms must have the same seeds, got as many each: {sizes}.")
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

    Friedman's test: seeds are blocks, and arms are ranked within each seed.

    Args:
      errors: The error of each run, an array [seeds] per arm; all arms have the same seeds, in the same order.

    Returns:
      The p-value; nan for fewer than three arms, fewer than two seeds, and where all arms are equal at every seed.
    """
    table = np.array(errors)
    if len(table) < 3 or table.shape[1] < 2 or np.all(np.ptp(table, axis=0) <= RESOLUTION):
        return math.nan
    return float(scipy.stats.friedmanchisquare(*table).pvalue)


def omnibus_note(p_omnibus: float) -> str:
    """The sentences about Friedman's test under a table of contrasts."""
    if math.isnan(p_omnibus):
        return "Friedman's test that all arms are equal cannot be made."
    sentence = f"Friedman's test that all arms are equal: p {probability(p_omnibus)}."
    return f"{sentence} So no single difference counts as found." if p_omnibus >= ALPHA else sentence


def pairs_for_equivalence(deviation: float, margin: float, power: float = POWER) -> int:
    """Number of pairs with which a test of equivalence at the 5 % level has some power if two arms are equal.

    Args:
      deviation: Standard deviation of the paired differences, from a pilot.
      margin: Of equivalence.
      power: Probability that equivalence is shown.

    Returns:
      The smallest such number.
    """
    # With equal arms each of the two one-sided tests fails in half of the cases in which equivalence is not shown.
    pairs = TTestPower().solve_power(
        effect_size=margin / deviation, alpha=ALPHA, power=(1 + power) / 2, alternative="larger"
    )
    return math.ceil(pairs)


def _tests(ours: np.ndarray, theirs: np.ndarray, margin: float) -> tuple[float, float]:
    """The p-values of no difference and of a difference beyond the margin, both paired and uncorrected."""
    if ours.size < 2 or np.ptp(ours - theirs) <= RESOLUTION:
        return math.nan, math.nan
    return float(scipy.stats.ttest_rel(ours, theirs).pvalue), float(ttost_paired(ours, theirs, -margin, margin)[0])


def _holm(p_values: np.ndarray) -> np.ndarray:
    """Holm's correction for all the tests that could be made."""
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
