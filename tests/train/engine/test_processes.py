"""Several processes: the same run as one, written once; a lost one ends the others, and all of them resume."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from train import records
from train.engine import processes
from train.errors import ConfigError

RUN = "run quickstart/lcam-0.9-0.95 --seeds 0 --epochs 2 --batch-size 90 --checkpoint-epochs 1"
ROOT = Path(__file__).parents[3]


def start(root, *words, devices=2, **variables):
    """One process with virtual CPU devices."""
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}"  # the last of a name counts
    return subprocess.Popen(
        [sys.executable, "-m", "train", *RUN.split(), "--runs", str(root), *words],
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


def start_pair(root, *words):
    place = ["--coordinator", f"127.0.0.1:{free_port()}", "--processes", "2", "--process"]
    return [start(root, *words, *place, str(index)) for index in range(2)]


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
    """The run of one process that has as many devices."""
    root = tmp_path_factory.mktemp("alone")
    ((text, code),) = finish([start(root, devices=4)])
    assert code == 0, text
    return the_record(root)


def assert_same(record, alone):
    assert record.config == alone.config
    np.testing.assert_array_equal(record.steps.momentum, alone.steps.momentum)
    np.testing.assert_array_equal(record.steps.below, alone.steps.below)
    np.testing.assert_allclose(record.steps.loss, alone.steps.loss, rtol=1e-3)


def start_streaming_pair(root):
    return start_pair(root, "--stream")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("begin", [start_pair, start_streaming_pair, start_slurm_job])
def test_two_processes_give_the_run_of_one_and_write_it_once(tmp_path, alone, begin):
    (first, first_code), (second, second_code) = finish(begin(tmp_path))
    assert (first_code, second_code) == (0, 0), first + second
    record = the_record(tmp_path)
    assert_same(record, alone)
    assert (record.device["process_count"], record.device["count"]) == (2, 4)
    assert first.count("epoch 2/2") == 1  # the first speaks
    assert "epoch" not in second
    # What is complete stays so, with processes or without.
    before = (record.folder / records.RESULT).stat().st_mtime_ns
    ((text, code),) = finish([start(tmp_path)])
    assert code == 0, text
    assert (record.folder / records.RESULT).stat().st_mtime_ns == before


def wait_for_checkpoint(root, running):
    deadline = time.monotonic() + 500
    while not any(path.name.isdigit() for path in root.glob("quickstart/*/checkpoints/seeds-0/*")):
        assert time.monotonic() < deadline
        assert all(process.poll() is None for process in running), finish(running)
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("lost", [0, 1])
def test_a_lost_process_ends_the_other_and_both_resume(tmp_path, lost):
    running = start_pair(tmp_path, "--epochs", "200")
    wait_for_checkpoint(tmp_path, running)
    running[lost].send_signal(signal.SIGKILL)
    began = time.monotonic()
    texts = finish(running)
    assert time.monotonic() - began < 180  # its heartbeats are missed after 30
    text, code = texts[1 - lost]
    assert code != 0
    assert re.search(r"another (process|task)", text), text
    running = start_pair(tmp_path, "--epochs", "200")
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
