"""What a control, an optimizer, an activation or a training mode allows in the other settings, and which it uses."""

from collections.abc import Callable
from typing import Any, NamedTuple

# The optimizers with a weight decay mask and a state that can be split by parameter. The slopes of adaptive activations
# must not decay, and the parts of a partitioned network train one after the other.
_MASKABLE = ("sgd", "adam", "adamw", "lion")


class Limit(NamedTuple):
    """The allowed values of one field."""

    field: str
    holds: Callable[[Any], bool]  # of the field's value
    allowed: str  # in words


def optimizer_limits(optimizer: str) -> list[Limit]:
    """List what an optimizer allows in the other settings."""
    if optimizer == "sgd":
        return []
    return [
        _only("phase", "none", f"optimizer is {optimizer}"),
        _only("nesterov", False, f"optimizer is {optimizer}"),
        *_OPTIMIZER_LIMITS.get(optimizer, ()),
    ]


def training_limits(training: str, activation: str) -> list[Limit]:
    """List what a training mode and an activation allow in the other settings."""
    limits = list(_MODE_LIMITS[training])
    if training != "end-to-end" or activation != "relu":
        allowed = f"one of {', '.join(_MASKABLE)} with {training} training and {activation}"
        limits.insert(0, Limit("optimizer", lambda optimizer: optimizer in _MASKABLE, allowed))
    return limits


def control_limits(control: str) -> list[Limit]:
    """List what a control allows in the other settings."""
    reason = f"control is {control}"
    nobody = Limit("follows", lambda arm: not arm, f"empty, as {reason}")
    if control == "none":
        return [nobody]
    an_arm = Limit("follows", bool, f"the name of an LCAM arm of the group, as {reason}")
    # The momenta replace those of SGD.
    fixed = {"phase": "none", "optimizer": "sgd", "training": "end-to-end", "nesterov": False}
    return [nobody if control == "rising" else an_arm, *(_only(field, value, reason) for field, value in fixed.items())]


def _only(field: str, value: Any, reason: str) -> Limit:
    return Limit(field, lambda actual: actual == value, f"{value}, as {reason}")


def _plain_network(training: str) -> list[Limit]:
    """List the limits of `associated` and `partitioned` training: no adaptive activations and no dropout."""
    return [
        _only(field, value, f"training is {training}") for field, value in (("activation", "relu"), ("dropout", 0.0))
    ]


_OPTIMIZER_LIMITS: dict[str, list[Limit]] = {
    "schedule-free": [Limit("momentum_below", lambda momentum: momentum > 0, "above 0 with schedule-free")],
}

_MODE_LIMITS: dict[str, list[Limit]] = {
    "end-to-end": [],
    "associated": _plain_network("associated"),
    "partitioned": [
        *_plain_network("partitioned"),
        Limit("epochs", lambda epochs: epochs % 3 == 0, "a multiple of 3, as there are 3 parts, trained in turn"),
        Limit("phase", lambda phase: phase != "random", "any but random, as training is partitioned"),
    ],
}

USED_IF: dict[str, tuple[Callable[[Any], bool], str]] = {
    "ema_decay": (lambda arm: arm.phase == "ema", "--phase ema"),
    "window_size": (lambda arm: arm.phase == "window", "--phase window"),
    "random_probability": (lambda arm: arm.phase == "random", "--phase random"),
    "delay": (lambda arm: arm.phase != "none", "a --phase other than none"),
    "activation_scale": (lambda arm: arm.activation != "relu", "--activation l-laaf or n-laaf"),
    "slope_recovery": (lambda arm: arm.activation != "relu", "--activation l-laaf or n-laaf"),
    "tuning_seeds": (lambda arm: bool(arm.learning_rates), "--learning-rates and --weight-decays"),
    "learning_rate": (lambda arm: arm.optimizer != "yamadam", "an --optimizer other than yamadam"),
    "schedule": (
        lambda arm: arm.optimizer not in ("schedule-free", "polyak", "yamadam", "mutual-information"),
        "an --optimizer other than schedule-free, polyak, yamadam and mutual-information",
    ),
    "momentum_below": (
        lambda arm: arm.optimizer not in ("polyak", "yamadam", "delayed-feedback", "past-extrapolation"),
        "an --optimizer other than polyak, yamadam, delayed-feedback and past-extrapolation",
    ),
}
"""The settings that only some arms use: a condition on the `Experiment`, and the same in words."""
