"""The order of a group's runs with a time limit: in blocks of seeds, so that pairs are complete early."""

import dataclasses
from collections.abc import Sequence

from train.experiments import tuning
from train.experiments.controls import block_of
from train.experiments.experiment import Experiment


def in_blocks(arms: Sequence[Experiment]) -> list[Experiment]:
    """List the runs of some arms, each with the seeds of one block of five.

    The blocks are in the order of the given seeds. A block contains all arms: first those that others follow, then the
    others in their order. All trials that decide an arm's learning rate come before its first block.

    Args:
      arms: With their seeds.

    Returns:
      The arms and their trials, with the `seeds` of the block.
    """
    followed = {f"{arm.group}/{arm.follows}" for arm in arms if arm.follows}
    ordered = sorted(arms, key=lambda arm: arm.name not in followed)  # stable
    blocks = dict.fromkeys(block_of(seed) for arm in arms for seed in arm.seeds)
    runs: list[Experiment] = []
    tuned = set()
    for block in blocks:
        for arm in ordered:
            seeds = tuple(seed for seed in arm.seeds if block_of(seed) == block)
            if not seeds:
                continue
            if arm.name not in tuned:
                runs.extend(tuning.trials(arm))
                tuned.add(arm.name)
            runs.append(dataclasses.replace(arm, seeds=seeds))
    return runs
