"""What a reader of a report should know first: runs left out, steps skipped, schedules cut short, settings changed."""

import itertools
from collections.abc import Iterator, Sequence

from train.data.dataset import may_be_same
from train.experiments import EXPERIMENTS, config_of, differences
from train.records import FINGERPRINT, Record
from train.records.stages import lost_in_words
from train.report.settings import differing_settings
from train.report.statistics import Group


def comparable(records: Sequence[Record]) -> tuple[list[Record], list[str]]:
    """Return the runs that may be averaged, and the reasons why others may not."""
    kept, left_out = [], []
    for name, runs in itertools.groupby(records, key=lambda record: record.name):
        finished = []
        for run in runs:
            if run.finished:
                finished.append(run)
            else:
                left_out.append(
                    f"{name}, seed {run.seed}: {len(run.history)} of {run.config['epochs']} epochs "
                    "done; run it again to finish it"
                )
        # `nonfinite` may differ. Skipped steps are reported, and a finished run that would have stopped skipped none.
        differing = [setting for setting in differing_settings(finished) if setting != "nonfinite"]
        if not _of_same_data(finished):
            left_out.append(
                f"{name}: its runs were trained on different images or labels and cannot be averaged; keep runs on "
                "different data in different folders"
            )
        elif differing:
            left_out.append(
                f"{name}: its runs differ in {', '.join(differing)} and cannot be "
                "averaged; keep runs with different settings in different folders"
            )
        else:
            kept += finished
    return kept, left_out


def on_same_data(records: Sequence[Record], baseline: str) -> tuple[list[Record], list[str]]:
    """Return the runs of a group on the data of its baseline, or of its first arm, and why others are left out."""
    arms = {name: list(runs) for name, runs in itertools.groupby(records, key=lambda record: record.name)}
    named = f"{records[0].group}/{baseline}"
    first = named if named in arms else next(iter(arms))
    other = [name for name, runs in arms.items() if not _of_same_data([*arms[first], *runs])]
    reasons = [f"{name}: it was trained on other images or labels than {first}" for name in other]
    return [record for record in records if record.name not in other], reasons


def _of_same_data(records: Sequence[Record]) -> bool:
    """Whether these runs may have the same data. Runs older than fingerprints have none and may."""
    found = [record.versions[FINGERPRINT] for record in records if FINGERPRINT in record.versions]
    return all(may_be_same(*pair) for pair in itertools.combinations(dict.fromkeys(found), 2))


def skipped(group: Group) -> Iterator[str]:
    """Yield one sentence for each run that skipped steps."""
    for record in itertools.chain.from_iterable(arm.records for arm in group.arms):
        if record.skipped_steps:
            yield f"{record.name}, seed {record.seed}: {record.skipped_steps} steps, whose numbers were not finite"


def lost(group: Group) -> Iterator[str]:
    """Yield one sentence for each arm with too few epochs for its whole step schedule."""
    for arm in group.arms:
        first = arm.records[0]
        if first.lost_rates:
            yield f"{arm.name}: {lost_in_words(len(first.history), first.lost_rates)}"


def changed(group: Group) -> Iterator[str]:
    """Yield one sentence for each set of arms whose settings differ in the same way from the defaults of these arms.

    This leaves out arms that this version does not define, and settings that the arm's tuning trials decided.
    """
    arms_of: dict[str, list[str]] = {}
    for arm in group.arms:
        usual = EXPERIMENTS.get(arm.name)
        if usual is None:
            continue
        config = arm.records[0].config
        decided = ("learning_rate", "weight_decay") if config.get("learning_rates") else ()
        for name, (used, default) in differences(config, config_of(usual)).items():
            if name not in ("name", *decided):
                change = f"{name} {_in_words(used)} instead of {_in_words(default)}"
                arms_of.setdefault(change, []).append(group.short(arm.name))
    changes_of: dict[tuple[str, ...], list[str]] = {}
    for change, arms in arms_of.items():
        changes_of.setdefault(tuple(arms), []).append(change)
    for names, changes in changes_of.items():
        who = "all arms" if len(names) == len(group.arms) > 1 else ", ".join(names)
        yield f"{group.name}, {who}: {', '.join(changes)}"


def _in_words(value: object) -> str:
    if isinstance(value, list | tuple):
        return " ".join(map(_in_words, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
