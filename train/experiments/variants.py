"""The two kinds of arms that every group has."""

import dataclasses

from train.experiments.experiment import Experiment


def sgd(base: Experiment, momentum: float) -> Experiment:
    """The arm of a base that keeps one momentum."""
    name = f"{base.name}/sgd-{momentum:g}"
    return dataclasses.replace(base, name=name, momentum_below=momentum, momentum_above=momentum)


def lcam(base: Experiment, below: float, above: float) -> Experiment:
    """The LCAM arm of a base: `below` after losses below the mean, `above` after the others."""
    name = f"{base.name}/lcam-{below:g}-{above:g}"
    return dataclasses.replace(base, name=name, phase="epoch_mean", momentum_below=below, momentum_above=above)
