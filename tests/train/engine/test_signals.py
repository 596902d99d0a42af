"""`StopSignals`: the first signal is a wish, the second is obeyed at once, and afterwards all is as before."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from train.engine.signals import Stopped, StopSignals

ROOT = Path(__file__).parents[3]
SIGNALS = (signal.SIGTERM, signal.SIGINT)
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


@pytest.fixture
def heard():
    """The signals that reach the handler from before."""
    signals = []

    def note(signum, frame):
        signals.append(signum)

    before = {signum: signal.signal(signum, note) for signum in SIGNALS}
    yield signals
    assert all(signal.getsignal(signum) is note for signum in SIGNALS)
    for signum, handler in before.items():
        signal.signal(signum, handler)


@pytest.mark.parametrize("second", SIGNALS)
@pytest.mark.parametrize("first", SIGNALS)
def test_a_process_goes_on_after_one_signal_and_dies_by_the_second(first, second):
    command = [sys.executable, "-c", PROGRAM]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "entered\n"
        process.send_signal(first)
        assert process.stdout.readline() == f"goes on after {first:d}\n"
        process.send_signal(second)
        assert process.wait(timeout=30) == -second


def test_without_a_signal_nothing_is_received_and_the_handlers_come_back(heard):
    with StopSignals() as signals:
        assert signals.received is None
        assert all(signal.getsignal(signum) == signals._note for signum in SIGNALS)
    assert heard == []


@pytest.mark.parametrize("signum", SIGNALS)
def test_a_signal_that_was_answered_is_over(heard, signum):
    def run():
        with StopSignals() as signals:
            signal.raise_signal(signum)
            raise Stopped(signals.received, "saved")

    with pytest.raises(Stopped, match="saved") as stopped:
        run()
    assert stopped.value.signum == signum
    assert heard == []


@pytest.mark.parametrize("signum", SIGNALS)
def test_a_signal_that_nobody_answered_has_its_usual_effect_on_leaving(heard, signum):
    with StopSignals():
        signal.raise_signal(signum)
        assert heard == []
    assert heard == [signum]


def test_an_error_passes_and_the_handlers_come_back(heard):
    with pytest.raises(ValueError, match="of the run"), StopSignals():
        raise ValueError("of the run")
    assert heard == []
