"""The benchmark of scaling at a tiny size."""

import dataclasses

import pytest

from tests.train.bench.tiny_bench import CASE, STEPS
from train.bench import scaling
from train.bench.workload import Case

pytestmark = pytest.mark.slow


def test_variants_change_one_thing_each():
    found = scaling.variants(Case(depth=16, width=1, batch_size=64))
    assert [case.depth for case, _ in found.values()] == [22, 28, 16, 16, 16, 16, 16, 16]
    assert [case.width for case, _ in found.values()] == [1, 1, 2, 4, 1, 1, 1, 1]
    assert [case.batch_size for case, _ in found.values()] == [64, 64, 64, 64, 32, 128, 64, 64]
    assert [seeds for _, seeds in found.values()] == [1, 1, 1, 1, 1, 1, 2, 4]


def test_each_variant_is_related_to_the_base():
    larger = dataclasses.replace(CASE, batch_size=2 * CASE.batch_size)
    result = scaling.compare(CASE, {"batch size 8": (larger, 1), "2 seeds": (CASE, 2)}, STEPS, 1)
    base, batch, seeds = (result.seconds[name][0] for name in ("WRN-10-1, batch 4", "batch size 8", "2 seeds"))
    assert result.ratios["steps per second: batch size 8 / WRN-10-1, batch 4"].median == base / batch
    # Two seeds make two steps at a time.
    assert result.ratios["steps per second: 2 seeds / WRN-10-1, batch 4"].median == 2 * base / seeds
