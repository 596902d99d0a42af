"""The kinds of arms in the groups."""

import dataclasses
from typing import Any

from train.experiments.experiment import Experiment


def sgd(base: Experiment, momentum: float) -> Experiment:
    """The SGD arm of a base, with one momentum."""
    name = f"{base.name}/sgd-{momentum:g}"
    return dataclasses.replace(base, name=name, momentum_below=momentum, momentum_above=momentum)


def lcam(base: Experiment, below: float, above: float) -> Experiment:
    """The LCAM arm of a base: `below` after losses below the mean, `above` after the others."""
    name = f"{base.name}/lcam-{below:g}-{above:g}"
    return dataclasses.replace(base, name=name, phase="epoch_mean", momentum_below=below, momentum_above=above)


def control(base: Experiment, kind: str, below: float, above: float) -> Experiment:
    """The arm of a base that is a control of LCAM with two momenta."""
    changes: dict[str, Any] = {"name": f"{base.name}/{kind}-{below:g}-{above:g}", "phase": "none", "control": kind}
    if kind != "rising":
        changes["follows"] = f"lcam-{below:g}-{above:g}"
    return dataclasses.replace(lcam(base, below, above), **changes)
