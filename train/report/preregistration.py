"""What docs/preregistration.md fixes: margins, seeds and contrasts, and when its runs may be looked at."""

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from train.experiments import find
from train.records import Record, find_trials, root_of
from train.report.statistics import Arm

# The margins of equivalence that docs/preregistration.md fixes, by group.
MARGINS: Mapping[str, float] = {
    "decision-digits": 0.2,
    "decision-cifar10": 0.2,
    "contest-cifar10": 0.2,
    "contest-cosine": 0.2,
}
# The seeds that docs/preregistration.md fixes, by group. Every arm has all of them. `decision-cifar10` was planned with
# 120 seeds and ended early, with 80: docs/decision.md says why.
SEEDS: Mapping[str, range] = {
    "decision-digits": range(10000, 10150),
    "decision-cifar10": range(10020, 10100),
    "contest-cifar10": range(10200, 10240),
    "contest-cosine": range(10300, 10340),
}
_LCAM, _RISING = "lcam-0.9-0.95", "rising-0.9-0.95"
_TUNED_SGD = ("sgd-0.9", "sgd-0.95", "nesterov-0.9", "cosine-sgd-0.9")
# The contrasts of groups that compare more than LCAM with its controls and with SGD.
CONTRASTS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "contest-cifar10": (
        *((ours, sgd) for ours in (_LCAM, _RISING) for sgd in _TUNED_SGD),
        (_LCAM, _RISING),
    ),
    "contest-cosine": ((_LCAM, "sgd-0.9"),),
}


def preregistered(runs: Iterable[Record]) -> list[Record] | None:
    """Select the preregistered runs of a group.

    Returns:
      The runs, or None until all of them have ended: nobody may look at them before.
    """
    runs = list(runs)
    group = runs[0].group
    expected = {(arm.name, seed) for arm in find(group) for seed in SEEDS[group]}
    kept = [run for run in runs if run.finished and (run.name, run.seed) in expected]
    return kept if len(kept) == len(expected) else None


def admit(runs: Sequence[Record]) -> tuple[list[Record], str | None]:
    """Select the runs of a group that may be analysed.

    Nobody looks at results of a preregistered section before all its runs have ended. Then its own seeds alone count.

    Returns:
      The runs, and a sentence about those that are left out; None if there are none.
    """
    group = runs[0].group
    seeds = SEEDS.get(group, range(0))
    ended = sum(run.seed in seeds for run in runs)
    if not ended:
        return [*runs], None
    kept = preregistered(runs)
    if kept is None:
        planned = len(find(group)) * len(seeds)
        return [], f"{group}: {ended} of {planned} preregistered runs have ended. Nothing is compared before all have."
    others = len(runs) - len(kept)
    return kept, f"{group}: {others} runs that are not preregistered" if others else None


def primary_contrast(group: str, pairs: list[tuple[str, str]], arms: Mapping[str, Arm]) -> tuple[str, str] | None:
    """The primary contrast. In the contest, it is rising minus the SGD arm with the lowest error in its tuning."""
    if group not in MARGINS:
        return None
    if group not in CONTRASTS:
        return pairs[0] if pairs[0][1].startswith("yoked-") else None
    if len(CONTRASTS[group]) == 1:
        return CONTRASTS[group][0]
    held_out = {name: _held_out_error(arms[name]) for name in _TUNED_SGD}
    if not all(map(math.isfinite, held_out.values())):
        return None
    return _RISING, min(held_out, key=lambda name: held_out[name])


def _held_out_error(arm: Arm) -> float:
    """The lowest mean error of an arm's trials on held-out images; nan if the trials are not there."""
    root = root_of(arm.records[0])
    document = None if root is None else find_trials(root, arm.name)
    if document is None:
        return math.nan
    return min(float(np.mean(trial["error"])) for trial in document["trials"])
