"""Several processes give the same run as one, write it once, and resume after one is lost."""

import functools
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from train import records
from train.engine import processes
from train.errors import ConfigError

# At the arm's own learning rate, differences by rounding would grow a thousandfold within an epoch.
RUN = "run quickstart/lcam-0.9-0.95 --learning-rate 0.01 --batch-size 90 --checkpoint-epochs 1"
ROOT = Path(__file__).parents[3]


def start(root, *words, epochs=2, devices=2, **variables):
    """One process with virtual CPU devices."""
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}"  # the last of a name counts
    words = words if "--seeds" in words else ("--seeds", "0", *words)
    return subprocess.Popen(
        [sys.executable, "-m", "train", *RUN.split(), "--epochs", str(epochs), "--runs", str(root), *words],
        env=os.environ | {"XLA_FLAGS": flags} | variables,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start_job(root, words=(), processes=2, devices=2, epochs=2):
    place = ["--coordinator", f"127.0.0.1:{free_port()}", "--processes", str(processes), "--process"]
    return [start(root, *words, *place, str(index), devices=devices, epochs=epochs) for index in range(processes)]


def start_slurm_job(root):
    """Two processes that find each other by what SLURM tells them; the port is JAX's, made from the job's number."""
    job = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_STEP_NODELIST": "127.0.0.1", "SLURM_NTASKS": "2"}
    return [
        start(root, "--coordinator", "auto", **job, SLURM_PROCID=str(index), SLURM_LOCALID=str(index))
        for index in range(2)
    ]


def finish(running, seconds=600):
    """What each process said, and its exit status; none is left behind."""
    try:
        return [(process.communicate(timeout=seconds)[0], process.returncode) for process in running]
    finally:
        for process in running:
            process.kill()


def the_record(root):
    (record,) = records.read_all(root)
    return record


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Gives the record of one process on its own, by its number of devices."""

    @functools.cache
    def run(devices):
        root = tmp_path_factory.mktemp("alone")
        ((text, code),) = finish([start(root, devices=devices)])
        assert code == 0, text
        return the_record(root)

    return run


def assert_same(record, alone):
    """Compare two runs up to rounding: sums have another order, so a loss at the mean may fall on either side."""
    assert record.config == alone.config
    epochs = np.split(alone.steps.loss, len(alone.history))
    mean = np.concatenate([np.cumsum(loss) / np.arange(1, len(loss) + 1) for loss in epochs])
    flipped = np.flatnonzero(record.steps.below != alone.steps.below)
    same = len(mean) if not flipped.size else flipped[0] + 1
    if flipped.size:
        np.testing.assert_allclose(alone.steps.loss[same - 1], mean[same - 1], rtol=5e-3)
    assert same > len(epochs[0])
    np.testing.assert_array_equal(record.steps.momentum[:same], alone.steps.momentum[:same])
    np.testing.assert_allclose(record.steps.loss[:same], alone.steps.loss[:same], rtol=1e-3)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("processes", "devices"), [(1, 1), (1, 2), (2, 1), (2, 2), (3, 1), (3, 2)])
def test_several_processes_give_the_run_of_one_and_write_it_once(tmp_path, alone, processes, devices):
    (first, *others) = finish(start_job(tmp_path, processes=processes, devices=devices))
    assert {code for _, code in (first, *others)} == {0}, (first, *others)
    record = the_record(tmp_path)
    assert_same(record, alone(processes * devices))
    assert (record.device["process_count"], record.device["count"]) == (processes, processes * devices)
    assert first[0].count("epoch 2/2") == 1  # the first speaks
    assert all("epoch" not in text for text, _ in others)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("begin", [functools.partial(start_job, words=["--stream"]), start_slurm_job])
def test_other_ways_to_start_give_the_same_run(tmp_path, alone, begin):
    (first, first_code), (second, second_code) = finish(begin(tmp_path))
    assert (first_code, second_code) == (0, 0), first + second
    record = the_record(tmp_path)
    assert_same(record, alone(4))
    # What is complete stays so, with processes or without.
    before = (record.folder / records.RESULT).stat().st_mtime_ns
    ((text, code),) = finish([start(tmp_path)])
    assert code == 0, text
    assert (record.folder / records.RESULT).stat().st_mtime_ns == before


def wait_for_checkpoint(root, running):
    deadline = time.monotonic() + 500
    while not any(path.name.isdigit() for path in root.glob("quickstart/*/checkpoints/seeds-0*/*")):
        assert time.monotonic() < deadline
        assert all(process.poll() is None for process in running), finish(running)
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_seeds_of_several_processes_have_a_device_each_and_resume_in_one_process(tmp_path):
    words = ["--seeds", "0", "1", "2"]  # on four devices, one of which is idle
    one, several, begun = tmp_path / "one", tmp_path / "several", tmp_path / "begun"
    for running in ([start(one, *words, devices=4, epochs=6)], start_job(several, words, epochs=6)):
        texts = finish(running)
        assert {code for _, code in texts} == {0}, texts
    running = start_job(begun, words, epochs=6)
    wait_for_checkpoint(begun, running)
    running[1].send_signal(signal.SIGTERM)
    texts = finish(running)
    assert {code for _, code in texts} == {128 + signal.SIGTERM}, texts
    ((text, code),) = finish([start(begun, *words, devices=4, epochs=6)])
    assert code == 0, text
    assert "resumed at step" in text
    expected = records.read_all(one)
    for root, number in ((several, 2), (begun, 1)):
        there = records.read_all(root)
        assert [record.seed for record in there] == [0, 1, 2]
        for record, other in zip(there, expected, strict=True):
            assert (record.device["process_count"], record.device["count"]) == (number, 1)
            assert_same(record, other)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("lost", [0, 1])
def test_a_lost_process_ends_the_other_and_both_resume(tmp_path, lost):
    running = start_job(tmp_path, epochs=200)
    wait_for_checkpoint(tmp_path, running)
    running[lost].send_signal(signal.SIGKILL)
    began = time.monotonic()
    texts = finish(running)
    assert time.monotonic() - began < 180  # its heartbeats are missed after 30
    text, code = texts[1 - lost]
    assert code != 0
    assert re.search(r"another (process|task)", text), text
    assert "Traceback" not in text
    running = start_job(tmp_path, epochs=200)
    try:
        for line in running[0].stdout:
            if "resumed at step" in line:
                break
        else:
            pytest.fail("the restarted job did not resume")
    finally:
        # A signal to one of them stops both, each after saving.
        running[1].send_signal(signal.SIGTERM)
    (first, first_code), (second, second_code) = finish(running)
    assert (first_code, second_code) == (128 + signal.SIGTERM,) * 2, first + second
    assert "The same command resumes" in first


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("failing", [0, 1])
def test_a_process_that_fails_alone_says_why_and_keeps_nobody_waiting(tmp_path, failing):
    words = [["--devices", "1"] if index == failing else [] for index in range(2)]
    place = ["--coordinator", f"127.0.0.1:{free_port()}", "--processes", "2", "--process"]
    began = time.monotonic()
    texts = finish([start(tmp_path, *own, *place, str(index)) for index, own in enumerate(words)])
    assert time.monotonic() - began < 180
    assert texts[failing][1] == 2
    assert "devices is 1, allowed with several processes" in texts[failing][0]
    # The first process shares its error with the others. They can only notice that another one is lost.
    heard = "devices is 1, allowed with several processes" if failing == 0 else "another (process|task)"
    assert texts[1 - failing][1] != 0
    assert re.search(heard, texts[1 - failing][0]), texts[1 - failing][0]


def leave(monkeypatch, capsys, error):
    """What `leave_after_loss` says in the second of two processes."""
    left = []
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(os, "_exit", left.append)
    processes.leave_after_loss(error)
    assert left == [2]
    return capsys.readouterr().err


@pytest.mark.parametrize(
    "reason",
    [
        "UNKNOWN: Gloo all-reduce failed: [pair.cc:538] Read error [127.0.0.1]:15510: Connection reset by peer",
        "UNKNOWN: Gloo all-reduce failed: [pair.cc:547] Connection closed by peer [127.0.0.1]:17316",
        "UNKNOWN: Gloo all-gather failed: [buffer.cc:72] Read timeout [::1]:38624",
        "INTERNAL: NCCL operation ncclAllReduce failed: remote process exited or there was a network error.",
        "UNAVAILABLE: The following tasks are unhealthy (stopped sending heartbeats)",
    ],
)
def test_a_lost_connection_is_called_one(monkeypatch, capsys, reason):
    said = leave(monkeypatch, capsys, RuntimeError(f"{reason}\n    more lines"))
    assert said == (
        f"error: process 1 of 2 lost the connection to another process ({reason}). Look for the cause in the output of "
        "the others. Start all of them again, without --fresh: they resume from the last checkpoint.\n"
    )


@pytest.mark.parametrize("reason", ["INTERNAL: CUDNN_STATUS_EXECUTION_FAILED", "INVALID_ARGUMENT: shapes differ", ""])
def test_no_other_process_is_blamed_for_an_error_of_this_one(monkeypatch, capsys, reason):
    said = leave(monkeypatch, capsys, RuntimeError(reason))
    assert said.startswith(f"error: process 1 of 2 failed in a common step ({reason}). The others stop as well. Start")
    assert "another" not in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("10.0.0.1:12", None, None), "expected all three"),
        ((None, 2, 0), "expected all three"),
        (("10.0.0.1:12", 2, 2), "a process from 0 to processes - 1"),
        (("10.0.0.1", 2, 0), "expected host:port"),
    ],
)
def test_half_of_what_is_needed_to_meet_is_refused(arguments, message, monkeypatch):
    for name in ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match=message):
        processes.join(*arguments)


def test_the_environment_is_read(monkeypatch):
    monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "10.0.0.1:12")
    monkeypatch.setenv("JAX_NUM_PROCESSES", "two")
    monkeypatch.setenv("JAX_PROCESS_ID", "0")
    with pytest.raises(ConfigError, match="JAX_NUM_PROCESSES is 'two'"):
        processes.join()


def test_alone_nobody_is_waited_for(monkeypatch):
    for name in ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"):
        monkeypatch.delenv(name, raising=False)
    processes.join()
    assert processes.is_first()
    assert processes.of_first(lambda: [1, "a"]) == [1, "a"]
