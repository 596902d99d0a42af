"""`python -m train`: failed output ends no run, and a failed process leaves the others."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import train.__main__ as program
from train.engine import processes

ROOT = Path(__file__).parents[2]
# What a run does: it speaks on standard error, works, and speaks again.
SPEAK = """
import sys
import train.__main__ as program
program._prepare_output()
for i in range(3):
    print("epoch", i, file=sys.stderr, flush=True)
print("done")
"""


def run(before, after="", output=subprocess.PIPE):
    command = f"{before} {sys.executable} -c '{SPEAK}' {after}"
    return subprocess.run(["bash", "-c", command], cwd=ROOT, stdout=output, text=True, timeout=60)


@pytest.mark.parametrize("after", ["2>&-", "2>/dev/full", "2> >(true)"])  # closed, disk full, reader gone
def test_a_lost_standard_error_ends_nothing(after):
    process = run("", after)
    assert (process.returncode, process.stdout) == (0, "done\n")


def test_standard_error_is_still_a_stream():
    assert run("", "2>&1").stdout == "epoch 0\nepoch 1\nepoch 2\ndone\n"
    assert program.Lossy(sys.__stderr__).fileno() == 2


def test_a_closed_standard_output_is_no_error_of_python():
    assert run("", "1>&- 2>/dev/null").returncode == 0


@pytest.mark.parametrize("words", [["list"], ["list", "quickstart", "--json"], ["list", "--help"], ["--help"]])
def test_output_that_nobody_reads_ends_the_program_as_sigpipe_would(words):
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "train", *words]
    process = subprocess.run(command, cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(writer)
    assert (process.returncode, process.stderr) == (141, "")


@pytest.mark.parametrize("words", [["list", "quickstart", "--json"], ["list", "--help"]])
def test_output_to_a_full_disk_is_an_error(words):
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "train", *words]
        process = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert process.returncode == 2
    assert process.stderr.startswith("error: [Errno 28] No space left on device")
    assert len(process.stderr.splitlines()) == 1


@pytest.fixture
def of_several(monkeypatch):
    """What a process of several does at its end."""
    left = []
    monkeypatch.setattr(processes, "joined", lambda: True)
    monkeypatch.setattr(processes, "leave", left.append)
    return left


def commands(monkeypatch, main):
    monkeypatch.setattr("train.cli.main", main)


@pytest.mark.parametrize("status", [0, 2, 143])
def test_a_failed_process_of_several_waits_for_nobody(monkeypatch, of_several, status):
    commands(monkeypatch, lambda: status)
    assert program._main() == status
    assert of_several == [2] * (status == 2)


def test_so_does_one_with_an_unforeseen_error(monkeypatch, of_several, capsys):
    def main():
        raise ZeroDivisionError("of the run")

    commands(monkeypatch, main)
    assert program._main() == 1
    assert of_several == [1]
    assert "ZeroDivisionError: of the run" in capsys.readouterr().err


def test_the_error_of_a_process_on_its_own_passes(monkeypatch):
    def main():
        raise ZeroDivisionError

    commands(monkeypatch, main)
    with pytest.raises(ZeroDivisionError):
        program._main()


def test_leaving_alone_does_nothing(monkeypatch):
    monkeypatch.setattr(os, "_exit", lambda status: pytest.fail("left"))
    processes.leave(2)
