"""Whole runs: what they record, when they are repeated, and how they stop."""

import concurrent.futures
import dataclasses
import io
import shutil
import signal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from rich.console import Console

from tests.train import tiny_run
from train import data, records
from train.engine import trainer
from train.engine.programs import Evaluation
from train.engine.progress import RunProgress
from train.engine.run import run_experiment
from train.engine.signals import Stopped
from train.errors import ConfigError, RunError
from train.experiments import config_of


@pytest.fixture(autouse=True)
def tiny_data(monkeypatch):
    monkeypatch.setattr(data, "load", lambda name, data_dir: tiny_run.dataset())


def run(root, seeds=(0,), text=None, fresh=False, fresh_too=(), devices=1, **changes):
    console = Console(file=text or io.StringIO(), width=200)
    paths = run_experiment(
        tiny_run.experiment(**changes),
        seeds=seeds,
        root=root,
        console=console,
        fresh=fresh,
        fresh_too=fresh_too,
        command="test",
        devices=devices,
    )
    return [records.read(path) for path in paths]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "load", lambda name, data_dir: tiny_run.dataset())
        root = tmp_path_factory.mktemp("runs")
        text = io.StringIO()
        return root, run(root, (0, 1), text, epochs=3, devices=None), text.getvalue()


def test_record_holds_the_whole_run(recorded):
    root, (first, second), _ = recorded
    assert (root / "quickstart/lcam-0.9-0.95/seed-1/result.json").exists()
    assert (first.seed, second.seed) == (0, 1)
    assert [row.epoch for row in first.history] == [0, 1, 2]
    assert len(first.steps.loss) == 12  # 3 epochs of 3 full batches and a short one
    assert first.final_test_error == first.history[-1].test_error
    assert first.versions["dataset"] == "tiny"
    for row, losses, momenta, below in zip(
        first.history, *(np.split(getattr(first.steps, name), 3) for name in ("loss", "momentum", "below")), strict=True
    ):
        assert row.train_loss == pytest.approx(losses.mean(), rel=1e-6)
        assert row.mean_momentum == pytest.approx(momenta.mean(), rel=1e-6)
        assert row.below_fraction == pytest.approx(below.mean())
        assert row.learning_rate == pytest.approx(0.05)
        assert row.seconds > 0


def test_seeds_side_by_side_are_recorded_as_such_and_equal_a_seed_alone(recorded, tmp_path):
    _, runs, _ = recorded
    assert [(record.device["count"], record.device["vmapped_seeds"]) for record in runs] == [(1, [])] * 2
    (alone,) = run(tmp_path, (1,), epochs=3, devices=1)
    assert alone.device == runs[1].device
    for name in ("loss", "momentum", "below"):
        np.testing.assert_array_equal(getattr(alone.steps, name), getattr(runs[1].steps, name))
    assert alone.final_test_error == runs[1].final_test_error


def test_vmapped_seeds_are_recorded_as_such(tmp_path):
    runs = run(tmp_path, (0, 3), epochs=1, devices=1)
    assert [(record.device["count"], record.device["vmapped_seeds"]) for record in runs] == [(1, [0, 3])] * 2


def test_it_learns(recorded):
    _, runs, _ = recorded
    assert all(run.history[-1].train_loss < run.history[0].train_loss for run in runs)


def test_plain_lines_when_not_on_a_terminal(recorded):
    title, compiling, *lines = recorded[2].splitlines()
    assert (title, compiling) == ("quickstart/lcam-0.9-0.95 seeds 0 1", "compiling")
    assert len(lines) == 3
    assert all("epoch" in line and "test error" in line and "\x1b" not in line for line in lines)


def test_finished_runs_are_not_repeated_and_repeat_exactly_when_fresh(tmp_path):
    (first,) = run(tmp_path)
    path = first.folder / records.RESULT
    before = path.stat().st_mtime_ns
    run(tmp_path)
    assert path.stat().st_mtime_ns == before
    shutil.copytree(first.folder, tmp_path / "quickstart/next/seed-0")
    following = tiny_run.experiment(name="quickstart/next", seeds=(0,))
    (again,) = run(tmp_path, fresh=True, fresh_too=[following])
    assert not (tmp_path / "quickstart/next/seed-0" / records.RESULT).exists()
    assert path.stat().st_mtime_ns != before
    np.testing.assert_array_equal(first.steps.loss, again.steps.loss)


def test_other_settings_in_the_same_folder_are_refused(tmp_path):
    run(tmp_path, epochs=1)
    with pytest.raises(ConfigError, match=r"epochs \(1 there, 2 now\)"):
        run(tmp_path, epochs=2)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    with pytest.raises(RunError, match=r"step \d+ \(epoch 0\).*learning rate.*momentum") as error:
        run(tmp_path, learning_rate=1e30)
    assert "quickstart/lcam-0.9-0.95" in str(error.value)


@pytest.fixture
def broken_updates(monkeypatch):
    """Steps of finite losses that leave parameters which are not."""
    monkeypatch.setattr(optax, "apply_updates", lambda params, updates: jax.tree.map(lambda x: x + np.inf, params))


@pytest.mark.usefixtures("broken_updates")
def test_a_state_that_is_not_finite_is_neither_saved_nor_recorded(tmp_path):
    with pytest.raises(RunError, match=r"state after step 0 \(epoch 0\).*are not finite. Last good checkpoint: none"):
        run(tmp_path, batch_size=54, epochs=1)
    assert not list(tmp_path.rglob(records.RESULT))
    assert not list(tmp_path.rglob("checkpoints/*/1"))


@pytest.mark.usefixtures("broken_updates")
def test_updates_that_leave_the_finite_numbers_are_skipped_and_counted(tmp_path):
    text = io.StringIO()
    (record,) = run(tmp_path, batch_size=54, epochs=1, nonfinite="skip", text=text)
    assert "1 steps skipped" in text.getvalue()
    assert record.history[0].skipped_steps == 1
    assert np.isfinite(record.history[0].test_loss)
    assert np.isnan(record.steps.loss).all()


def test_a_test_loss_that_is_not_finite_stops_the_run(tmp_path, monkeypatch):
    def program(*args, **options):
        return lambda state, data: Evaluation(state.step, jnp.float32(jnp.inf))

    monkeypatch.setattr(trainer, "evaluation_program", program)
    with pytest.raises(RunError, match=r"the test loss after step 0 \(epoch 0\) at learning rate 0.05 is inf"):
        run(tmp_path, batch_size=54, epochs=1)


def test_settings_that_do_not_fit_the_data(tmp_path):
    with pytest.raises(ConfigError, match=r"3 numbers.*1 channels"):
        run(tmp_path, mean=(0.5,) * 3, std=(0.5,) * 3)
    with pytest.raises(ConfigError, match=r"batch_size is 55.*54 training images"):
        run(tmp_path, batch_size=55)


def test_dropping_the_last_batch(tmp_path):
    (record,) = run(tmp_path, drop_last=True, epochs=1)
    assert len(record.steps.loss) == 3


@pytest.mark.slow
def test_sgd_equals_lcam_with_one_momentum(tmp_path):
    (lcam,) = run(tmp_path / "a", momentum_below=0.9, momentum_above=0.9)
    (sgd,) = run(tmp_path / "b", momentum_below=0.9, momentum_above=0.9, phase="none")
    np.testing.assert_allclose(lcam.steps.loss, sgd.steps.loss, rtol=1e-5)
    np.testing.assert_array_equal(lcam.steps.below, sgd.steps.below)


def test_config_is_complete_but_for_the_seeds():
    experiment = tiny_run.experiment()
    names = {field.name for field in dataclasses.fields(experiment)}
    assert set(config_of(experiment)) == names - {"seeds", "vmap_seeds"}


def test_controls_use_the_momenta_of_their_donors(tmp_path):
    lcam = tiny_run.experiment(name="tiny/lcam", vmap_seeds=True)
    kinds = ("yoked", "schedule", "constant", "random")
    arms = [dataclasses.replace(lcam, name=f"tiny/{k}", phase="none", control=k, follows="lcam") for k in kinds]
    for _ in range(2):  # the second time finds all runs finished
        for arm in (lcam, *arms):
            run_experiment(arm, seeds=range(5), root=tmp_path, devices=1, console=Console(file=io.StringIO()))
    used = {(run.name, run.seed): run.steps.momentum for run in records.read_all(tmp_path)}
    for seed in range(5):
        donor = used["tiny/lcam", seed]
        np.testing.assert_array_equal(used["tiny/yoked", seed], used["tiny/lcam", (seed + 1) % 5])
        np.testing.assert_allclose(used["tiny/constant", seed], donor.mean(dtype=float), rtol=1e-6)
        means = donor.reshape(2, -1).mean(axis=1, dtype=float)
        np.testing.assert_allclose(used["tiny/schedule", seed].reshape(2, -1).T, np.tile(means, (4, 1)), rtol=1e-6)
        assert set(used["tiny/random", seed]) <= set(np.float32([0.9, 0.95]))


def test_a_resumed_control_goes_on_with_its_momenta(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "load", lambda name, data_dir: tiny_run.dataset())
    rising = tiny_run.experiment(name="tiny/rising", phase="none", control="rising")
    whole = run_experiment(rising, seeds=(0,), root=tmp_path / "whole", devices=1, console=Console(file=io.StringIO()))
    with monkeypatch.context() as patch:
        original = RunProgress.epoch
        patch.setattr(RunProgress, "epoch", lambda *a: (original(*a), signal.raise_signal(signal.SIGTERM)))
        with pytest.raises(Stopped):
            run_experiment(rising, seeds=(0,), root=tmp_path, devices=1, console=Console(file=io.StringIO()))
    resumed = run_experiment(rising, seeds=(0,), root=tmp_path, devices=1, console=Console(file=io.StringIO()))
    expected, got = (records.read(paths[0]).steps for paths in (whole, resumed))
    np.testing.assert_allclose(got.momentum, np.repeat(np.float32([0.9, 0.95]), 4))
    np.testing.assert_array_equal(got.loss, expected.loss)


def test_a_run_in_another_thread_equals_one_in_the_main_thread(tmp_path):
    (here,) = run(tmp_path / "main", epochs=1)
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        (there,) = threads.submit(run, tmp_path / "thread", epochs=1).result()
    np.testing.assert_array_equal(there.steps.loss, here.steps.loss)
