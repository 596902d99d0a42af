"""The names of checkpoint folders lead back to their seeds."""

from train.engine import checkpoint_folders
from train.engine.placement import SeedSet


def test_begun_seed_sets_are_found(tmp_path):
    begun = [
        SeedSet([0, 2]),
        SeedSet([1]),
        SeedSet([*range(20, 276)], apart=True, devices=1),
        SeedSet([3, 14], apart=True, devices=2),
    ]
    for seed_set in begun:
        (checkpoint_folders.checkpoint_dir(tmp_path, "group/arm", seed_set) / "4").mkdir(parents=True)
    assert checkpoint_folders.begun_seed_sets(tmp_path, "group/arm") == begun
