"""The command line, as a person types it."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import types

import pytest

from tests.train import tiny_run
from train import cli, data, records
from train.experiments import MAIN_SETTINGS


def test_list_json_holds_every_arm(capsys):
    assert cli.main(["list", "--json"]) == 0
    arms = json.loads(capsys.readouterr().out)
    names = [arm["name"] for arm in arms]
    assert {"fig3/sgd-0.9", "fig3/lcam-0.9-0.95", "fig5-cifar100/lcam-0.93-0.9", "quickstart/sgd-0.9"} <= set(names)
    assert len(names) == len(set(names)) == len(cli.experiments.EXPERIMENTS)
    assert list(arms[0]) == ["name", *MAIN_SETTINGS]
    assert {"training", "activation", "follows", "delay", "nesterov"} <= set(arms[0])


def test_list_shows_every_name_whole(capsys):
    assert cli.main(["list"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in cli.experiments.EXPERIMENTS)


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("fig3/lcam-0.95-0.9", "lcam 0.95/0.9"),
        ("controls/random-0.95-0.9", "sgd 0.95/0.9, at random, as often as lcam-0.95-0.9"),
        ("controls/constant-0.9-0.95", "sgd 0.9/0.95, the mean of lcam-0.9-0.95"),
        ("controls/ema-0.9-0.95", "lcam with ema 0.9/0.95"),
        ("controls/nodelay-0.9-0.95", "lcam 0.9/0.95, no delay"),
        ("controls/nesterov-0.9", "sgd 0.9, nesterov"),
        ("methods/associated", "adam 0.9, associated"),
        ("methods/n-laaf", "sgd 0.9, n-laaf"),
    ],
)
def test_list_says_how_an_arm_is_trained(name, how, capsys):
    assert cli.main(["list"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.split()[0] == name]
    assert line.rstrip().endswith(f" {how}")


def test_list_tells_all_arms_of_a_group_apart(capsys):
    assert cli.main(["list"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    seen = [(name.partition("/")[0], *rest) for name, *rest in rows]
    assert len(set(seen)) == len(seen) == len(cli.experiments.EXPERIMENTS)


def test_help_says_that_settings_default_to_those_of_the_arm(capsys):
    with pytest.raises(SystemExit):
        cli.main(["run", "--help"])
    out = " ".join(capsys.readouterr().out.replace("│", " ").split())
    overrides = out[out.index("--dataset") :]
    assert overrides.count("(default: the arm's)") == len(dataclasses.fields(cli.Overrides))
    assert "(default: None)" not in overrides


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


def test_fresh_removes_what_there_is_of_a_whole_group_before_its_first_arm(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr("train.engine.run.run_experiment", lambda run, **settings: calls.append((run, settings)))
    made = types.SimpleNamespace(show=lambda console: None)
    monkeypatch.setattr("train.report.report.report", lambda *arguments, **settings: made)
    assert cli.main(["run", "quickstart", "--fresh", "--runs", str(tmp_path)]) == 0
    assert [settings["fresh"] for _, settings in calls] == [True, False, False]
    assert calls[0][1]["fresh_too"] == [run for run, _ in calls[1:]]


def test_an_arm_of_its_own_is_compared_with_the_group_s_sgd_once_that_was_run(tmp_path):
    arms = cli.experiments.find("fig3/lcam-0.9-0.95")
    assert cli._baseline(arms, tmp_path) == "lcam-0.9-0.95"
    (tmp_path / "fig3" / "sgd-0.9" / "seed-3").mkdir(parents=True)
    (tmp_path / "fig3" / "sgd-0.9" / "seed-3" / records.RESULT).touch()
    assert cli._baseline(arms, tmp_path) == "sgd-0.9"


def test_an_interrupt_while_nothing_is_trained_has_no_traceback(monkeypatch, capsys):
    def interrupt(self, console):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.List, "__call__", interrupt)
    assert cli.main(["list"]) == 128 + signal.SIGINT
    assert capsys.readouterr().err == "Interrupted.\n"


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
