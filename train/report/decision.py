"""Test whether LCAM differs from arms that ignore the loss, or is equivalent to them. Test the contest's contrasts.

The tests and the verdicts are those of docs/preregistration.md. All errors are in percent, all differences and margins
in percentage points.
"""

import dataclasses
import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.stats

from train.records import Record
from train.report.equivalence import ALPHA, Contrast, contrasts, omnibus, omnibus_note
from train.report.preregistration import CONTRASTS, MARGINS, SEEDS, primary_contrast
from train.report.statistics import LEVEL, Arm, Group
from train.report.tables import Table, interval, number, probability

# If the errors of two arms correlate less than this over seeds, pairing gains little.
_CORRELATED = 0.1
_NOT_FINITE = 100.0
_KINDS = ("yoked", "schedule", "random", "constant", "rising")  # the primary contrast first


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pairing:
    """How much one contrast gains by pairing seeds.

    Attributes:
      correlation: Correlation of the two arms' errors over seeds; nan if an arm does not vary.
      pooled: A secondary 95 % interval of the difference, from the residuals of all arms after subtracting the means of
        seeds and arms. None if the correlation is at least 0.1 or unknown.
    """

    correlation: float
    pooled: tuple[float, float] | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decision:
    """The preregistered contrasts of a group: LCAM minus its controls and SGD, or those of the contest.

    Attributes:
      group: Name of the group.
      seeds: The seeds that all arms have.
      p_omnibus: p-value of Friedman's test that all arms are equal; nan if the test is not possible.
      contrasts: One arm minus another, with short names.
      pairings: One per contrast.
      not_finite: Maps the short name of an arm to the number of its runs that were not finite, which count as 100 %.
      primary: The two arms of the primary contrast; None if the group has none, or if it cannot be known.
    """

    group: str
    seeds: tuple[int, ...]
    p_omnibus: float
    contrasts: tuple[Contrast, ...]
    pairings: tuple[Pairing, ...]
    not_finite: Mapping[str, int]
    primary: tuple[str, str] | None

    @property
    def preregistered(self) -> bool:
        """Whether these are the tests of docs/preregistration.md, with its seeds and its margin, which alone decide."""
        margin = self.contrasts[0].margin
        return margin == MARGINS.get(self.group) and self.seeds == tuple(SEEDS[self.group])

    def verdict(self, contrast: Contrast) -> str:
        """The verdict on one contrast. It is never a difference if the omnibus test finds none."""
        return contrast.verdict(self.p_omnibus)

    def numbers(self) -> dict[str, Any]:
        """The decision as values for JSON."""
        rows = [
            dataclasses.asdict(contrast) | dataclasses.asdict(pairing) | {"verdict": self.verdict(contrast)}
            for contrast, pairing in zip(self.contrasts, self.pairings, strict=True)
        ]
        fields = {"group": self.group, "seeds": self.seeds, "p_omnibus": self.p_omnibus, "not_finite": self.not_finite}
        return fields | {"primary": self.primary, "contrasts": rows}


def decide(group: Group, margin: float | None = None) -> Decision | None:
    """Test the contrasts of a group.

    An arm `lcam-A-B` is compared with the controls `yoked-A-B`, `schedule-A-B` and so on, and with each `sgd-*`.
    `contest-cifar10` has the contrasts of docs/preregistration.md, once all its arms have runs.

    Args:
      group: The analysed group.
      margin: The margin of equivalence; by default the preregistered margin of the group.

    Returns:
      The tests and verdicts, or None if the group has no margin or no LCAM arm with a control.
    """
    margin = MARGINS.get(group.name) if margin is None else margin
    arms = {group.short(arm.name): arm for arm in group.arms}
    pairs = _pairs(group.name, list(arms))
    if margin is None or not pairs:
        return None
    names = list(dict.fromkeys(name for pair in pairs for name in pair))
    seeds = sorted(set.intersection(*({record.seed for record in arms[name].records} for name in names)))
    errors = {name: _errors(arms[name], seeds) for name in names}
    table = np.array(list(errors.values()))
    return Decision(
        group=group.name,
        seeds=tuple(seeds),
        p_omnibus=omnibus(list(table)),
        contrasts=contrasts(pairs, errors, margin),
        pairings=tuple(_pairing(errors[name], errors[against], table) for name, against in pairs),
        not_finite={name: sum(not _finite(record) for record in arms[name].records) for name in names},
        primary=primary_contrast(group.name, pairs, arms),
    )


def decision_table(decision: Decision) -> Table:
    """Make a table with one row per contrast and its tests."""
    several = len({contrast.name for contrast in decision.contrasts}) > 1
    rows = [
        (
            f"{contrast.name} minus {contrast.against}" if several else f"minus {contrast.against}",
            number(contrast.difference.mean, "+.2f"),
            interval(contrast.difference.interval, "+.2f"),
            probability(contrast.p_different),
            probability(contrast.p_equivalent),
            number(contrast.smallest_margin),
            number(contrast.detectable),
            decision.verdict(contrast),
            number(pairing.correlation, "+.2f"),
            "" if pairing.pooled is None else interval(pairing.pooled, "+.2f"),
        )
        for contrast, pairing in zip(decision.contrasts, decision.pairings, strict=True)
    ]
    return Table(
        title=_title(decision),
        columns=(
            *("Arm" if several else "LCAM", "Difference", "95 % interval", "p different", "p equivalent"),
            *("Smallest margin", "Detectable", "Verdict", "Correlation", "Pooled"),
        ),
        rows=rows,
        note=_note(decision),
    )


def verdict_table(decision: Decision) -> Table:
    """Make the part of `decision_table` that fits into a terminal."""
    whole = decision_table(decision)
    shown = [whole.columns.index(column) for column in (whole.columns[0], "Difference", "95 % interval", "Verdict")]
    return Table(
        title=whole.title,
        columns=[whole.columns[index] for index in shown],
        rows=[[row[index] for index in shown] for row in whole.rows],
        note=(
            "Paired by seed; negative: the first is better. Verdict: paired tests with a margin of "
            f"±{decision.contrasts[0].margin:g} points, corrected by Holm for the {len(whole.rows)} contrasts. "
            f"{omnibus_note(decision.p_omnibus)} Intervals are uncorrected. report.md has all tests."
        ),
    )


def _title(decision: Decision) -> str:
    ours = ", ".join(dict.fromkeys(contrast.name for contrast in decision.contrasts))
    others = "other arms" if decision.group in CONTRASTS else "arms without the loss"
    return f"{decision.group}: {ours} and {others}, {len(decision.seeds)} pairs (percentage points)"


def _note(decision: Decision) -> str:
    margin = decision.contrasts[0].margin
    note = (
        "Paired by seed; negative: the first is better. p different: paired t-test. p equivalent: two one-sided paired "
        f"t-tests with a margin of ±{margin:g} points. Both are corrected by Holm for the {len(decision.contrasts)} "
        f"contrasts, and give the verdict at the level {ALPHA:g}. {omnibus_note(decision.p_omnibus)}"
    )
    note += (
        " Uncorrected: intervals, the smallest margin that would pass, and the smallest true difference found with "
        "80 % power. Pooled (secondary): the interval from the residuals of all arms, where the correlation of two "
        f"arms over seeds is below {_CORRELATED:g}."
    )
    if decision.primary is not None:
        note += f" Primary contrast: {' minus '.join(decision.primary)}."
    for name, count in decision.not_finite.items():
        if count:
            note += f" {name}: {count} runs were not finite and count as 100 %."
    return note


def _pairs(group: str, names: list[str]) -> list[tuple[str, str]]:
    """List the contrasts of a group that has these arms.

    The list is empty if the group has no contrasts. It is also empty if `CONTRASTS` names an arm that is not there.
    """
    if group in CONTRASTS:
        return [pair for pair in CONTRASTS[group] if {*itertools.chain(*CONTRASTS[group])} <= set(names)]
    pairs = []
    for name in names:
        momenta = name.removeprefix("lcam-")
        others = [other for kind in _KINDS if (other := f"{kind}-{momenta}") in names] if momenta != name else []
        if others:
            pairs += [(name, other) for other in (*others, *(sgd for sgd in names if sgd.startswith("sgd-")))]
    return pairs


def _errors(arm: Arm, seeds: list[int]) -> np.ndarray:
    found = {record.seed: record for record in arm.records}
    return np.array([found[seed].final_test_error if _finite(found[seed]) else _NOT_FINITE for seed in seeds])


def _finite(record: Record) -> bool:
    last = record.history[-1]
    losses = [row.train_loss for row in record.history]
    return not record.skipped_steps and all(map(math.isfinite, (*losses, last.test_loss, last.test_error)))


def _pairing(ours: np.ndarray, theirs: np.ndarray, table: np.ndarray) -> Pairing:
    varies = len(ours) > 1 and np.ptp(ours) > 0 and np.ptp(theirs) > 0
    correlation = float(np.corrcoef(ours, theirs)[0, 1]) if varies else math.nan
    if not correlation < _CORRELATED:
        return Pairing(correlation=correlation, pooled=None)
    arms, seeds = table.shape
    residuals = table - table.mean(axis=0) - table.mean(axis=1, keepdims=True) + table.mean()
    freedom = (arms - 1) * (seeds - 1)
    scale = math.sqrt(2 * float(np.sum(residuals**2)) / freedom / seeds)
    low, high = scipy.stats.t.interval(LEVEL, freedom, loc=float(np.mean(ours - theirs)), scale=scale)
    return Pairing(correlation=correlation, pooled=(float(low), float(high)))
