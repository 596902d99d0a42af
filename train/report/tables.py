"""Make the tables of a report, for the terminal and for Markdown."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import rich.box
import rich.table
import rich.text
from rich.console import Group as Lines

from train.experiments import DEFAULTS
from train.report.statistics import Arm, Comparison, Estimate, Group

NONE = "n/a"
# The most runs of an arm whose epochs a table lists one by one.
_MOST_LISTED = 10


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """A table of text with a title and a note. The first column names the arm."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str

    def markdown(self) -> str:
        """Format the table as GitHub Markdown, with its title as a heading of the third level."""
        rules = [":--", *["--:"] * (len(self.columns) - 1)]
        lines = [f"| {' | '.join(cells)} |" for cells in (self.columns, rules, *self.rows)]
        return "\n".join([f"### {self.title}", "", *lines, "", self.note, ""])

    def __rich__(self) -> Lines:
        table = rich.table.Table(title=self.title, title_justify="left", title_style="bold", box=rich.box.SIMPLE_HEAD)
        # On a narrow terminal, headings and names may be broken between words, but numbers may not.
        longest = max((len(word) for row in self.rows for word in row[0].split()), default=0)
        table.add_column(self.columns[0], overflow="fold", min_width=longest)
        for index, column in enumerate(self.columns[1:], 1):
            width = max((len(row[index]) for row in self.rows), default=0)
            table.add_column(column, justify="right", min_width=max(width, *map(len, column.split())))
        for row in self.rows:
            table.add_row(*(rich.text.Text(cell) for cell in row))
        return Lines(table, rich.text.Text(self.note, style="dim"), "")


def final_errors(group: Group) -> Table:
    """Make the table of test errors after the last epoch, which are the result."""
    note = "After the last epoch. Interval of the mean: Student's t over seeds."
    return _errors(group, f"final {_what_error(group)} (%)", [arm.final for arm in group.arms], note)


def best_errors(group: Group) -> Table:
    """Make the table of the lowest test errors of any epoch, labelled as selected on the test set."""
    note = (
        "Selected on the test set and therefore optimistic. Compare them only with published best errors, never with "
        "final errors."
    )
    return _errors(group, f"best {_what_error(group)} of any epoch (%)", [arm.best for arm in group.arms], note)


def _what_error(group: Group) -> str:
    held_out = any((DEFAULTS | record.config)["holdout"] for arm in group.arms for record in arm.records)
    return "error on training images held out" if held_out else "test error"


def _errors(group: Group, title: str, estimates: Sequence[Estimate], note: str) -> Table:
    if any(_possible(estimate) != estimate for estimate in estimates if math.isfinite(estimate.interval[0])):
        note += " Intervals are cut at 0 and 100 %, because no error lies beyond."
    return Table(
        title=f"{group.name}: {title}",
        columns=("Arm", "Runs", "Mean", "Standard deviation", "95 % interval"),
        rows=[
            (
                group.short(arm.name),
                str(len(estimate.values)),
                number(estimate.mean),
                number(estimate.deviation),
                interval(_possible(estimate).interval),
            )
            for arm, estimate in zip(group.arms, estimates, strict=True)
        ],
        note=note,
    )


def differences(group: Group) -> Table:
    """Make the table of differences from the baseline in final error, paired by seed, with tests."""
    baseline = group.arms[0]
    note = "Mean of arm minus baseline, paired by seed; negative: the arm is better." + _about_tests(group.comparisons)
    for arm, comparison in zip(group.arms[1:], group.comparisons, strict=True):
        pairs = len(comparison.seeds)
        if not pairs == len(arm.records) == len(baseline.records):
            note += (
                f" {group.short(arm.name)}: {len(arm.records)} runs against the baseline's "
                f"{len(baseline.records)}, {pairs} of them with the same seed."
            )
        if pairs > 1 and math.isnan(comparison.p_value):
            note += f" {group.short(arm.name)}: all differences are equal or one is not finite: no interval, no test."
    return _comparisons(
        f"{group.name}: final {_what_error(group)} against {group.short(baseline.name)} (percentage points)",
        [(group.short(comparison.name), comparison) for comparison in group.comparisons],
        note,
    )


def controlled(group: Group) -> Table:
    """Make the table of differences between LCAM arms and their controls in final error."""
    note = "Mean of arm minus control, paired by seed; negative: the arm is better than its control." + _about_tests(
        group.controlled
    )
    return _comparisons(
        f"{group.name}: final {_what_error(group)} against controls that ignore the loss (percentage points)",
        [(f"{group.short(c.name)} minus {group.short(c.against)}", c) for c in group.controlled],
        note,
    )


def _about_tests(comparisons: Sequence[Comparison]) -> str:
    """Write the sentence about the p-values of a table; empty if there are none."""
    count = sum(math.isfinite(comparison.p_value) for comparison in comparisons)
    if not count:
        return ""
    corrected = f"corrected for the {count} tests of this table" if count > 1 else "the same, as there is one test"
    return f" p: two-sided paired t-test; by Holm: {corrected}."


def _comparisons(title: str, rows: Sequence[tuple[str, Comparison]], note: str) -> Table:
    return Table(
        title=title,
        columns=("Arm", "Pairs", "Difference", "95 % interval", "p", "p by Holm"),
        rows=[
            (
                name,
                str(len(comparison.seeds)),
                number(comparison.difference.mean, "+.2f"),
                interval(comparison.difference.interval, "+.2f"),
                probability(comparison.p_value),
                probability(comparison.p_holm),
            )
            for name, comparison in rows
        ],
        note=note,
    )


def epochs(group: Group) -> Table:
    """Make the table of epochs until each run reached an error that nearly all runs of the baseline reach."""
    baseline = group.arms[0]
    return Table(
        title=f"{group.name}: epochs to the final {_what_error(group)} of {group.short(baseline.name)} "
        f"plus an allowance ({number(group.target)} %)",
        columns=("Arm", "Runs that reached it", "Median epochs", "Epochs of the runs"),
        rows=[
            (
                group.short(arm.name),
                f"{sum(epoch is not None for epoch in arm.reached)} of {len(arm.reached)}",
                _median_epochs(arm),
                _epochs_of_runs(arm),
            )
            for arm in group.arms
        ],
        note=f"Epochs until the test error of a run was first at or below {number(group.target)} %. That is the "
        f"baseline's mean final error, {number(baseline.final.mean)} %, plus twice its standard deviation over seeds, "
        "because about half of the baseline's own runs end above its mean. The median counts runs that never reached "
        "it as later than all others.",
    )


def _median_epochs(arm: Arm) -> str:
    if math.isfinite(arm.median_reached):
        return f"{arm.median_reached:g}"
    return f"more than {max(len(record.history) for record in arm.records)}"


def _epochs_of_runs(arm: Arm) -> str:
    """List the epochs of a few runs; of many runs give the range, and the number of those that never reached it."""
    if len(arm.reached) <= _MOST_LISTED:
        return ", ".join(
            f"never in {len(record.history)}" if epoch is None else str(epoch)
            for record, epoch in zip(arm.records, arm.reached, strict=True)
        )
    reached = [epoch for epoch in arm.reached if epoch is not None]
    never = len(arm.reached) - len(reached)
    first, last = min(reached, default=0), max(reached, default=0)
    parts = [str(first) if first == last else f"{first} to {last}"] if reached else []
    if never:
        parts.append(f"{never} never")
    return ", ".join(parts)


def number(value: float, form: str = ".2f") -> str:
    """Format a number, or return `NONE` if it is not finite."""
    return format(value, form) if math.isfinite(value) else NONE


def interval(bounds: tuple[float, float], form: str = ".2f") -> str:
    """Format an interval, or return `NONE` if it is not finite."""
    low, high = bounds
    return f"{low:{form}} to {high:{form}}" if math.isfinite(low) else NONE


def probability(p_value: float) -> str:
    """Format a p-value with three decimals, or return `NONE` if nothing was tested."""
    if not math.isfinite(p_value):
        return NONE
    return f"{p_value:.3f}" if p_value >= 0.0005 else "< 0.001"


def p_in_words(p_value: float) -> str:
    """Format a finite p-value within a sentence: `p = 0.013` or `p < 0.001`."""
    formatted = probability(p_value)
    return f"p {formatted}" if formatted.startswith("<") else f"p = {formatted}"


def _possible(error: Estimate) -> Estimate:
    """Cut the interval of an error rate at 0 and 100 %, because Student's t may reach beyond."""
    low, high = np.clip(error.interval, 0, 100)
    return dataclasses.replace(error, interval=(float(low), float(high)))
