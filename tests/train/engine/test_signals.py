"""`StopSignals`: the first signal is a request, a second SIGTERM or SIGINT ends the process."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from train.engine.signals import Stopped, StopSignals

ROOT = Path(__file__).parents[3]
URGENT = (signal.SIGINT, signal.SIGTERM)
GENTLE = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU)
# `nohup` and scripts start the tests with signals ignored, which a program would leave so.
DEFAULTS = """
import signal
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
"""
PROGRAM = """
import time
from train.engine.signals import StopSignals

with StopSignals() as signals:
    print("entered", flush=True)
    while signals.received is None:
        time.sleep(0.01)
    print("goes on after", signals.received, flush=True)
    time.sleep(60)
"""
# One call of C code that takes many seconds without the interpreter's lock, as compiling does.
COMPILES = """
import hashlib
from train.engine.signals import StopSignals

with StopSignals() as signals:
    print("entered", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)
"""


@contextlib.contextmanager
def start(program, **options):
    """A process that has entered `StopSignals`; it is killed at the end, however the test ends."""
    with subprocess.Popen(
        [sys.executable, "-c", DEFAULTS + program],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    ) as process:
        try:
            assert process.stdout.readline() == "entered\n"
            yield process
        finally:
            process.kill()


@pytest.fixture
def heard():
    """The signals that reach the handler from before."""
    signals = []

    def note(signum, frame):
        signals.append(signum)

    before = {signum: signal.signal(signum, note) for signum in (*URGENT, *GENTLE)}
    wakeup = signal.set_wakeup_fd(-1)
    yield signals
    assert all(signal.getsignal(signum) is note for signum in before)
    assert signal.set_wakeup_fd(wakeup) == -1
    for signum, handler in before.items():
        signal.signal(signum, handler)


@pytest.mark.parametrize("second", URGENT)
@pytest.mark.parametrize("first", URGENT)
def test_a_process_goes_on_after_one_signal_and_ends_by_the_second(first, second):
    with start(PROGRAM) as process:
        process.send_signal(first)
        assert process.stdout.readline() == f"goes on after {first:d}\n"
        assert process.stderr.readline() == f"{first.name}: finishing the slice, saving; again to stop now.\n"
        process.send_signal(second)
        assert process.wait(timeout=30) == 128 + second


@pytest.mark.parametrize("first", GENTLE)
def test_what_a_scheduler_or_a_shell_sends_twice_ends_nothing(first):
    with start(PROGRAM) as process:
        process.send_signal(first)
        assert process.stdout.readline() == f"goes on after {first:d}\n"
        assert process.stderr.readline() == f"{first.name}: finishing the slice, saving.\n"
        process.send_signal(first)
        # The scheduler's SIGTERM, after its announcement, is the first of its kind.
        process.send_signal(signal.SIGTERM)
        assert process.stderr.readline() == "SIGTERM: finishing the slice, saving; again to stop now.\n"
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 128 + signal.SIGTERM


def test_a_signal_is_acknowledged_while_the_main_thread_is_in_c_code():
    with start(COMPILES) as process:
        process.send_signal(signal.SIGTERM)
        assert process.stderr.readline() == "SIGTERM: finishing the slice, saving; again to stop now.\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 128 + signal.SIGTERM


@pytest.mark.parametrize("signum", [signal.SIGHUP, signal.SIGINT])  # `nohup python ...`; `python ... &` in a script
def test_a_signal_that_was_ignored_before_stays_ignored(signum):
    with start(f"import signal; signal.signal({signum:d}, signal.SIG_IGN)\n{PROGRAM}") as process:
        process.send_signal(signum)
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == f"goes on after {signal.SIGTERM:d}\n"


def test_a_closed_standard_error_does_not_matter():
    with start(PROGRAM) as process:
        process.stderr.close()
        process.send_signal(signal.SIGHUP)
        assert process.stdout.readline() == f"goes on after {signal.SIGHUP:d}\n"


def test_without_a_signal_nothing_is_received_and_the_handlers_come_back(heard):
    threads = threading.active_count()
    with StopSignals() as signals:
        assert signals.received is None
        assert all(signal.getsignal(signum) == signals._note for signum in (*URGENT, *GENTLE))
    assert heard == []
    assert threading.active_count() == threads


@pytest.mark.parametrize("signum", [*URGENT, *GENTLE])
def test_a_signal_that_was_answered_is_over(heard, signum):
    def run():
        with StopSignals() as signals:
            signal.raise_signal(signum)
            raise Stopped(signals.received, "saved")

    with pytest.raises(Stopped, match="saved") as stopped:
        run()
    assert stopped.value.signum == signum
    assert heard == []


@pytest.mark.parametrize("signum", [*URGENT, *GENTLE])
def test_a_signal_that_nobody_answered_has_its_usual_effect_on_leaving(heard, signum):
    with StopSignals():
        signal.raise_signal(signum)
        assert heard == []
    assert heard == [signum]


def test_the_first_of_several_signals_counts(heard):
    with StopSignals() as signals:
        signal.raise_signal(signal.SIGUSR1)
        signal.raise_signal(signal.SIGTERM)
        assert signals.received == signal.SIGUSR1
    assert heard == [signal.SIGUSR1]


def test_an_error_passes_and_the_handlers_come_back(heard):
    with pytest.raises(ValueError, match="of the run"), StopSignals():
        raise ValueError("of the run")
    assert heard == []


def test_in_another_thread_signals_keep_their_effect(heard):
    entered = []

    def run():
        with StopSignals() as signals:
            os.kill(os.getpid(), signal.SIGTERM)
            entered.append(signals)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    deadline = time.monotonic() + 30
    while not heard and time.monotonic() < deadline:
        time.sleep(0.01)
    assert heard == [signal.SIGTERM]
    assert entered[0].received is None
