"""Say in a few sentences what the runs of a group show."""

import math
from collections.abc import Sequence

from train.report.decision import Decision
from train.report.preregistration import CONTRASTS
from train.report.statistics import LEVEL, Comparison, Group
from train.report.tables import interval

# If more arms than this show no difference, they are counted and not listed.
_MOST_LISTED = 4


def verdict(group: Group, decision: Decision | None = None) -> str:
    """Say whether the arms of a group differ from the baseline, and LCAM from its controls, and by how much.

    An arm differs if the p-value of its paired t-test is below 0.05 after Holm's correction. Otherwise these runs show
    no difference, which does not mean that there is none.

    Args:
      group: The statistics of the group.
      decision: The tests of docs/preregistration.md, if the group has a margin. They alone decide about a preregistered
        group, and in other groups between LCAM and its controls.
    """
    if decision is not None and decision.preregistered:
        return f"{group.name}: {_decided(decision)}"
    against_controls = _decided(decision) if decision is not None else _controls(group)
    return " ".join([_against_baseline(group), *([against_controls] if against_controls else [])])


def _against_baseline(group: Group) -> str:
    if group.baseline is None:
        arms = ", ".join(group.short(arm.name) for arm in group.arms)
        return (
            f"{group.name}: nothing is compared, because the baseline has no finished run. These arms have some, and "
            f"could be the --baseline: {arms}."
        )
    if not group.comparisons:
        only = group.short(group.baseline)
        return (
            f"{group.name}: nothing is compared, because only {only} has finished runs. Run another arm with the same "
            f"options; python -m train list {group.name} shows them."
        )
    baseline = group.short(group.baseline)
    tested = [comparison for comparison in group.comparisons if math.isfinite(comparison.p_holm)]
    if not tested:
        return f"{group.name}: {_why_untested(group, baseline)}"
    different = [comparison for comparison in tested if comparison.p_holm < 1 - LEVEL]
    alike = [comparison for comparison in tested if comparison not in different]
    sentences = [_difference(group, comparison, baseline) for comparison in different]
    if alike:
        sentences.append(_no_difference(group, alike, baseline))
    return f"{group.name}: {' '.join(sentences)}"


def _controls(group: Group) -> str:
    """Compare LCAM with its controls; empty if there are none."""
    if not group.controlled:
        return ""
    tested = [each for each in group.controlled if math.isfinite(each.p_holm)]
    if not tested:
        return "LCAM against its controls, which ignore the loss: nothing can be tested with so few seeds."
    said = "LCAM against its controls, which ignore the loss, in percentage points with 95 % intervals: "
    return said + "; ".join(_against_control(group, each) for each in tested) + "."


def _against_control(group: Group, found: Comparison) -> str:
    outcome = "no difference can be seen"
    if found.p_holm < 1 - LEVEL:
        outcome = "better" if found.difference.mean < 0 else "worse"
    return (
        f"{group.short(found.name)} minus {group.short(found.against)} {found.difference.mean:+.2f} "
        f"({interval(found.difference.interval, '+.2f')}), {_seeds([found])}, {outcome}"
    )


def _decided(decision: Decision) -> str:
    """List the verdicts on LCAM minus each of its controls. Preregistered contrasts are listed whole."""
    compared, listed = "LCAM against its controls, which ignore the loss", decision.contrasts
    if decision.preregistered:
        compared = "The preregistered contrasts"
    elif decision.group in CONTRASTS:
        compared = "The contrasts of the preregistration, but with other seeds or another margin"
    else:
        listed = tuple(each for each in listed if not each.against.startswith("sgd-"))
    said = [
        f"{each.name} minus {each.against} {each.difference.mean:+.2f} ({interval(each.difference.interval, '+.2f')}), "
        f"{len(decision.seeds)} seeds, {decision.verdict(each)}"
        for each in listed
    ]
    margin = decision.contrasts[0].margin
    return f"{compared}, with a margin of {margin:g} percentage points and 95 % intervals: {'; '.join(said)}."


def _why_untested(group: Group, baseline: str) -> str:
    if all(len(comparison.seeds) < 2 for comparison in group.comparisons):
        return (
            f"One seed cannot show a difference from {baseline}. Train all arms with several seeds, such as "
            "--seeds 0 1 2 3 4."
        )
    return f"The differences from {baseline} are equal for all seeds, or are not numbers, so nothing can be tested."


def _difference(group: Group, comparison: Comparison, baseline: str) -> str:
    points = comparison.difference.mean
    better = points < 0
    return (
        f"{group.short(comparison.name)} is {'better' if better else 'worse'} than {baseline} with "
        f"{_seeds([comparison])}: its error is {abs(points):.2f} percentage points {'lower' if better else 'higher'} "
        f"(95 % interval of the difference: {interval(comparison.difference.interval, '+.2f')})."
    )


def _no_difference(group: Group, alike: Sequence[Comparison], baseline: str) -> str:
    if len(alike) > _MOST_LISTED:
        return f"No difference from {baseline} can be seen in {len(alike)} arms with {_seeds(alike)}."
    listed = "; ".join(
        f"{group.short(each.name)} {each.difference.mean:+.2f} ({interval(each.difference.interval, '+.2f')})"
        for each in alike
    )
    sentence = (
        f"No difference from {baseline} can be seen with {_seeds(alike)}. Differences of the error in percentage "
        f"points, with 95 % intervals: {listed}."
    )
    excluding = sum(_excludes_zero(each) for each in alike)
    if excluding:
        least = min(each.p_holm for each in alike)
        which = "One interval excludes" if excluding == 1 else f"{excluding} intervals exclude"
        sentence += f" {which} zero, but after Holm's correction p is at least {least:.2f}."
    return sentence


def _seeds(comparisons: Sequence[Comparison]) -> str:
    numbers = sorted({len(comparison.seeds) for comparison in comparisons})
    return f"{' or '.join(map(str, numbers))} seeds"


def _excludes_zero(comparison: Comparison) -> bool:
    low, high = comparison.difference.interval
    return low > 0 or high < 0
