"""The tables of training runs in the README and docs, made from the committed records."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from train import records
from train.report import decision, preregistration, tables
from train.report.publish import Rows, Tables
from train.report.settings import tuned
from train.report.statistics import BASELINE, Comparison, Group, analyse

_REPLICATION = "cifar10-wrn-16-1-cpu"


def _replication(results: Path) -> Group:
    return analyse(records.read_all(results / _REPLICATION))


def _half(results: Path) -> Rows:
    """Arms trained with half the epochs, compared with SGD with all epochs."""
    whole = [run for run in records.read_all(results / _REPLICATION) if run.name == f"controls/{BASELINE}"]
    return compared([*whole, *records.read_all(results / f"{_REPLICATION}-half")])


def _controlled(results: Path) -> Rows:
    """LCAM minus its controls."""
    group = _replication(results)
    return [
        (f"{group.short(each.name)} minus {group.short(each.against)}", str(len(each.seeds)), *_difference(each))
        for each in group.controlled
    ]


def _decision(
    folder: str, table: Callable[[decision.Decision], tables.Table] = decision.decision_table
) -> Callable[[Path], Rows]:
    """LCAM minus the arms of the preregistration, as the rows of one of the tables of a decision."""

    def rows(results: Path) -> Rows:
        found = decision.decide(analyse(_admitted(results / folder)))
        assert found is not None, f"{folder} has a margin and an LCAM with controls"
        return table(found).rows

    return rows


def compared(runs: Iterable[records.Record], settings: Iterable[str] = ()) -> Rows:
    """One row per arm of a group: seeds, tuned settings, final test error, and difference from SGD."""
    group = analyse([*runs])
    differences = {comparison.name: comparison for comparison in group.comparisons}
    rows = []
    for arm in group.arms:
        low, high = arm.final.interval
        found = differences.get(arm.name)
        rows.append(
            (
                group.short(arm.name),
                str(len(arm.records)),
                *(tuned(arm.records[0].config, name) for name in settings),
                f"{arm.final.mean:.2f}",
                f"{low:.2f} to {high:.2f}",
                *(("", "", "") if found is None else _difference(found)),
            )
        )
    return rows


def _trials(folder: str) -> Callable[[Path], Rows]:
    """The mean error on held-out images of each learning rate that each arm of a group tried."""

    def rows(results: Path) -> Rows:
        arms = dict.fromkeys(run.name for run in _admitted(results / folder))
        found = {name: records.find_trials(results, name) for name in arms}
        return [
            (name.partition("/")[2], *(f"{np.mean(trial['error']):.2f}" for trial in document["trials"]))
            for name, document in found.items()
            if document is not None
        ]

    return rows


def _difference(found: Comparison) -> tuple[str, str, str]:
    low, high = found.difference.interval
    return f"{found.difference.mean:+.2f}", f"{low:+.2f} to {high:+.2f}", tables.probability(found.p_holm)


def _admitted(folder: Path) -> list[records.Record]:
    runs, reason = preregistration.admit(records.read_all(folder))
    assert reason is None, reason
    return runs


def _group(folder: str, *settings: str) -> Callable[[Path], Rows]:
    return lambda results: compared(_admitted(results / folder), settings)


TABLES: Tables = {
    "replication": _group(_REPLICATION),
    "controlled": _controlled,
    "reached": lambda results: tables.epochs(_replication(results)).rows,
    "best": lambda results: tables.best_errors(_replication(results)).rows,
    "half": _half,
    "decision-digits": _decision("decision-digits"),
    "decision-digits-arms": _group("decision-digits"),
    "decision-cifar10": _decision("decision-cifar10"),
    "decision-cifar10-verdicts": _decision("decision-cifar10", decision.verdict_table),
    "decision-cifar10-arms": _group("decision-cifar10"),
    "contest-cifar10": _decision("contest-cifar10"),
    "contest-cifar10-arms": _group("contest-cifar10", "learning_rate"),
    "contest-cifar10-trials": _trials("contest-cifar10"),
    "contest-cosine": _decision("contest-cosine"),
    "contest-cosine-arms": _group("contest-cosine", "learning_rate"),
    "contest-cosine-trials": _trials("contest-cosine"),
    "arena": _group("arena-digits", "learning_rate", "weight_decay"),
    "methods": _group("methods"),
}
