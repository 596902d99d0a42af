"""The command line, as a person types it."""

import contextlib
import dataclasses
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import types

import pytest

from tests.train import tiny_run
from train import cli, data, experiments, records
from train.cli import run
from train.errors import ConfigError
from train.experiments import MAIN_SETTINGS
from train.experiments.overrides import Overrides


def test_list_json_holds_every_arm(capsys):
    assert cli.main(["list", "--json"]) == 0
    arms = json.loads(capsys.readouterr().out)
    names = [arm["name"] for arm in arms]
    assert {"fig3/sgd-0.9", "fig3/lcam-0.9-0.95", "fig5-cifar100/lcam-0.93-0.9", "quickstart/sgd-0.9"} <= set(names)
    assert len(names) == len(set(names)) == len(experiments.EXPERIMENTS)
    assert list(arms[0]) == ["name", *MAIN_SETTINGS]
    assert {"training", "activation", "follows", "delay", "nesterov"} <= set(arms[0])


def test_list_takes_a_filter(capsys):
    assert cli.main(["list", "fig5-cifar10", "--json"]) == 0
    names = [arm["name"] for arm in json.loads(capsys.readouterr().out)]
    assert names == ["fig5-cifar10/sgd-0.9", "fig5-cifar10/lcam-0.9-0.95"]
    assert cli.main(["list", "fig6"]) == 2
    assert "Did you mean fig" in capsys.readouterr().err


def test_help_says_that_settings_default_to_those_of_the_arm(capsys):
    with pytest.raises(SystemExit):
        cli.main(["run", "--help"])
    out = " ".join(capsys.readouterr().out.replace("│", " ").split())
    overrides = out[out.index("--dataset") :]
    assert overrides.count("(default: the arm's)") == len(dataclasses.fields(Overrides))
    assert "(default: None)" not in overrides


def test_help_of_every_command_speaks_of_values_and_not_of_types(capsys):
    for name in cli.COMMANDS:
        with pytest.raises(SystemExit) as stop:
            cli.main([name, "--help"])
        assert stop.value.code == 0
        out = capsys.readouterr().out
        assert not re.findall(r"\{None|\bINT\b|\bSTR\b|FLOAT|PATH|default: None|default: none", out)


def test_an_import_says_how_to_train_on_it_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(data, "prepare", lambda source, data_dir, name: "pets")
    monkeypatch.setenv("COLUMNS", "20")
    assert cli.main(["data", "pets"]) == 0
    assert capsys.readouterr().out == "Prepared. Train on it with --dataset pets\n"
    assert cli.main(["data", "pets", "--data-dir", str(tmp_path / "of all")]) == 0
    assert capsys.readouterr().out == f"Prepared. Train on it with --dataset pets --data-dir '{tmp_path}/of all'\n"


def test_help_without_a_command_shows_the_quickstart_and_every_command(capsys):
    assert cli.main(["--help"]) == 0
    out = capsys.readouterr().out
    assert "Without a command" in out
    assert all(f"\n  {name} " in out for name in cli.COMMANDS)


def trained(folder, *words):
    """Trains on a tiny data set, and returns the exit status."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "load", lambda name, data_dir: tiny_run.dataset())
        return cli.main([*words, "--epochs", "2", "--batch-size", "16", "--devices", "1", "--runs", str(folder)])


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory):
    """The quickstart, trained by options without a command."""
    folder = tmp_path_factory.mktemp("runs")
    assert trained(folder, "--seeds", "0,1", "--flip") == 0
    return folder


def test_options_without_a_command_are_those_of_the_quickstart(quickstart):
    runs = records.read_all(quickstart)
    assert len(runs) == 6
    assert {run.seed for run in runs} == {0, 1}
    assert all(run.config["epochs"] == 2 and run.config["flip"] is True for run in runs)
    assert (quickstart / "quickstart/report/quickstart-curves.png").exists()


def test_records_name_the_command_that_a_script_gave(quickstart):
    (command,) = {run.command for run in records.read_all(quickstart)}
    words = ["--seeds", "0,1", "--flip", "--epochs", "2", "--batch-size", "16", "--devices", "1"]
    assert shlex.split(command) == ["python", "-m", "train", *words, "--runs", str(quickstart)]


@pytest.mark.parametrize(
    ("epochs", "said"),
    [
        ("2", "quickstart/sgd-0.9: 2 epochs leave out the learning rates 0.02 and 0.004 of the step schedule\n"),
        ("5", ""),
    ],
)
def test_a_lost_stage_is_told_at_the_start(tmp_path, monkeypatch, capsys, epochs, said):
    def train(run, **settings):
        raise ConfigError("the start is over")

    monkeypatch.setattr("train.engine.run.run_experiment", train)
    assert cli.main(["run", "quickstart/sgd-0.9", "--epochs", epochs, "--runs", str(tmp_path)]) == 2
    assert capsys.readouterr().out == f"1 arm to train in {tmp_path}/quickstart\n{said}"


def test_a_second_run_says_first_what_is_finished_and_last_what_was_found(quickstart, monkeypatch, capsys):
    said = "No difference from sgd-0.9 can be seen with 2 seeds"
    monkeypatch.setattr("train.report.report.verdict", lambda group, decision: f"{group.name}: {said}")
    assert trained(quickstart, "run", "quickstart", "--seeds", "0", "1", "--flip", "true") == 0
    captured = capsys.readouterr()
    assert captured.out.startswith(f"3 arms already finished in {quickstart}/quickstart\n")
    assert captured.err == ""
    out = " ".join(captured.out.split())
    verdict = out.index(f"quickstart: {said}")
    assert out.index("report.md") < verdict < out.index(f"figures: {quickstart}/quickstart/report/report.html")
    assert "python -m train list" in out


def test_runs_with_other_settings_do_not_count_as_finished(quickstart, capsys):
    assert trained(quickstart, "run", "quickstart", "--seeds", "0", "1", "--no-flip") == 2
    captured = capsys.readouterr()
    assert captured.out.startswith(f"3 arms to train in {quickstart}/quickstart\n")
    assert "was made with other settings: flip (True there, False now)" in captured.err


def test_fresh_removes_what_there_is_of_a_whole_group_before_its_first_arm(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr("train.engine.run.run_experiment", lambda run, **settings: calls.append((run, settings)))
    made = types.SimpleNamespace(groups=(), show=lambda console: None)
    monkeypatch.setattr("train.report.report.report", lambda *arguments, **settings: made)
    assert cli.main(["run", "quickstart", "--fresh", "--runs", str(tmp_path)]) == 0
    assert [settings["fresh"] for _, settings in calls] == [True, False, False]
    assert calls[0][1]["fresh_too"] == [run for run, _ in calls[1:]]


def test_an_arm_of_its_own_is_compared_with_the_group_s_sgd_once_that_was_run(tmp_path):
    arms = experiments.find("fig3/lcam-0.9-0.95")
    assert run._baseline(arms, tmp_path) == "lcam-0.9-0.95"
    (tmp_path / "fig3" / "sgd-0.9" / "seed-3").mkdir(parents=True)
    (tmp_path / "fig3" / "sgd-0.9" / "seed-3" / records.RESULT).touch()
    assert run._baseline(arms, tmp_path) == "sgd-0.9"


def test_an_interrupt_while_nothing_is_trained_has_no_traceback(monkeypatch, capsys):
    def interrupt(self, console):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.List, "__call__", interrupt)
    assert cli.main(["list"]) == 128 + signal.SIGINT
    assert capsys.readouterr().err == "Interrupted.\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["bogus"], "No command is called 'bogus'"),
        (["lst"], "Did you mean list?"),
        (["fig3"], "`python -m train run fig3`"),
        (["--epoch", "3"], "Did you mean --epochs?"),
    ],
)
def test_slips_are_answered_by_what_was_meant(words, message, capsys):
    assert cli.main(words) == 2
    assert message in capsys.readouterr().err


def test_help_needs_no_jax():
    source = "import sys; from train import cli; cli.main(['--help']); sys.exit('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", source], stdout=subprocess.DEVNULL, check=False)
    assert done.returncode == 0


def test_module_runs_as_a_program():
    command = [sys.executable, "-m", "train", "run", "nothing"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"XLA_FLAGS": ""}, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: No arm or group is called 'nothing'")
    assert "Traceback" not in done.stderr


def test_help_fits_80_columns(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    for words in (["--help"], *([name, "--help"] for name in cli.COMMANDS)):
        with contextlib.suppress(SystemExit):
            cli.main(words)
        assert max(map(len, capsys.readouterr().out.splitlines())) <= 80
