import dataclasses
import json

import pytest

from tests.train.synthetic import record, steps
from train import records
from train.errors import RecordError
from train.records.stages import lost_in_words, not_among, stage_rates


def run(rates, **config):
    """A run of the step schedule with the given learning rate in each epoch."""
    made = record("sgd-0.9", 0, [50.0] * len(rates), schedule="step", **config)
    rows = zip(made.history, rates, strict=True)
    made.history[:] = [dataclasses.replace(row, learning_rate=rate) for row, rate in rows]
    return made


def test_the_stages_are_the_authors():
    assert stage_rates(0.1) == (0.1, 0.02, 0.004, 0.0008)


def test_rates_may_be_rounded_to_float32():
    assert not_among(0.1, [0.10000000149011612, 0.003999999724328518]) == (0.02, 0.0008)


@pytest.mark.parametrize(
    ("epochs", "lost", "said"),
    [
        (4, (0.004,), "4 epochs leave out the learning rate 0.004 of the step schedule"),
        (2, (0.02, 0.004), "2 epochs leave out the learning rates 0.02 and 0.004 of the step schedule"),
        (1, (0.02, 0.004, 0.0008), "1 epoch leaves out the learning rates 0.02, 0.004 and 0.0008 of the step schedule"),
    ],
)
def test_what_is_lost_is_said(epochs, lost, said):
    assert lost_in_words(epochs, lost) == said


def test_a_record_has_the_stages_that_its_run_lost(tmp_path):
    path = records.write(tmp_path, run([0.1, 0.004, 0.0008]), steps(3))
    assert json.loads(path.read_text())["lost_rates"] == [0.02]
    assert records.read(path).lost_rates == (0.02,)
    records.pack(tmp_path)
    (packed,) = records.read_all(tmp_path)
    assert packed.lost_rates == (0.02,)
    assert json.loads((tmp_path / "demo" / "runs.jsonl").read_text())["lost_rates"] == [0.02]


def test_a_record_without_the_field_is_read(tmp_path):
    path = records.write(tmp_path, run([0.1, 0.004, 0.0008]), steps(3))
    older = json.loads(path.read_text())
    del older["lost_rates"]
    path.write_text(json.dumps(older))
    assert records.read(path).lost_rates == (0.02,)


def test_a_run_that_lost_nothing_does_not_have_the_field(tmp_path):
    path = records.write(tmp_path, run([0.1, 0.1, 0.02, 0.004, 0.0008]), steps(5))
    assert "lost_rates" not in json.loads(path.read_text())


def test_an_unfinished_run_and_another_schedule_have_lost_nothing():
    assert run([0.1, 0.1], epochs=5).lost_rates == ()
    assert record("sgd-0.9", 0, [50.0], schedule="cosine").lost_rates == ()


@pytest.mark.parametrize(("wrong", "message"), [([0.004], "but the history gives"), ("0.02", "expected a list")])
def test_a_wrong_field_is_refused(tmp_path, wrong, message):
    path = records.write(tmp_path, run([0.1, 0.004, 0.0008]), steps(3))
    path.write_text(json.dumps(json.loads(path.read_text()) | {"lost_rates": wrong}))
    with pytest.raises(RecordError, match=message):
        records.read(path)
