"""The benchmark of epochs at a tiny size."""

import importlib.util

import numpy as np
import pytest

from tests.train.bench.tiny_bench import CASE, NETWORK, STEPS
from train.bench import epoch, step
from train.bench.peers import TUNED
from train.bench.result import Result
from train.bench.timing import Donated
from train.bench.workload import Training


@pytest.fixture(scope="module")
def training():
    return Training(CASE, STEPS)


@pytest.fixture(scope="module")
def loop(training):
    return epoch._loop(training)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_every_way_is_compared(monkeypatch, loop):
    monkeypatch.setattr(epoch, "_loop", lambda training: loop)
    result = epoch.run(epoch.Options(**NETWORK, steps=STEPS, repeats=2))
    expected = {epoch.LOOP, epoch.FETCHED} | ({TUNED} if importlib.util.find_spec("torch") else set())
    assert set(result.ratios) == {f"WRN-10-1: {epoch.OURS} / {name}" for name in expected}
    assert set(result.compile_seconds) == {f"WRN-10-1: {epoch.OURS}", f"WRN-10-1: {epoch.LOOP}"}
    assert result.facts["WRN-10-1: images in an epoch"] == STEPS * CASE.batch_size
    assert result.options == NETWORK | {"steps": STEPS, "repeats": 2}


def test_networks_are_those_of_the_benchmark_of_steps(monkeypatch):
    compared = []

    def compare(case, steps, repeats):
        compared.append((case.name, steps, repeats))
        return Result(benchmark="epoch", options={})

    monkeypatch.setattr(epoch, "_compare", compare)
    result = epoch.run(epoch.Options())
    assert compared == [("WRN-16-1", 5, 20), ("WRN-16-4", 5, 20)]
    assert (result.options["depth"], result.options["width"], result.options["batch_size"]) == (16, None, 128)
    assert epoch.networks(epoch.Options()) == step.networks(step.Options())
    assert [case.name for case in epoch.networks(epoch.Options(depth=10, width=2))] == ["WRN-10-2"]


@pytest.mark.slow
def test_the_loop_does_what_the_program_does(training, loop):
    program, _ = training.slice(STEPS)
    whole = Donated(program, training.state(), training.data)
    steps, fetched = loop[0](fetch=False), loop[0](fetch=True)
    for _ in range(2):
        expected = whole()[1].loss[0]
        np.testing.assert_allclose(steps()[1], expected, rtol=1e-4)
        losses = fetched()[1]
        assert all(isinstance(loss, float) for loss in losses)
        np.testing.assert_allclose(losses, expected, rtol=1e-4)
