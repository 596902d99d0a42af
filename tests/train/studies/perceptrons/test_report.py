import json
import math

import numpy as np
import pytest
import scipy.stats
from rich.console import Console

from tests.train.studies.perceptrons import synthetic_study
from tests.train.studies.perceptrons.synthetic_study import ARMS
from tests.train.studies.perceptrons.tiny_task import TASK
from train.errors import ConfigError
from train.studies.command import Perceptrons
from train.studies.perceptrons import report as perceptrons_report
from train.studies.perceptrons import study
from train.studies.perceptrons.record import Record, decode, encode


@pytest.fixture(scope="module")
def found():
    return synthetic_study.parts()


@pytest.fixture(scope="module")
def record():
    return synthetic_study.record()


def test_a_record_has_every_run_of_both_parts_in_order(found, record):
    keys = ("first_seed", "seeds", "test_images")
    assert [record.settings[key] for key in keys] == [10_000, 10, 1000]
    assert record.settings["task"]["hidden"] == TASK.hidden
    assert list(record.arms) == ARMS
    for arm in ARMS:
        both = np.concatenate([outcomes[arm].wrong for _, outcomes in found])
        assert record.arms[arm]["wrong"] == both.tolist()
        np.testing.assert_allclose(record.error(arm), both / 10)
        momentum = np.concatenate([outcomes[arm].momentum for _, outcomes in found]).mean(axis=0)
        assert record.arms[arm]["momentum"] == pytest.approx(momentum.tolist(), abs=1e-6)


def test_a_record_names_the_donors_and_the_runs_that_were_not_finite(record):
    expected = [10_001, 10_002, 10_003, 10_004, 10_000, 10_006, 10_007, 10_008, 10_009, 10_005]
    for arm, numbers in record.arms.items():
        assert numbers.get("donors") == (expected if arm.startswith("yoked") else None)
        assert numbers["not_finite"] == ([10_001, 10_006] if arm == "rising-0.9-0.95" else [])


def test_a_record_is_a_line_per_arm_and_comes_back(record):
    content = encode(record)
    lines = content.decode().splitlines()
    assert [json.loads(line).get("arm") for line in lines] == [None, *ARMS]
    assert decode(content).arms == record.arms
    assert encode(decode(content)) == content


def test_tables_show_what_the_record_has(record):
    rows = {row[0]: row for row in perceptrons_report.arms(record).rows}
    assert list(rows) == ARMS
    for arm, row in rows.items():
        assert float(row[1]) == pytest.approx(record.error(arm).mean(), abs=5.1e-4)
        assert float(row[2]) == pytest.approx(record.error(arm).std(ddof=1), abs=5.1e-4)
        assert float(row[4]) == pytest.approx(np.mean(record.arms[arm]["momentum"]), abs=5e-5)
    table = perceptrons_report.differences(record, perceptrons_report.compare(record))
    assert len(table.rows) == 14
    for row, (arm, against) in zip(table.rows, study.comparisons(), strict=True):
        assert row[0] == f"{arm} minus {against}"
        assert float(row[1]) == pytest.approx(np.mean(record.error(arm) - record.error(against)), abs=5.1e-4)


def test_blocks_of_five_are_averaged_before_they_are_compared():
    seeds = 15
    wrong = {"lcam-0.9-0.95": np.arange(seeds), "yoked-0.9-0.95": np.repeat([0, 1, 5], 5)}
    made = Record(settings={"test_images": 100}, arms={arm: {"wrong": values} for arm, values in wrong.items()})
    found = perceptrons_report.compare_blocks(made)
    assert (found.name, found.against) == ("lcam-0.9-0.95", "yoked-0.9-0.95")
    assert found.difference.values == (2, 6, 7)
    assert found.p_different == pytest.approx(2 * scipy.stats.t.sf(5 / math.sqrt(7 / 3), 2))


@pytest.mark.parametrize(("p_all", "expected"), [(0.051, "undecided"), (0.049, "better")])
def test_no_difference_counts_where_all_arms_may_be_equal(record, monkeypatch, p_all, expected):
    shift = np.linspace(0, 1, 10)
    errors = {arm: 10 + shift * (arm != "sgd-0.9") for arm in record.arms} | {"sgd-0.9": 15 + 2 * shift}
    wrong = {arm: {"wrong": (10 * error).round(), "not_finite": []} for arm, error in errors.items()}
    made = Record(settings=record.settings, arms=wrong)
    monkeypatch.setattr(perceptrons_report, "omnibus", lambda _: p_all)
    table = perceptrons_report.differences(made, perceptrons_report.compare(made))
    verdicts = {row[0]: row[-1] for row in table.rows}
    assert verdicts["lcam-0.9-0.95 minus sgd-0.9"] == expected
    assert ("no single difference counts" in table.note) == (expected == "undecided")


def test_runs_that_were_not_finite_are_told(record):
    note = perceptrons_report.arms(record).note
    assert "rising-0.9-0.95: 2 runs ended not finite" in note
    assert note.count("not finite") == 1


def test_the_study_is_written(tmp_path, found, record):
    tables, paths = perceptrons_report.write(tmp_path, TASK, 1000, found, command="the words")
    assert [path.name for path in paths] == ["perceptrons.jsonl", "perceptrons.png", "perceptrons.svg"]
    assert all(path.stat().st_size > 1000 for path in paths)
    assert len(tables) == 2
    written = decode(paths[0].read_bytes())
    assert written.arms == record.arms
    assert written.settings["command"] == "the words"
    assert {"versions", "device"} < written.settings.keys()


def test_the_command_trains_and_reports(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("train.studies.perceptrons.task.Task", lambda: TASK)
    Perceptrons(out=tmp_path / "new", seeds=5, first_seed=15)(Console())
    out = capsys.readouterr().out
    assert "seeds 15 to 19 of 15 to 19" in out
    settings = decode((tmp_path / "new" / "perceptrons.jsonl").read_bytes()).settings
    assert (settings["first_seed"], settings["seeds"]) == (15, 5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": 0}, "seeds is 0, allowed"),
        ({"seeds": 101}, "seeds is 101, allowed"),
        ({"seeds": 100_005}, "seeds is 100005, allowed"),
        ({"first_seed": -5}, "first_seed is -5, allowed"),
        ({"first_seed": 7}, "first_seed is 7, allowed"),
    ],
)
def test_seeds_out_of_range_are_refused(tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        Perceptrons(out=tmp_path, **options)(Console())
