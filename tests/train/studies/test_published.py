"""The tasks of the forest plot. A section appears only when all its preregistered runs are finished."""

import pytest

from tests.train.synthetic import record
from train.experiments import find
from train.report.preregistration import SEEDS, preregistered
from train.studies import published

GROUP = "decision-cifar10"


def section(**changes):
    """Every run of a section, made up."""
    return [
        record(arm.name.partition("/")[2], seed, [30.0 + seed % 7], group=GROUP, **changes)
        for arm in find(GROUP)
        for seed in SEEDS[GROUP]
    ]


def test_the_seeds_are_the_preregistered_ones():
    # 120 were planned. The runs ended early, after whole blocks of five, as section C of the preregistration allows.
    assert (SEEDS[GROUP][0], SEEDS[GROUP][-1], len(SEEDS[GROUP])) == (10020, 10099, 80)
    assert (SEEDS["decision-digits"][0], SEEDS["decision-digits"][-1], len(SEEDS["decision-digits"])) == (
        10000, 10149, 150,
    )  # fmt: skip


def test_a_whole_section_is_kept_and_other_seeds_are_not():
    runs = section()
    others = [record("sgd-0.9", seed, [1.0], group=GROUP) for seed in (0, 10019, 10100)]
    assert preregistered([*others, *runs]) == runs


@pytest.mark.parametrize("index", [0, 300, -1])
def test_one_missing_run_hides_the_section(index):
    runs = section()
    del runs[index]
    assert preregistered(runs) is None


def test_one_unfinished_run_hides_the_section():
    runs = section(epochs=1)
    runs[17] = record("lcam-0.9-0.95", runs[17].seed, [30.0], group=GROUP, epochs=2)
    assert preregistered(runs) is None


def test_a_hidden_section_is_not_compared(monkeypatch, tmp_path):
    monkeypatch.setattr(published.perceptrons, "forest_task", lambda *_: "perceptrons")
    monkeypatch.setattr(published.records, "read_all", lambda folder: section()[:-1])
    monkeypatch.setattr(published.preregistration, "preregistered", lambda runs: None)
    monkeypatch.setattr(published.decision, "decide", lambda group: pytest.fail("compared"))
    assert published.tasks(tmp_path) == ["perceptrons"]
