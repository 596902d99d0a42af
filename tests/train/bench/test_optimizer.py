"""LCAM against SGD: the figures that can be counted."""

import pytest

from train.bench import optimizer
from train.errors import ConfigError


@pytest.fixture(scope="module")
def result():
    return optimizer.run(optimizer.Options(depth=10, width=2, repeats=6))


def test_state_is_larger_by_a_few_scalars(result):
    more = result.facts["LCAM: bytes of optimizer state"] - result.facts["SGD: bytes of optimizer state"]
    assert 0 < more < 64
    assert result.facts["SGD: bytes of optimizer state"] == 4 * result.facts["parameters"]


@pytest.mark.parametrize("count", ["FLOPs", "bytes accessed"])
def test_programs_do_the_same_amount_of_work(result, count):
    assert result.facts[f"LCAM: {count}"] == pytest.approx(result.facts[f"SGD: {count}"], rel=1e-3)


@pytest.mark.parametrize("name", ["LCAM", "SGD"])
def test_one_compile_and_no_transfer(result, name):
    assert result.facts[f"{name}: compiles in 50 steps without a transfer"] == 1


def test_every_program_took_its_turns(result):
    assert set(result.seconds) == {"copy", "LCAM", "SGD"}
    assert all(len(seconds) == 6 and min(seconds) > 0 for seconds in result.seconds.values())
    assert result.facts["floor: bytes per update"] == 20 * result.facts["parameters"]
    assert set(result.ratios) == {
        "LCAM / SGD",
        "LCAM / copy of its 20 bytes per parameter",
        "SGD / copy of its 20 bytes per parameter",
    }
    assert set(result.compile_seconds) == {"LCAM", "SGD"}


def test_a_wrong_depth_is_refused():
    with pytest.raises(ConfigError, match="depth is 12"):
        optimizer.run(optimizer.Options(depth=12))
