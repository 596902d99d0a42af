"""The command line, as a person types it."""

import json
import os
import subprocess
import sys

import pytest

from tests.train import tiny_run
from train import cli, data, records


def test_list_json_holds_every_arm(capsys):
    assert cli.main(["list", "--json"]) == 0
    arms = json.loads(capsys.readouterr().out)
    names = [arm["name"] for arm in arms]
    assert {"fig3/sgd-0.9", "fig3/lcam-0.9-0.95", "fig5-cifar100/lcam-0.93-0.9", "quickstart/sgd-0.9"} <= set(names)
    assert len(names) == len(set(names)) == len(cli.experiments.EXPERIMENTS)
    assert set(arms[0]) == set(cli._LISTED)


def test_list_shows_every_name_whole(capsys):
    assert cli.main(["list"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in cli.experiments.EXPERIMENTS)


def test_run_trains_a_group_and_reports(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(data, "load", lambda name, data_dir: tiny_run.dataset())
    words = "run quickstart --seeds 0 1 --epochs 2 --batch-size 16 --flip True --devices 1 --runs"
    assert cli.main([*words.split(), str(tmp_path)]) == 0
    runs = records.read_all(tmp_path)
    assert len(runs) == 6
    assert all(run.config["epochs"] == 2 and run.config["flip"] is True for run in runs)
    out = capsys.readouterr().out
    assert "quickstart-curves.png" in out
    assert (tmp_path / "quickstart/report/quickstart-curves.png").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "fig3", "--schedule", "linear"], "linear"),
        (["run", "fig3", "--epochs", "many"], "many"),
        (["run", "fig3", "--no-such-field", "1"], "no-such-field"),
        (["bogus"], "bogus"),
    ],
)
def test_words_that_cannot_be_parsed_exit_with_2(words, message, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(words)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_module_runs_as_a_program():
    command = [sys.executable, "-m", "train", "run", "nothing"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"XLA_FLAGS": ""}, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: No arm or group is called 'nothing'")
    assert "Traceback" not in done.stderr
