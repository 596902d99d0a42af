"""`--minutes`: the deadline stops a run like a signal, and the printed command continues it."""

import shlex
import time

import numpy as np
import pytest

from tests.train import synthetic, tiny_run
from train import cli, data, records
from train.engine.progress import RunProgress
from train.records import StepMetrics

WORDS = ["run", "quickstart", "--epochs", "2", "--batch-size", "16", "--devices", "1", "--seeds", "0"]


@pytest.fixture(autouse=True)
def tiny_data(monkeypatch):
    monkeypatch.setattr(data, "load", lambda name, data_dir: tiny_run.dataset())


def write_run(root):
    """A finished run of an arm of the group, made up."""
    record = synthetic.record("sgd-0.9", 0, [2.0, 1.0], group="quickstart")
    zeros = np.zeros(2, np.float32)
    records.write(root, record, StepMetrics(loss=zeros, momentum=zeros, below=zeros > 0))
    return list(root.rglob(records.RESULT))


def words(folder, *more):
    return [*WORDS, "--runs", str(folder), *more]


def test_without_time_nothing_begins(tmp_path, capsys):
    assert cli.main(words(tmp_path, "--minutes", "1e-9")) == 75
    said = capsys.readouterr().err
    assert "The time is up. No run is under way. 0 of 3 runs are finished." in said
    assert shlex.split(said.splitlines()[-1]) == ["python", "-m", "train", *words(tmp_path, "--minutes", "1e-9")]
    assert not list(tmp_path.rglob(records.RESULT))


def test_fresh_runs_that_did_not_begin_are_not_taken_for_the_old_ones(tmp_path, capsys):
    (old,) = write_run(tmp_path)
    command = words(tmp_path, "--minutes", "1e-9", "--fresh")
    assert cli.main(command) == 75
    said = capsys.readouterr().err
    assert "No run is under way. Nothing was deleted. This command goes on:" in said
    assert shlex.split(said.splitlines()[-1]) == ["python", "-m", "train", *command]
    assert old.exists()


def test_enough_time_ends_like_no_limit(tmp_path):
    assert cli.main(words(tmp_path, "--minutes", "60")) == 0
    assert len(records.read_all(tmp_path)) == 3


def test_what_the_clock_stopped_goes_on_as_if_nothing_had_been(tmp_path, monkeypatch, capsys):
    assert cli.main(words(tmp_path / "whole")) == 0
    late = []
    with monkeypatch.context() as patch:
        now, epoch = time.monotonic, RunProgress.epoch
        patch.setattr(RunProgress, "epoch", lambda *a: (epoch(*a), late.append(1)))
        patch.setattr("train.engine.run.time.monotonic", lambda: now() + (3600 if late else 0))
        assert cli.main(words(tmp_path / "cut", "--minutes", "30")) == 75
    said = capsys.readouterr()
    assert "sgd-0.9 stopped at step 4 of 8, saved in" in said.err
    assert not list(tmp_path.rglob(f"cut/**/{records.RESULT}"))
    assert cli.main(words(tmp_path / "cut", "--minutes", "30")) == 0
    assert "resumed at step 4 of 8" in capsys.readouterr().err
    whole, cut = ({run.name: run for run in records.read_all(tmp_path / name)} for name in ("whole", "cut"))
    assert whole.keys() == cut.keys()
    for name in whole:
        np.testing.assert_array_equal(cut[name].steps.loss, whole[name].steps.loss)


def test_no_time_is_refused(tmp_path, capsys):
    assert cli.main(words(tmp_path, "--minutes", "0")) == 2
    assert "minutes is 0.0, allowed: a number above 0." in capsys.readouterr().err
