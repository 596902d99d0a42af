"""Only the held-out images decide between trials."""

import dataclasses

import numpy as np
import pytest

from tests.train import synthetic, tiny_run
from train import cli, data, files, records
from train.data.dataset import as_source
from train.errors import ConfigError
from train.experiments import EXPERIMENTS, Experiment, config_of, tuning
from train.records import StepMetrics

ARM = Experiment(
    name="g/arm",
    dataset="digits",
    epochs=2,
    learning_rates=(0.1, 0.3),
    weight_decays=(0.0, 5e-4),
    tuning_seeds=(7, 8),
)


def write_trials(root, errors, losses=None):
    """A run of each trial and seed: its last error and loss."""
    for trial in tuning.trials(ARM):
        for seed in trial.seeds:
            key = (trial.learning_rate, trial.weight_decay)
            error = errors[key]
            record = synthetic.record(trial.name.partition("/")[2], seed, [90.0, error + seed], group="g-tuning")
            end = dataclasses.replace(record.history[-1], test_loss=(losses or {}).get(key, 1.0))
            history = [*record.history[:-1], end]
            record = dataclasses.replace(record, config=config_of(trial), history=history)
            steps = StepMetrics(loss=np.ones(8, np.float32), momentum=np.ones(8, np.float32), below=np.zeros(8, bool))
            records.write(root, record, steps)


ERRORS = {(0.1, 0.0): 5.0, (0.1, 5e-4): 4.0, (0.3, 0.0): 3.0, (0.3, 5e-4): 3.0}


def test_trials_hold_images_out_and_have_seeds_of_their_own():
    trials = tuning.trials(ARM)
    assert [(trial.learning_rate, trial.weight_decay) for trial in trials] == list(ERRORS)
    assert all(trial.holdout and trial.seeds == (7, 8) and not trial.learning_rates for trial in trials)
    assert trials[-1].name == "g-tuning/arm-lr0.3-wd0.0005"
    assert tuning.trials(EXPERIMENTS["fig3/sgd-0.9"]) == []


@pytest.mark.parametrize(("losses", "decay"), [({(0.3, 0.0): 0.5}, 0.0), ({(0.3, 5e-4): 0.5}, 5e-4)])
def test_the_lowest_error_wins_and_of_two_the_lower_loss(tmp_path, losses, decay):
    write_trials(tmp_path, ERRORS, losses)
    assert tuning.tuned_fields(ARM, tmp_path) == {"learning_rate": 0.3, "weight_decay": decay}
    records.pack(tmp_path)
    assert tuning.tuned_fields(ARM, tmp_path) == {"learning_rate": 0.3, "weight_decay": decay}


def test_a_trial_that_left_the_finite_numbers_loses(tmp_path):
    write_trials(tmp_path, ERRORS, {(0.3, 0.0): float("nan"), (0.3, 5e-4): float("inf")})
    assert tuning.tuned_fields(ARM, tmp_path) == {"learning_rate": 0.1, "weight_decay": 5e-4}
    write_trials(tmp_path, ERRORS, dict.fromkeys(ERRORS, float("nan")))
    with pytest.raises(ConfigError, match="no trial stayed finite"):
        tuning.tuned_fields(ARM, tmp_path)


def test_what_trials_reached_is_written_down(tmp_path):
    write_trials(tmp_path, ERRORS)
    (tmp_path / ARM.name).mkdir(parents=True)
    tuning.write_trials(ARM, tmp_path, "a command")
    document = records.find_trials(tmp_path, ARM.name)
    assert document["command"] == "a command"
    assert document["seeds"] == [7, 8]
    assert document["trials"][1] == {
        "learning_rate": 0.1,
        "weight_decay": 5e-4,
        "error": [11.0, 12.0],
        "loss": [1.0, 1.0],
    }


def test_a_missing_trial_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"g/arm takes its learning rate from g-tuning/arm-lr0.1-wd0, seed 7"):
        tuning.tuned_fields(ARM, tmp_path)


def test_what_is_held_out_is_a_fifth_of_the_training_images_and_nothing_else():
    dataset = tiny_run.dataset()
    held = tuning.hold_out(dataset)
    rows = np.concatenate([held.train_images, held.test_images]).reshape(len(dataset.train_labels), -1)
    whole = dataset.train_images.reshape(len(rows), -1)
    np.testing.assert_array_equal(np.unique(rows, axis=0), np.unique(whole, axis=0))
    assert abs(len(held.test_labels) - len(rows) / 5) <= dataset.num_classes
    with pytest.raises(ConfigError, match="leave out --stream"):
        tuning.hold_out(as_source(dataset))


@pytest.mark.slow
def test_a_tuned_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(data, "load", lambda name, data_dir: tiny_run.dataset())
    words = ["run", "quickstart/sgd-0.9", "--epochs", "1", "--batch-size", "16", "--seeds", "0", "--tuning-seeds", "5"]
    tune = ["--learning-rates", "0.05", "1e6", "--weight-decays", "5e-4", "--nonfinite", "skip", "--runs"]
    trials = tmp_path / "quickstart/sgd-0.9/trials.json"
    for _ in range(2):  # the second time finds all of it finished but what a kill left out
        assert cli.main([*words, *tune, str(tmp_path)]) == 0
        trials.rename(tmp_path / "trials")
    assert cli.main([*words, *tune, str(tmp_path)]) == 0
    runs = {run.name: run for run in records.read_all(tmp_path)}
    assert len(runs) == 3
    assert files.loads(trials.read_bytes()) == files.loads((tmp_path / "trials").read_bytes())
    final = runs["quickstart/sgd-0.9"]
    assert (final.config["learning_rate"], final.config["holdout"]) == (0.05, False)
    assert len(runs["quickstart-tuning/sgd-0.9-lr0.05-wd0.0005"].steps.loss) < len(final.steps.loss)
    # The report of the group does not mix the trials in.
    assert "lr0.05" not in capsys.readouterr().out


def test_a_trial_that_skipped_steps_counts_as_wholly_wrong(tmp_path):
    write_trials(tmp_path, ERRORS)
    for path in tmp_path.glob("g-tuning/arm-lr0.3-*/seed-*/result.json"):
        path.write_text(path.read_text().replace('"epoch": 1,', '"epoch": 1, "skipped_steps": 1,'))
    assert tuning.tuned_fields(ARM, tmp_path) == {"learning_rate": 0.1, "weight_decay": 5e-4}
