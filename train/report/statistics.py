"""What several seeds say about the arms of a group, computed from their records alone.

Final and best test error are never mixed: every comparison is of final errors. All errors are in
percent, all differences in percentage points, arm minus baseline, so that a negative one favours
the arm.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import scipy.stats
from statsmodels.stats.multitest import multipletests

from train.records import Record

BASELINE = "sgd-0.9"
LEVEL = 0.95
# Percentage points. Errors closer than this are equal: one test image of a million weighs more, and
# the mean of equal floats may differ from them in the last bit.
RESOLUTION = 1e-6


@dataclasses.dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean over seeds and how well it is known.

    Attributes:
      values: one for each seed.
      mean: their mean; nan without values.
      deviation: their standard deviation, n - 1 in the denominator; nan for fewer than two.
      interval: the 95 % interval of the mean by Student's t; nan for fewer than two values, and
        where all are equal, because a width of zero would claim a certainty that nobody has.
    """

    values: tuple[float, ...]
    mean: float
    deviation: float
    interval: tuple[float, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arm:
    """One arm over its seeds.

    Attributes:
      name: the arm.
      records: its runs, ordered by seed.
      final: test error after the last epoch.
      best: lowest test error of any epoch, selected on the test set.
      reached: for each run the number of epochs after which its test error was first at or below
        the target that `target_error` sets; None where it never was.
    """

    name: str
    records: tuple[Record, ...]
    final: Estimate
    best: Estimate
    reached: tuple[int | None, ...]

    @property
    def median_reached(self) -> float:
        """Median of `reached`; infinite where half the runs or more never got there.

        Runs that never got there are censored at the end of training, later than all others, so
        this is the Kaplan-Meier median.
        """
        epochs = [math.inf if epoch is None else epoch for epoch in self.reached]
        return float(np.median(epochs))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """The final errors of one arm against those of another, paired by seed.

    Attributes:
      name: the arm.
      against: the other arm.
      seeds: those that both have, in order.
      difference: arm minus the other.
      p_value: of the two-sided paired t-test; nan for fewer than two pairs and for equal
        differences, where there is no spread to test against.
      p_holm: the same after Holm's correction for all tests made together.
    """

    name: str
    against: str
    seeds: tuple[int, ...]
    difference: Estimate
    p_value: float
    p_holm: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Group:
    """A group of arms, analysed.

    Attributes:
      name: the group.
      baseline: the full name of the arm that the others are held against; None if it has no runs.
      target: the error that `Arm.reached` counts the epochs to; nan without a baseline.
      arms: the baseline first, the others by name.
      comparisons: one for each other arm with the baseline; none without one.
      controlled: one for each control of an LCAM arm in the group: that arm against it.
    """

    name: str
    baseline: str | None
    target: float
    arms: tuple[Arm, ...]
    comparisons: tuple[Comparison, ...]
    controlled: tuple[Comparison, ...]

    def short(self, name: str) -> str:
        """The name of an arm within the group."""
        return name.removeprefix(f"{self.name}/")


def estimate(values: Sequence[float]) -> Estimate:
    """Mean, standard deviation and 95 % interval of the values of several seeds."""
    array = np.asarray(values, np.float64)
    mean, deviation, interval = math.nan, math.nan, (math.nan, math.nan)
    if array.size:
        mean = float(array.mean())
    if array.size > 1:
        deviation = float(array.std(ddof=1))
    if _varies(array):
        low, high = scipy.stats.t.interval(LEVEL, array.size - 1, loc=mean, scale=scipy.stats.sem(array))
        interval = float(low), float(high)
    return Estimate(values=tuple(array.tolist()), mean=mean, deviation=deviation, interval=interval)


def compare(arms: Sequence[tuple[Arm, Arm]]) -> tuple[Comparison, ...]:
    """Paired comparisons of the final errors of some arms, each with those of another.

    Holm's correction counts the tests that could be made: an arm with a single seed is shown with
    its difference, but is no test.
    """
    pairs = [_pair(arm, other) for arm, other in arms]
    p_values = np.array([_paired_test(*finals) for _, finals in pairs])
    p_holm = np.full_like(p_values, math.nan)
    tested = np.isfinite(p_values)
    if tested.any():
        p_holm[tested] = multipletests(p_values[tested], method="holm")[1]
    return tuple(
        Comparison(
            name=arm.name,
            against=other.name,
            seeds=seeds,
            difference=estimate(finals[0] - finals[1]),
            p_value=float(p_value),
            p_holm=float(corrected),
        )
        for (arm, other), (seeds, finals), p_value, corrected in zip(arms, pairs, p_values, p_holm, strict=True)
    )


def analyse(records: Sequence[Record], baseline: str = BASELINE) -> Group:
    """Analyses the finished runs of one group.

    Args:
      records: all of one group.
      baseline: the arm to compare with, by its name within the group.

    Raises:
      ValueError: if the records are none, or of several groups.
    """
    groups = {record.group for record in records}
    if len(groups) != 1:
        raise ValueError(f"records of one group expected, got those of {sorted(groups)}")
    (group,) = groups
    baseline = f"{group}/{baseline}"
    # False sorts first: the baseline leads.
    names = sorted({record.name for record in records}, key=lambda name: (name != baseline, name))
    runs = {name: sorted((r for r in records if r.name == name), key=lambda record: record.seed) for name in names}
    target = target_error(estimate([record.final_test_error for record in runs.get(baseline, [])]))
    arms = tuple(_arm(name, runs[name], target) for name in names)
    found = baseline in runs
    return Group(
        name=group,
        baseline=baseline if found else None,
        target=target,
        arms=arms,
        comparisons=compare([(arm, arms[0]) for arm in arms[1:]]) if found else (),
        controlled=compare(_controlled(group, arms)),
    )


def target_error(baseline: Estimate) -> float:
    """The error that counts as the baseline's: its mean final error plus twice its standard deviation over seeds.

    The mean alone would be no fair target: about half of the baseline's own runs end above it, whatever they learned.
    About 98 % of such runs end at or below this one. Of a single run it is that run's error.
    """
    allowance = 2 * baseline.deviation
    return baseline.mean + (allowance if math.isfinite(allowance) else 0.0)


def _controlled(group: str, arms: Sequence[Arm]) -> list[tuple[Arm, Arm]]:
    """The LCAM arms, each with such of its controls as the group has."""
    by_name = {arm.name: arm for arm in arms}
    followed = [(f"{group}/{_controls(control)}", control) for control in arms]
    return [(by_name[name], control) for name, control in followed if name in by_name]


def _controls(control: Arm) -> str:
    """The arm whose control an arm is, by its settings or its name; empty for other arms."""
    kind, _, momenta = control.name.rpartition("/")[2].partition("-")
    # Neither `rising` nor a `random` with a chance of its own follows a run.
    own = f"lcam-{momenta}" if kind in ("rising", "random") else ""
    return control.records[0].config.get("follows") or own


def _arm(name: str, records: Sequence[Record], target: float) -> Arm:
    return Arm(
        name=name,
        records=tuple(records),
        final=estimate([record.final_test_error for record in records]),
        best=estimate([record.best_test_error for record in records]),
        reached=tuple(_epochs_to(record, target) for record in records),
    )


def _epochs_to(record: Record, target: float) -> int | None:
    """How many epochs it took to get to the target; None if all were too few."""
    errors = (epoch.test_error for epoch in record.history)
    hits = (count for count, error in enumerate(errors, 1) if error <= target + RESOLUTION)
    return next(hits, None)


def _pair(arm: Arm, other: Arm) -> tuple[tuple[int, ...], tuple[np.ndarray, np.ndarray]]:
    """The seeds that both arms have, and the final errors of both at these seeds."""
    finals = [{record.seed: record.final_test_error for record in side.records} for side in (arm, other)]
    seeds = tuple(sorted(finals[0].keys() & finals[1].keys()))
    ours, theirs = (np.array([final[seed] for seed in seeds]) for final in finals)
    return seeds, (ours, theirs)


def _paired_test(ours: np.ndarray, theirs: np.ndarray) -> float:
    if not _varies(ours - theirs):
        return math.nan
    return float(scipy.stats.ttest_rel(ours, theirs).pvalue)


def _varies(values: np.ndarray) -> bool:
    """Whether there are two values that differ by more than rounding; False if any is nan."""
    return values.size > 1 and bool(np.ptp(values) > RESOLUTION)
