"""Compute statistics over seeds for the arms of a group, from their records.

Final and best test errors are never mixed: every comparison uses final errors. All errors are in percent. All
differences are in percentage points, arm minus baseline, so a negative difference favours the arm.
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
# Percentage points. Errors closer than this count as equal: one test image in a million matters more, and the mean of
# equal floats may differ from them in the last bit.
RESOLUTION = 1e-6


@dataclasses.dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean over seeds and its uncertainty.

    Attributes:
      values: One value per seed.
      mean: Mean of the values; nan if there are none.
      deviation: Standard deviation of the values, with n - 1 in the denominator; nan for fewer than two values.
      interval: 95 % interval of the mean by Student's t. It is nan for fewer than two values, and if all values are
        equal, because an interval of zero width would claim certainty.
    """

    values: tuple[float, ...]
    mean: float
    deviation: float
    interval: tuple[float, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arm:
    """One arm over its seeds.

    Attributes:
      name: Name of the arm.
      records: Its runs, ordered by seed.
      final: Test error after the last epoch.
      best: Lowest test error of any epoch, selected on the test set.
      reached: For each run, the number of epochs until its test error was first at or below `target_error`; None if it
        never was.
    """

    name: str
    records: tuple[Record, ...]
    final: Estimate
    best: Estimate
    reached: tuple[int | None, ...]

    @property
    def median_reached(self) -> float:
        """Median of `reached`; infinite if half the runs or more never reached the target.

        Runs that never reached it are censored at the end of training, later than all others, so this is the
        Kaplan-Meier median.
        """
        epochs = [math.inf if epoch is None else epoch for epoch in self.reached]
        return float(np.median(epochs))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """A comparison of the final errors of two arms, paired by seed.

    Attributes:
      name: The arm.
      against: The other arm.
      seeds: The seeds that both have, in order.
      difference: `name` minus `against`.
      p_value: p-value of the two-sided paired t-test. It is nan for fewer than two pairs, and if all differences are
        equal, because they then have no spread to test against.
      p_holm: The p-value after Holm's correction for all tests made together.
    """

    name: str
    against: str
    seeds: tuple[int, ...]
    difference: Estimate
    p_value: float
    p_holm: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Group:
    """The statistics of a group of arms.

    Attributes:
      name: Name of the group.
      baseline: Full name of the arm that the others are compared with; None if it has no runs.
      target: The error that `Arm.reached` counts the epochs to; nan without a baseline.
      arms: The arms: the baseline first, the others sorted by name.
      comparisons: Each other arm minus the baseline; empty without a baseline.
      controlled: Each LCAM arm minus each of its controls in the group.
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
    """Compute mean, standard deviation and 95 % interval of the values of several seeds."""
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
    """Compare the final errors of pairs of arms, paired by seed.

    Holm's correction counts only tests that are possible. An arm with a single seed has a difference but no test.
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
    """Compute the statistics of the finished runs of one group.

    Args:
      records: All finished runs of the group.
      baseline: Name, within the group, of the arm to compare with.

    Raises:
      ValueError: If there are no records, or records of several groups.
    """
    groups = {record.group for record in records}
    if len(groups) != 1:
        raise ValueError(f"expected records of one group, got records of {sorted(groups)}")
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
    """The error that a run has to reach: the baseline's mean final error plus twice its standard deviation over seeds.

    The mean alone would not be a fair target, because about half of the baseline's own runs end above it. About 98 % of
    them end at or below this target. If the baseline has a single run, the target is the error of that run.
    """
    allowance = 2 * baseline.deviation
    return baseline.mean + (allowance if math.isfinite(allowance) else 0.0)


def _controlled(group: str, arms: Sequence[Arm]) -> list[tuple[Arm, Arm]]:
    """Pair each LCAM arm with each of its controls in the group."""
    by_name = {arm.name: arm for arm in arms}
    followed = [(f"{group}/{_controls(control)}", control) for control in arms]
    return [(by_name[name], control) for name, control in followed if name in by_name]


def _controls(control: Arm) -> str:
    """Name of the arm that this arm is a control for, from its settings or its name; empty if it is not a control."""
    kind, _, momenta = control.name.rpartition("/")[2].partition("-")
    # A `rising` arm, or a `random` arm with its own probability, has no setting that names the LCAM arm.
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
    """Count the epochs until a run reached the target; None if it never did."""
    errors = (epoch.test_error for epoch in record.history)
    hits = (count for count, error in enumerate(errors, 1) if error <= target + RESOLUTION)
    return next(hits, None)


def _pair(arm: Arm, other: Arm) -> tuple[tuple[int, ...], tuple[np.ndarray, np.ndarray]]:
    """Return the seeds that both arms have, and the final errors of both arms for these seeds."""
    finals = [{record.seed: record.final_test_error for record in side.records} for side in (arm, other)]
    seeds = tuple(sorted(finals[0].keys() & finals[1].keys()))
    ours, theirs = (np.array([final[seed] for seed in seeds]) for final in finals)
    return seeds, (ours, theirs)


def _paired_test(ours: np.ndarray, theirs: np.ndarray) -> float:
    if not _varies(ours - theirs):
        return math.nan
    return float(scipy.stats.ttest_rel(ours, theirs).pvalue)


def _varies(values: np.ndarray) -> bool:
    """Whether two values differ by more than rounding; False if any is nan."""
    return values.size > 1 and bool(np.ptp(values) > RESOLUTION)
