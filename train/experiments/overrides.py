"""The arms of a command, with the settings that the command changes."""

import dataclasses
import re
from collections.abc import Sequence
from typing import Annotated, Any

import docstring_parser

from train.errors import ConfigError
from train.experiments.arguments import option
from train.experiments.experiment import Experiment
from train.experiments.groups import find, scaled
from train.experiments.limits import USED_IF

_METAVARS = {"dataset": "NAME", "follows": "ARM"}


def _overrides() -> type:
    """Make a dataclass of all fields of `Experiment` that a command may change. None keeps the arm's value."""
    helps = {p.arg_name: p.description or "" for p in docstring_parser.parse(Experiment.__doc__ or "").params}

    def described(name: str) -> tuple[Any, ...]:
        # The docstring and the terminal break lines differently.
        return option("the arm's", _METAVARS.get(name), " ".join(helps[name].split()))

    fields = [
        (field.name, Annotated[field.type | None, described(field.name)], dataclasses.field(default=None))  # type: ignore[operator]
        for field in dataclasses.fields(Experiment)
        if field.name not in ("name", "seeds")
    ]
    return dataclasses.make_dataclass("Overrides", fields, frozen=True, kw_only=True)


Overrides = _overrides()


def chosen_arms(
    name_or_group: str,
    overrides: Any,
    *,
    model: str | None = None,
    seeds: Sequence[int] | None = None,
    stream: bool = False,
) -> list[Experiment]:
    """Look up an arm or a group, and change its settings.

    Args:
      name_or_group: The arm or the group.
      overrides: The settings to change, an `Overrides`. Its `epochs` apply to the longest arm; the others change in
        proportion.
      model: Depth and width in one word, such as 28-10.
      seeds: None keeps the arm's seeds.
      stream: Whether the images will be read from disk during training.

    Raises:
      ConfigError: If there is no such arm, a value is out of its range, or two options contradict each other.
    """
    given = {key: value for key, value in dataclasses.asdict(overrides).items() if value is not None}
    arms = find(name_or_group)
    _refuse_contradictions(name_or_group, arms, given, model)
    changed = dict(given)
    if model is not None:
        changed |= dict(zip(("depth", "width"), _depth_and_width(model), strict=True))
    if seeds is not None:
        changed["seeds"] = tuple(seeds)
    if "epochs" in changed:
        arms = scaled(arms, changed.pop("epochs"))
    arms = [dataclasses.replace(arm, **changed) for arm in arms]
    _refuse_unused(name_or_group, arms, given)
    if stream:
        _refuse_streaming(name_or_group, arms, given)
    return arms


def _refuse_contradictions(name: str, arms: list[Experiment], given: dict[str, Any], model: str | None) -> None:
    both = [f"--{key}" for key in ("depth", "width") if key in given]
    if model is not None and both:
        raise ConfigError(
            f"--model {model} and {' and '.join(both)} both set the size of the network: pass --model, or --depth and "
            "--width."
        )
    tuned = given.get("learning_rates", any(arm.learning_rates for arm in arms))
    if tuned and {"learning_rate", "weight_decay"} & set(given):
        raise ConfigError(
            f"{name} tries several learning rates and weight decays: pass --learning-rates and --weight-decays, one or "
            "more of each, and neither --learning-rate nor --weight-decay."
        )


def _refuse_unused(name: str, arms: list[Experiment], given: dict[str, Any]) -> None:
    """Refuse a setting that has no effect on any of the arms."""
    for field, (is_used, condition) in USED_IF.items():
        if field in given and not any(is_used(arm) for arm in arms):
            flag = "--" + field.replace("_", "-")
            raise ConfigError(
                f"{flag} would change nothing about {name}: only {condition} uses it. Pass that too, or leave {flag} "
                "out."
            )


def _refuse_streaming(name: str, arms: list[Experiment], given: dict[str, Any]) -> None:
    if given.get("vmap_seeds"):
        raise ConfigError("--stream trains one seed after the other: leave out --stream or --vmap-seeds.")
    if any(arm.holdout or arm.learning_rates for arm in arms):
        raise ConfigError(f"{name} holds training images out, which needs them in memory: leave out --stream.")


def _depth_and_width(model: str) -> tuple[int, int]:
    match = re.fullmatch(r"(?:wrn-?)?(\d+)-(\d+)", model.lower())
    if match is None:
        raise ConfigError(f"model is {model!r}, allowed: depth-width, such as 28-10, 28-2, 16-4 or 16-1.")
    return int(match[1]), int(match[2])
