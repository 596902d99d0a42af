"""The arena: LCAM and other optimizers on one network and one data set, each tuned with the same budget.

Every optimizer gets ten trials: five learning rates and two weight decays, or ten weight decays if it has no learning
rate. Each trial has two seeds and is judged on held-out training images. The settings of the best trial are trained
with five other seeds. The values of the literature are for long runs. The learning rates go from below them to far
above them, for short runs. Arms with a schedule use the cosine. SGD and LCAM are also run with the authors' step
schedule, together with two controls: one keeps the higher momentum, and one draws the momentum at random.
"""

import dataclasses
from typing import Any

from train.experiments.experiment import Experiment
from train.experiments.variants import lcam, sgd

_SGD_RATES = (0.03, 0.1, 0.3, 1.0, 3.0)
_PLAIN_RATES = (0.1, 0.3, 1.0, 3.0, 10.0)  # without momentum, which would make the step ten times as long
_OWN_RATES = (0.01, 0.1, 1.0, 10.0, 100.0)  # an upper bound of a computed step
_ADAM_RATES = (3e-4, 1e-3, 3e-3, 0.01, 0.03)
_COUPLED = (1e-4, 5e-4)
_DECOUPLED = (0.01, 0.1)


def arena(base: Experiment) -> list[Experiment]:
    """The arms of an arena, with the network, data and epochs of a base."""
    steps = dataclasses.replace(base, schedule="step", learning_rates=_SGD_RATES, weight_decays=_COUPLED)
    cosine = dataclasses.replace(steps, schedule="cosine")
    constant = dataclasses.replace(steps, schedule="constant")

    def arm(base: Experiment, name: str, **changes: Any) -> Experiment:
        return dataclasses.replace(base, name=f"{base.name}/{name}", **changes)

    def other(optimizer: str, base: Experiment = cosine, **changes: Any) -> Experiment:
        return arm(base, optimizer, optimizer=optimizer, **changes)

    adaptive: dict[str, Any] = {"learning_rates": _ADAM_RATES, "weight_decays": _DECOUPLED}
    without_momentum: dict[str, Any] = {"momentum_below": 0.0, "momentum_above": 0.0}
    plain: dict[str, Any] = {"learning_rates": _PLAIN_RATES} | without_momentum
    return [
        sgd(steps, 0.9),
        sgd(steps, 0.95),
        # Without the loss: either momentum at random, half of the time.
        arm(steps, "random-0.9-0.95", phase="random", momentum_above=0.95),
        lcam(steps, 0.9, 0.95),
        lcam(steps, 0.95, 0.9),
        arm(cosine, "cosine-sgd-0.9"),
        arm(cosine, "cosine-lcam-0.9-0.95", phase="epoch_mean", momentum_above=0.95),
        arm(cosine, "cosine-nesterov-0.9", nesterov=True),
        arm(cosine, "cosine-plain-sgd", **plain),
        other("adamw", **adaptive),
        other("lion", learning_rates=(1e-4, 3e-4, 1e-3, 3e-3, 0.01), weight_decays=(0.1, 1.0)),
        other("muon", **adaptive, momentum_below=0.95, momentum_above=0.95),  # Optax's own
        other("schedule-free", constant, learning_rates=(0.3, 1.0, 3.0, 10.0, 30.0)),
        other("momo", constant, learning_rates=_OWN_RATES),
        other("sam"),
        other("lookahead"),
        other("polyak", constant, learning_rates=_OWN_RATES, **without_momentum),
        other("annealed-momentum"),
        other("mutual-information", constant),
        other("lrsgd-c"),
        other("lrsgd-r"),
        other("delayed-feedback", **plain),
        other("extragradient"),
        other("past-extrapolation", **plain),
        other("salp-swarm"),
        other(
            "yamadam",
            constant,
            learning_rates=(1.0,),
            weight_decays=(0.0, 1e-6, 1e-5, 3e-5, 1e-4, 3e-4, 5e-4, 1e-3, 3e-3, 5e-3),
            **without_momentum,
        ),
    ]
