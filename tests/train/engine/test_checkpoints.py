"""A run that was stopped, killed or damaged resumes, and ends like an uninterrupted one."""

import dataclasses
import io
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from rich.console import Console

from tests.train import tiny_run
from train import data, records
from train.engine import checkpoint_folders, checkpoints, slices, state
from train.engine.checkpoints import Checkpoints
from train.engine.devices import by_seed, make_mesh
from train.engine.placement import SeedSet
from train.engine.progress import RunProgress
from train.engine.run import SavePolicy, run_experiment
from train.engine.signals import Stopped
from train.errors import CheckpointError, ConfigError, RunError
from train.records import StepMetrics

ROOT = Path(__file__).parents[3]
SEEDS = (0, 4)


class Crash(BaseException):
    """Stands for anything that ends the process; nothing catches it."""


def run(root, text=None, fresh=False, policy=None, seeds=SEEDS, **changes):
    console = Console(file=text or io.StringIO(), width=200)
    settings = {"epochs": 3, "phase": "random"} | changes  # the phase with the most state
    paths = run_experiment(
        tiny_run.experiment(**settings),
        seeds=seeds,
        root=root,
        console=console,
        fresh=fresh,
        policy=policy,
        devices=1,  # whose programs the compile cache keeps
    )
    return [records.read(path) for path in paths]


def make_small(monkeypatch):
    monkeypatch.setattr(data, "load", lambda name, data_dir: tiny_run.dataset())
    monkeypatch.setattr(slices, "_SLICE_STEPS", 2)  # slices of 2, 1 and the short batch


@pytest.fixture(autouse=True)
def short_slices(monkeypatch):
    make_small(monkeypatch)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        make_small(patch)
        root = tmp_path_factory.mktemp("whole")
        return root, run(root)


def interrupt_at(monkeypatch, calls, action):
    """Do something when the run shows its n-th slice."""
    original, left = RunProgress.steps, [calls]

    def steps(self, *arrays):
        original(self, *arrays)
        left[0] -= 1
        if left[0] == 0:
            action()

    monkeypatch.setattr(RunProgress, "steps", steps)


def crash():
    raise Crash


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def fill_the_disk():
    """From here on no file of this process may grow beyond 64 KiB, which is what a full disk does to a save."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def in_a_process(root, calls, action):
    """Train in another process, which saves at every slice and does something when it shows the n-th."""
    call = f"here.train({str(root)!r}, {calls}, here.{action.__name__})"
    code = f"from tests.train.engine import test_checkpoints as here; {call}"
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)


def train(root, calls, action):
    with pytest.MonkeyPatch.context() as patch:
        make_small(patch)
        interrupt_at(patch, calls, action)
        try:
            run(Path(root), policy=SavePolicy(epochs=1, minutes=1e-9))
        except CheckpointError as error:
            print(error, flush=True)
    os._exit(0)  # whatever TensorStore left behind


def final_arrays(root, seeds=SEEDS):
    folder = checkpoint_folders.checkpoint_dir(root, "quickstart/lcam-0.9-0.95", SeedSet(seeds))
    saved = Checkpoints(folder)
    arrays = saved._manager.restore(saved.latest_step(), args=ocp.args.Composite(arrays=ocp.args.StandardRestore()))[
        "arrays"
    ]
    saved.close()
    return jax.tree.map(np.asarray, arrays)


def without_seconds(history):
    return [dataclasses.replace(row, seconds=0.0) for row in history]


def assert_same(root, got, uninterrupted):
    whole_root, expected = uninterrupted
    for left, right in zip(got, expected, strict=True):
        assert without_seconds(left.history) == without_seconds(right.history)
        for name in ("loss", "momentum", "below"):
            np.testing.assert_array_equal(getattr(left.steps, name), getattr(right.steps, name))
    jax.tree.map(np.testing.assert_array_equal, final_arrays(root), final_arrays(whole_root))


@pytest.mark.filterwarnings("ignore::UserWarning")  # Orbax: no sharding named when it restores as saved
@pytest.mark.parametrize("calls", [pytest.param(2, marks=pytest.mark.slow), 5])
def test_a_kill_loses_at_most_the_work_since_the_last_checkpoint(tmp_path, uninterrupted, calls):
    assert in_a_process(tmp_path, calls, die).returncode == -signal.SIGKILL
    text = io.StringIO()
    assert_same(tmp_path, run(tmp_path, text), uninterrupted)
    assert "resumed at step" in text.getvalue()


@pytest.fixture
def sigint():
    """SIGINT as a terminal leaves it; a shell starts background jobs with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("sigint")
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("signum", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_signal_saves_and_the_same_command_resumes(tmp_path, monkeypatch, uninterrupted, signum):
    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        interrupt_at(patch, 4, lambda: signal.raise_signal(signum))
        with pytest.raises(Stopped, match=r"Stopped at step \d+ of 12, saved in .*The same command resumes") as stop:
            run(tmp_path)
    assert stop.value.signum == signum
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == handlers
    assert_same(tmp_path, run(tmp_path), uninterrupted)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_machine_that_cuts_otherwise_goes_on_within_a_slice(tmp_path, monkeypatch, uninterrupted):
    with monkeypatch.context() as patch:
        patch.setattr(slices, "_SLICE_STEPS", 1)
        interrupt_at(patch, 5, lambda: signal.raise_signal(signal.SIGTERM))
        with pytest.raises(Stopped, match=r"at step 6 of 12"):
            run(tmp_path)
    monkeypatch.setattr(slices, "_SLICE_STEPS", 3)  # the second epoch began with step 4, and is cut at 7
    for left, right in zip(run(tmp_path), uninterrupted[1], strict=True):
        assert [row.learning_rate for row in left.history] == [row.learning_rate for row in right.history]
        np.testing.assert_array_equal(left.steps.momentum, right.steps.momentum)
        np.testing.assert_allclose(left.steps.loss, right.steps.loss, rtol=1e-3)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_damaged_newest_checkpoint_is_reported_and_the_one_before_it_used(tmp_path, monkeypatch, uninterrupted):
    with monkeypatch.context() as patch:
        interrupt_at(patch, 5, crash)
        with pytest.raises(Crash):
            run(tmp_path, policy=SavePolicy(epochs=1, minutes=1e-9))
    folder = checkpoint_folders.checkpoint_dir(tmp_path, "quickstart/lcam-0.9-0.95", SeedSet(SEEDS))
    older, newest = sorted(int(path.name) for path in folder.glob("*") if path.name.isdigit())
    for path in (folder / str(newest) / "arrays").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    text = io.StringIO()
    assert_same(tmp_path, run(tmp_path, text), uninterrupted)
    assert f"{newest} is damaged and was moved to" in text.getvalue()
    assert (folder.with_name(f"{folder.name}-damaged") / str(newest)).is_dir()
    assert f"resumed at step {older} of 12" in text.getvalue()


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_checkpoints_that_cannot_be_read_are_no_reason_to_begin_anew(tmp_path, monkeypatch, uninterrupted):
    root = tmp_path / "runs"
    shutil.copytree(uninterrupted[0], root)
    for seed in SEEDS:
        (records.run_dir(root, "quickstart/lcam-0.9-0.95", seed) / records.RESULT).unlink()
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "_read", unreadable)
        with pytest.raises(CheckpointError, match=r"none of its checkpoints can be read \(OSError: Stale file"):
            run(root)
    assert_same(root, run(root), uninterrupted)


def unreadable(self, step, like, seeds):
    raise OSError("Stale file handle")


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_other_settings_and_data_are_refused_and_fresh_begins_anew(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_at(patch, 4, lambda: signal.raise_signal(signal.SIGTERM))
        with pytest.raises(Stopped):
            run(tmp_path)
    with pytest.raises(ConfigError, match=r"learning_rate \(0.05 there, 0.01 now\)"):
        run(tmp_path, learning_rate=0.01)
    with monkeypatch.context() as patch:
        other = dataclasses.replace(tiny_run.dataset(), name="other")
        patch.setattr(data, "load", lambda name, data_dir: other)
        with pytest.raises(ConfigError, match=r"data \('tiny: 54 and 23 images of 8 x 8 x 1' there, 'other: 54 "):
            run(tmp_path)
    text = io.StringIO()
    with monkeypatch.context() as patch:
        interrupt_at(patch, 4, lambda: signal.raise_signal(signal.SIGTERM))
        with pytest.raises(Stopped, match=r"The same command resumes \(without --fresh\)"):
            run(tmp_path, text, fresh=True, learning_rate=0.01)
    assert "resumed" not in text.getvalue()
    run(tmp_path, text, learning_rate=0.01)
    assert "resumed" in text.getvalue()


def test_one_process_at_a_time_trains_the_same_seeds(tmp_path):
    first = Checkpoints(checkpoint_folders.checkpoint_dir(tmp_path, "group/arm", SeedSet(SEEDS)))
    with pytest.raises(CheckpointError, match="another process is training these seeds"):
        Checkpoints(first.folder)
    first.close()
    Checkpoints(first.folder).close()


def test_a_folder_that_cannot_be_written_ends_in_a_clear_error(tmp_path):
    (tmp_path / "quickstart").write_text("a file where a folder should be")
    with pytest.raises(CheckpointError, match=r"cannot be written .*there is no checkpoint yet"):
        run(tmp_path)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_full_disk_ends_in_a_clear_error_and_leaves_the_last_checkpoint_whole(tmp_path, uninterrupted):
    done = in_a_process(tmp_path, 5, fill_the_disk)
    assert re.search(r"cannot be written .*the checkpoint of step \d+ is still there", done.stdout), done.stderr
    assert "ERROR:absl" not in done.stderr
    text = io.StringIO()
    assert_same(tmp_path, run(tmp_path, text), uninterrupted)
    assert "resumed at step" in text.getvalue()


def test_a_loss_that_is_not_finite_names_the_last_good_checkpoint(tmp_path):
    with pytest.raises(RunError, match=r"Last good checkpoint: none yet"):
        run(tmp_path, learning_rate=1e30, phase="epoch_mean")


def test_the_last_good_checkpoint_is_on_disk_when_it_is_named(tmp_path):
    every_epoch = SavePolicy(epochs=1)
    with pytest.raises(RunError, match=r"Last good checkpoint: (\S+)\. ") as error:
        run(tmp_path, learning_rate=1e30, batch_size=54, policy=every_epoch)  # one step an epoch, finite for one
    named = Path(re.search(r"checkpoint: (\S+)\. ", str(error.value))[1])
    saved = Checkpoints(named.parent)
    assert saved.latest_step() == int(named.name) == 1
    saved.close()


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_run_that_stopped_at_such_a_loss_goes_on_when_told_to_skip(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_at(patch, 4, lambda: signal.raise_signal(signal.SIGTERM))
        with pytest.raises(Stopped):
            run(tmp_path, seeds=(0,))
    text = io.StringIO()
    (record,) = run(tmp_path, text, seeds=(0,), nonfinite="skip")
    assert "resumed at step" in text.getvalue()
    assert record.config["nonfinite"] == "skip"
    assert len(record.steps.loss) == 12


def test_skipping_steps_whose_loss_is_not_finite(tmp_path):
    (record,) = run(tmp_path, seeds=(0,), learning_rate=1e30, nonfinite="skip", epochs=1)
    bad = ~np.isfinite(record.steps.loss)
    assert bad.any()
    assert len(record.steps.loss) == 4


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("lost", SEEDS)
def test_a_kill_between_the_records_of_two_seeds_loses_nothing(tmp_path, monkeypatch, uninterrupted, lost):
    root = tmp_path / "runs"
    shutil.copytree(uninterrupted[0], root)
    kept, gone = (records.run_dir(root, "quickstart/lcam-0.9-0.95", seed) for seed in (sum(SEEDS) - lost, lost))
    (gone / records.RESULT).unlink()
    there = (kept / records.RESULT).stat().st_mtime_ns
    with monkeypatch.context() as patch:
        interrupt_at(patch, 1, crash)  # no step is made again
        assert_same(root, run(root, seeds=SEEDS), uninterrupted)
    assert (kept / records.RESULT).stat().st_mtime_ns == there


def test_seeds_that_nobody_asked_for_are_not_trained(tmp_path, uninterrupted):
    root = tmp_path / "runs"
    shutil.copytree(uninterrupted[0], root)
    for seed in SEEDS:
        (records.run_dir(root, "quickstart/lcam-0.9-0.95", seed) / records.RESULT).unlink()
    run(root, seeds=SEEDS[:1])
    assert [record.seed for record in records.read_all(root)] == [SEEDS[0]]


def test_what_a_crash_left_of_a_save_is_removed(tmp_path):
    folder = checkpoint_folders.checkpoint_dir(tmp_path, "group/arm", SeedSet([0]))
    (folder / "7.orbax-checkpoint-tmp" / "arrays").mkdir(parents=True)
    (folder / "7.orbax-checkpoint-tmp" / "arrays" / "half").write_bytes(bytes(100))
    Checkpoints(folder).close()
    assert not list(folder.iterdir())


def state_on_rows(rows, values):
    """A state with a number per seed; the last one repeats on the rows after it."""
    mesh = make_mesh(rows, rows=rows)
    numbers = np.asarray(values + values[-1:] * (rows - len(values)), np.float32)
    params, step, seed = jax.device_put((numbers, numbers.astype(np.int32), numbers.astype(np.uint32)), by_seed(mesh))
    return state.TrainState(params, (), (), (), step, seed)


@pytest.mark.parametrize(("saved", "restored"), [(3, 3), (4, 3), (3, 4), (8, 4)])
def test_seeds_resume_on_another_number_of_rows(tmp_path, saved, restored):
    metrics = StepMetrics(*(np.zeros((3, 5), dtype) for dtype in ("float32", "float32", "bool")))
    folder = Checkpoints(tmp_path / "seeds-0-1-2-on-1")
    folder.save(checkpoints.Snapshot(state_on_rows(saved, [1.5, 2.5, 3.5]), metrics, [], {}))
    folder.wait()
    like = state_on_rows(restored, [0.0, 0.0, 0.0])
    there = folder.restore(like, pytest.fail, seeds=3)
    folder.close()
    assert there.metrics.loss.shape == (3, 5)
    jax.tree.map(np.testing.assert_array_equal, there.state, state_on_rows(restored, [1.5, 2.5, 3.5]))
    assert jax.tree.map(lambda x: x.sharding, there.state) == jax.tree.map(lambda x: x.sharding, like)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_twenty_kills_at_random_moments_change_nothing(tmp_path):
    words = "run quickstart/lcam-0.9-0.95 --devices 1 --epochs 120 --seeds 0 4"
    words += " --checkpoint-epochs 1 --checkpoint-minutes 0.002"

    def start(root):
        command = [sys.executable, "-m", "train", *words.split(), "--runs", str(root)]
        told = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, env=os.environ | {"XLA_FLAGS": ""}, **told)

    def kill_after(line, seconds):
        """Kill a run so long after it has said a line, or what comes before it; whether it was still running."""
        process = start(tmp_path / "killed")
        for _ in range(line):
            process.stderr.readline()
        time.sleep(seconds)
        running = process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.communicate()
        return running

    def finish(root):
        """Let a run come to its end; how long that took after its title and its first line."""
        process = start(root)
        for _ in range(2):
            process.stderr.readline()
        began = time.monotonic()
        text = process.communicate()[1]
        assert process.returncode == 0, text
        return time.monotonic() - began

    def lose_the_records():
        for path in (tmp_path / "killed").rglob("result.json"):
            path.unlink()

    chance = random.Random(0)
    # A run begins with its title, a resumed one then says so, and a line per epoch follows: kills come from the
    # imports on, in steps and in saves.
    kills = sum(kill_after(chance.randint(0, 4), chance.uniform(0, 0.5)) for _ in range(17))
    finish(tmp_path / "killed")
    # With all epochs in the checkpoint, what is left to do are the records and the report.
    lose_the_records()
    seconds = finish(tmp_path / "killed")
    for share in (0.1, 0.3, 0.5, 0.7, 0.9):
        lose_the_records()
        kills += kill_after(2, share * seconds)
    assert kills >= 20
    finish(tmp_path / "killed")
    finish(tmp_path / "whole")
    runs = [records.read_all(tmp_path / kind) for kind in ("whole", "killed")]
    for left, right in zip(*runs, strict=True):
        assert without_seconds(left.history) == without_seconds(right.history)
        for name in ("loss", "momentum", "below"):
            np.testing.assert_array_equal(getattr(left.steps, name), getattr(right.steps, name))
    jax.tree.map(np.testing.assert_array_equal, *(final_arrays(tmp_path / kind) for kind in ("whole", "killed")))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_run_that_skipped_steps_goes_on_only_when_told_to_skip(tmp_path, monkeypatch):
    changes = {"seeds": (0,), "learning_rate": 1e30, "epochs": 2}
    with monkeypatch.context() as patch:
        interrupt_at(patch, 2, lambda: signal.raise_signal(signal.SIGTERM))
        with pytest.raises(Stopped):
            run(tmp_path, nonfinite="skip", **changes)
    with pytest.raises(ConfigError, match=r"this run has skipped steps\. Add --nonfinite skip to go on"):
        run(tmp_path, **changes)
    (record,) = run(tmp_path, nonfinite="skip", **changes)
    assert record.skipped_steps
