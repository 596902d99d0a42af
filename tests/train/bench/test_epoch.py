"""The benchmark of epochs at a tiny size."""

import numpy as np
import pytest

from tests.train.bench.tiny_bench import CASE, NETWORK, STEPS
from train.bench import epoch
from train.bench.timing import Donated
from train.bench.workload import Training

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def training():
    return Training(CASE, STEPS)


@pytest.fixture(scope="module")
def loop(training):
    return epoch._loop(training)


@pytest.mark.usefixtures("one_thread")
def test_every_way_is_compared(monkeypatch, loop):
    monkeypatch.setattr(epoch, "_loop", lambda training: loop)
    result = epoch.run(epoch.Options(**NETWORK, steps=STEPS, repeats=2))
    assert {f"{epoch.OURS} / {epoch.LOOP}", f"{epoch.OURS} / {epoch.FETCHED}"} <= set(result.ratios)
    assert set(result.compile_seconds) == {epoch.OURS, epoch.LOOP}
    assert result.facts["images in an epoch"] == STEPS * CASE.batch_size


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
