"""The arms of `docs/preregistration.md`: LCAM, its controls without the loss, and SGD."""

import dataclasses
from typing import Any

from train.experiments.experiment import Experiment
from train.experiments.variants import control, lcam, sgd


def decision(base: Experiment) -> list[Experiment]:
    """Make LCAM, yoked, schedule and rising, with momenta 0.9 below and 0.95 above the mean, and SGD 0.9.

    The arm that others follow comes first.
    """
    kinds = ("yoked", "schedule", "rising")
    return [lcam(base, 0.9, 0.95), *(control(base, kind, 0.9, 0.95) for kind in kinds), sgd(base, 0.9)]


def contest(base: Experiment) -> list[Experiment]:
    """LCAM and a rising momentum against SGD, each at the best of the same learning rates."""
    tuned = dataclasses.replace(base, learning_rates=(0.05, 0.1, 0.2, 0.4), weight_decays=(5e-4,))

    def variant(arm: Experiment, name: str, **changes: Any) -> Experiment:
        return dataclasses.replace(arm, name=f"{base.name}/{name}", **changes)

    return [
        lcam(tuned, 0.9, 0.95),
        control(tuned, "rising", 0.9, 0.95),
        sgd(tuned, 0.9),
        sgd(tuned, 0.95),
        variant(sgd(tuned, 0.9), "nesterov-0.9", nesterov=True),
        variant(sgd(tuned, 0.9), "cosine-sgd-0.9", schedule="cosine"),
    ]


def cosine_contest(base: Experiment) -> list[Experiment]:
    """LCAM against SGD with a cosine schedule, each at the best of the same learning rates."""
    tuned = dataclasses.replace(base, schedule="cosine", learning_rates=(0.1, 0.2, 0.4, 0.8), weight_decays=(5e-4,))
    return [lcam(tuned, 0.9, 0.95), sgd(tuned, 0.9)]
