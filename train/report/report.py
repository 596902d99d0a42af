"""Write a report of stored runs: tables, figures and a verdict, made from their records."""

import dataclasses
import itertools
import json
import math
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich.console import Console
from rich.text import Text

from train import files
from train.errors import RecordError
from train.records import Record, read_all
from train.report import differences, figures, page, remarks, settings, style, tables
from train.report.decision import Decision, decide, decision_table, verdict_table
from train.report.preregistration import admit
from train.report.statistics import BASELINE, Group, analyse
from train.report.verdict import verdict


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """A report that was written.

    Attributes:
      groups: The statistics of each group.
      left_out: One sentence for each missing run or figure, for each run that skipped steps, and for each arm with too
        few epochs for its whole schedule.
      changed: One sentence for each set of arms whose settings differ in the same way from the defaults of these arms.
      paths: The files written: `report.md`, `report.json`, `decision.json` if there are decisions, `report.html`, then
        the figures.
      decisions: The decisions, for groups that have a margin and an LCAM arm with controls.
    """

    groups: tuple[Group, ...]
    left_out: tuple[str, ...]
    changed: tuple[str, ...]
    paths: tuple[Path, ...]
    decisions: tuple[Decision, ...] = ()

    def show(self, console: Console) -> None:
        """Print the main tables, what was left out, the paths, and finally the verdict."""
        decided = {decision.group: decision for decision in self.decisions}
        for group in self.groups:
            decision = decided.get(group.name)
            for table in (tables.final_errors(group), *_compared(group, decision)):
                console.print(table)
            if decision is not None:
                console.print(verdict_table(decision))
        for reason in self.left_out:
            console.print(Text(f"LEFT OUT: {reason}", style="bold red"))
        for change in self.changed:
            console.print(Text(f"CHANGED: {change}", style="bold"))
        for path in self.paths:
            if path.suffix != ".svg":  # Each SVG has a PNG of the same name.
                # No line breaks, so that the path can be copied.
                console.print(Text(str(path)), soft_wrap=True)
        for group in self.groups:
            console.print("", Text(verdict(group, decided.get(group.name)), style="bold"), sep="\n")


def report(root: Path, out: Path | None = None, *, baseline: str = BASELINE, margin: float | None = None) -> Report:
    """Write a report of all finished runs under a folder: Markdown, JSON, figures, and one page with all of it.

    Args:
      root: Folder of all runs, or of the runs of one group.
      out: Folder to write to; by default `report` in the folder of runs.
      baseline: The arm of each group that the others are compared with.
      margin: Margin of equivalence in percentage points; by default the preregistered margin of a group, if it has one.

    Returns:
      The statistics and the files. A run is left out if it is damaged or unfinished, and an arm if its runs differ in
      their settings or data, or have other data than the baseline. A preregistered group is left out before all its
      runs have ended. `left_out` and every form of the report say so.

    Raises:
      RecordError: If there is nothing to report.
    """
    groups, left_out = _groups(root, baseline)
    out = root / "report" if out is None else out
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecordError(f"{out}: cannot be written: {error.strerror}; name another folder with --out") from error
    decided = {group.name: found for group in groups if (found := decide(group, margin)) is not None}
    drawn: dict[str, list[Path]] = {}
    for group in groups:
        drawn[group.name], missing = _draw(group, out, decided.get(group.name))
        left_out += [*missing, *remarks.skipped(group), *remarks.lost(group)]
    changed = [change for group in groups for change in remarks.changed(group)]
    markdown = "\n".join(_markdown(groups, decided, drawn, left_out, changed))
    pictures = [path for paths in drawn.values() for path in paths]
    documents = {
        out / "report.md": markdown,
        out / "report.json": files.dumps(
            {
                "groups": [_numbers(group, decided.get(group.name)) for group in groups],
                "left_out": left_out,
                "changed": changed,
            }
        ),
    }
    (out / "decision.json").unlink(missing_ok=True)  # an earlier report's
    if decided:
        documents[out / "decision.json"] = files.dumps([found.numbers() for found in decided.values()])
    title = f"Report: {', '.join(group.name for group in groups) or 'nothing to compare yet'}"
    inline = {path.name: path.read_bytes() for path in pictures if path.suffix == ".png"}
    documents[out / "report.html"] = page.render(markdown, inline, title)
    for path, text in documents.items():
        files.write_atomically(path, text.encode())
    return Report(
        groups=groups,
        left_out=tuple(left_out),
        changed=tuple(changed),
        paths=(*documents, *pictures),
        decisions=tuple(decided.values()),
    )


def _groups(root: Path, baseline: str) -> tuple[tuple[Group, ...], list[str]]:
    """Analyse the finished runs under a folder by group. Also return the reasons why others are left out.

    Raises:
      RecordError: If no run is finished.
    """
    damaged: list[RecordError] = []
    finished, left_out = remarks.comparable(read_all(root, damaged=damaged))
    left_out = [*map(str, damaged), *left_out]
    if not finished:
        raise RecordError(f"{root}: no finished run to report: {'; '.join(left_out)}")
    finished.sort(key=lambda record: record.group)
    groups = []
    for _, records in itertools.groupby(finished, key=lambda record: record.group):
        admitted, reason = admit(list(records))
        if admitted:
            kept, other_data = remarks.on_same_data(admitted, baseline)
            groups.append(analyse(kept, baseline))
            left_out += other_data
        if reason is not None:
            left_out.append(reason)
    return tuple(groups), left_out


def _compared(group: Group, decision: Decision | None) -> Iterator[tables.Table]:
    """Yield the tables of other tests than the decision's, unless the decision is preregistered: then it is alone."""
    if decision is None or not decision.preregistered:
        if group.comparisons:
            yield tables.differences(group)
        if group.controlled:
            yield tables.controlled(group)


def _markdown(
    groups: Sequence[Group],
    decided: Mapping[str, Decision],
    drawn: Mapping[str, Sequence[Path]],
    left_out: Sequence[str],
    changed: Sequence[str],
) -> Iterator[str]:
    """Yield the parts of `report.md`: the verdicts, what was left out or changed, and the groups."""
    yield "# Report\n"
    for group in groups:
        # A quotation stands out.
        yield f"> {verdict(group, decided.get(group.name))}\n"
    for heading, sentences in (("Left out", left_out), ("Changed", changed)):
        if sentences:
            yield f"**{heading}:**\n"
            yield from (f"- {sentence}" for sentence in sentences)
            yield ""
    for group in groups:
        yield from _section(group, decided.get(group.name), drawn[group.name])


def curves(group: Group) -> Figure:
    """Draw test error, loss and share of steps below the mean over the epochs, for each arm of a group."""
    return figures.curves(_by_arm(group), _shared(group))


def _by_arm(group: Group) -> dict[str, Sequence[Record]]:
    return {group.short(arm.name): arm.records for arm in group.arms}


def _shared(group: Group) -> str:
    """The name of a group, and the data and the network that all its runs share."""
    records = [record for arm in group.arms for record in arm.records]
    shared = settings.common_settings(records)
    title = group.name
    if "dataset" in shared:
        title += f", {shared['dataset']}"
    title += "".join(f", {key} {value}" for key, value in settings.reductions(records).items())
    if {"depth", "width"} <= shared.keys():
        title += f", WRN-{shared['depth']}-{shared['width']}"
    return title


def _draw(group: Group, out: Path, decision: Decision | None) -> tuple[list[Path], list[str]]:
    """Draw the figures of a group. Returns their paths, and the reasons why some are missing."""
    title = _shared(group)
    stem = group.name.replace("/", "-")
    runs = _by_arm(group)
    paths = [*style.save(curves(group), out / f"{stem}-curves")]
    rows = [
        dataclasses.replace(comparison, name=group.short(comparison.name))
        for comparison in group.comparisons
        if math.isfinite(comparison.difference.mean)
    ]
    # The figure shows other tests than the preregistered ones.
    if group.baseline and rows and not (decision is not None and decision.preregistered):
        drawing = differences.draw(rows, group.short(group.baseline), title)
        paths += style.save(drawing, out / f"{stem}-differences")
    left_out = []
    for name, (run, *_) in runs.items():
        if run.config.get("momentum_below") == run.config.get("momentum_above"):
            continue
        try:
            paths += _draw_steps(run, out / f"{stem}-{name.replace('/', '-')}-steps")
        except RecordError as error:
            left_out.append(f"the figure of single steps: {error}")
    return paths, left_out


def _draw_steps(run: Record, path: Path) -> tuple[Path, Path]:
    """Draw single steps in the first, the middle and the last epoch of a run."""
    last = len(run.history) - 1
    chosen = sorted({0, last // 2, last})
    return style.save(figures.steps(run, chosen, f"{run.name}, seed {run.seed}"), path)


def _section(group: Group, decision: Decision | None, drawn: Sequence[Path]) -> Iterator[str]:
    """Yield the parts of `report.md` about one group."""
    yield f"## {group.name}\n"
    if group.baseline is None:
        yield "The baseline has no finished runs, so nothing is compared.\n"
    parts = [tables.final_errors(group), *_compared(group, decision)]
    if decision is not None:
        parts.append(decision_table(decision))
    if group.comparisons:
        parts.append(tables.epochs(group))
    for part in (*parts, tables.best_errors(group), settings.settings_table(group)):
        yield part.markdown()
    for path in drawn:
        if path.suffix == ".png":
            yield f"![{page.alt_text(path)}]({urllib.parse.quote(path.name)})\n"
    records = [record for arm in group.arms for record in arm.records]
    yield "### Provenance\n"
    for label, values in (
        ("Command", [record.command for record in records]),
        ("Device", [json.dumps(record.device, sort_keys=True) for record in records]),
        ("Versions", [json.dumps(record.versions, sort_keys=True) for record in records]),
    ):
        for value in dict.fromkeys(values):
            yield f"- {label}: `{value}`"
    yield ""


def _numbers(group: Group, decision: Decision | None) -> dict[str, Any]:
    """The part of `report.json` about one group."""
    alone = decision is not None and decision.preregistered
    return {
        "name": group.name,
        "baseline": group.baseline,
        "target_error": group.target,
        "arms": [
            {
                "name": arm.name,
                "seeds": [record.seed for record in arm.records],
                "final_test_error": dataclasses.asdict(arm.final),
                "best_test_error": dataclasses.asdict(arm.best),
                "epochs_to_baseline": arm.reached,
                "median_epochs_to_baseline": arm.median_reached,
            }
            for arm in group.arms
        ],
        "comparisons": [] if alone else [dataclasses.asdict(comparison) for comparison in group.comparisons],
        "controlled": [] if alone else [dataclasses.asdict(comparison) for comparison in group.controlled],
    }
