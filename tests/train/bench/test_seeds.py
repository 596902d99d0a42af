"""The benchmark of several seeds at a tiny size."""

import pytest

from tests.train.bench.tiny_bench import NETWORK, STEPS
from train.bench import seeds
from train.bench.workload import Case

pytestmark = pytest.mark.slow


def test_several_seeds_are_trained_in_all_ways():
    result = seeds.run(seeds.Options(**NETWORK, seeds=9, steps=STEPS, repeats=3))  # two rounds on eight devices
    name = "9 of WRN-10-1 on digits"
    assert [*result.ratios] == [f"seeds per second, {name}: {way} / in turn" for way in ("vmapped", "one per device")]
    in_turn = sorted(result.seconds[f"{name}: in turn"])
    for way in ("vmapped", "one per device"):
        found = sorted(result.seconds[f"{name}: {way}"])
        ratio = result.ratios[f"seeds per second, {name}: {way} / in turn"].median
        assert in_turn[0] / found[-1] <= ratio <= in_turn[-1] / found[0]


def test_a_single_seed_is_split_over_all_devices():
    result = seeds.run(seeds.Options(**NETWORK, seeds=1, steps=STEPS, repeats=1))
    (name,) = result.ratios
    assert name == "seeds per second, 1 of WRN-10-1 on digits: batches split over all devices / in turn"


def test_without_options_both_shapes_of_images_are_trained():
    assert seeds.networks(seeds.Options()) == [
        Case(depth=10, width=1, data="digits"),
        Case(depth=10, width=1, data="cifar10"),
    ]
