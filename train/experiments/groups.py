"""The arms by name: the authors' figures, the controls, and other comparisons."""

import dataclasses
import difflib
from typing import Any

from train.errors import ConfigError
from train.experiments.arena import arena
from train.experiments.decision import contest, cosine_contest, decision
from train.experiments.experiment import Experiment
from train.experiments.variants import control, lcam, sgd


def _four_arms(base: Experiment) -> list[Experiment]:
    return [sgd(base, 0.9), sgd(base, 0.95), lcam(base, 0.95, 0.9), lcam(base, 0.9, 0.95)]


def _controls(base: Experiment) -> list[Experiment]:
    """The arms that show whether the loss makes the difference. Arms that others follow come first."""

    def variant(arm: Experiment, name: str, **changes: Any) -> Experiment:
        return dataclasses.replace(arm, name=f"{base.name}/{name}", **changes)

    both_ways = [(0.95, 0.9), (0.9, 0.95)]
    sgd_arm, lcam_arm = sgd(base, 0.9), lcam(base, 0.9, 0.95)
    followers, variants = [], []
    for below, above in both_ways:
        pair, own = f"{below:g}-{above:g}", lcam(base, below, above)
        followers += [control(base, kind, below, above) for kind in ("yoked", "schedule", "random", "constant")]
        variants += [variant(own, f"nodelay-{pair}", delay=False), variant(own, f"ema-{pair}", phase="ema")]
    return [
        *_four_arms(base),
        *followers,
        control(base, "rising", 0.9, 0.95),
        *variants,
        variant(sgd_arm, "nesterov-0.9", nesterov=True),
        variant(sgd_arm, "cosine-sgd-0.9", schedule="cosine"),
        variant(lcam_arm, "cosine-lcam-0.9-0.95", schedule="cosine"),
        # The claim "half the epochs": the whole schedule in fewer epochs.
        variant(sgd_arm, "half-sgd-0.9", epochs=75),
        variant(lcam_arm, "half-lcam-0.9-0.95", epochs=75),
        variant(sgd_arm, "twothirds-sgd-0.9", epochs=100),
        variant(lcam_arm, "twothirds-lcam-0.9-0.95", epochs=100),
    ]


def _methods(base: Experiment) -> list[Experiment]:
    """Other ways to build or train the network, compared with end-to-end SGD."""

    def variant(name: str, **changes: Any) -> Experiment:
        return dataclasses.replace(base, name=f"{base.name}/{name}", **changes)

    return [
        sgd(base, 0.9),
        variant("l-laaf", activation="l-laaf"),
        variant("n-laaf", activation="n-laaf"),
        variant("partitioned", training="partitioned"),
        variant(
            "associated",
            training="associated",
            optimizer="adam",
            # Tried first on held-out images, not recorded: higher rates, and falling rates with decay of all
            # parameters, stayed at chance.
            schedule="constant",
            learning_rate=1e-3,
            weight_decay=0.0,
        ),
    ]


def _authors_arms() -> list[Experiment]:
    """The authors' runs, and the arms that show whether the loss makes the difference."""
    fig3 = Experiment(name="fig3", dataset="cifar10")
    fig4 = Experiment(name="fig4", dataset="cifar100")
    controls = Experiment(name="controls", dataset="cifar10")
    fig5_cifar10 = Experiment(name="fig5-cifar10", dataset="cifar10", schedule="smooth")
    fig5_cifar100 = Experiment(name="fig5-cifar100", dataset="cifar100", schedule="smooth")
    return [
        *_four_arms(fig3),
        *_four_arms(fig4),
        *_controls(controls),
        sgd(fig5_cifar10, 0.9),
        lcam(fig5_cifar10, 0.9, 0.95),
        sgd(fig5_cifar100, 0.9),
        lcam(fig5_cifar100, 0.93, 0.9),
    ]


def _small_arms() -> list[Experiment]:
    """Arms that do not reproduce the paper, most of them small enough for a CPU."""
    # Three arms on bundled data, in a minute or two on two CPU cores.
    quickstart = Experiment(
        name="quickstart",
        dataset="digits",
        depth=10,
        width=1,
        dtype="float32",
        epochs=20,
        crop_padding=1,
        flip=False,
        mean=(0.5,),
        std=(0.5,),
        seeds=(0, 1, 2),
        vmap_seeds=True,
    )
    small = dataclasses.replace(quickstart, seeds=(0, 1, 2, 3, 4))
    methods = dataclasses.replace(small, name="methods", epochs=30)
    # A trial that diverges counts as bad, and does not stop the others.
    arena_digits = dataclasses.replace(small, name="arena-digits", drop_last=True, nonfinite="skip")
    arena_cifar10 = Experiment(
        name="arena", dataset="cifar10", depth=28, width=2, epochs=30, vmap_seeds=True, nonfinite="skip"
    )
    # Small enough on two CPU cores for the many seeds that docs/preregistration.md asks for.
    decision_digits = dataclasses.replace(quickstart, name="decision-digits", vmap_seeds=False)
    decision_cifar10 = Experiment(
        name="decision-cifar10",
        dataset="cifar10",
        resolution=16,
        train_size=10000,
        depth=10,
        width=1,
        dtype="float32",
        epochs=15,
        crop_padding=2,
    )
    return [
        sgd(quickstart, 0.9),
        lcam(quickstart, 0.95, 0.9),
        lcam(quickstart, 0.9, 0.95),
        *_methods(methods),
        *decision(decision_digits),
        sgd(decision_digits, 0.95),
        *decision(decision_cifar10),
        # A run that is not finite counts as wholly wrong, and does not stop the others.
        *contest(dataclasses.replace(decision_cifar10, name="contest-cifar10", nonfinite="skip")),
        *cosine_contest(dataclasses.replace(decision_cifar10, name="contest-cosine", nonfinite="skip")),
        *arena(arena_cifar10),
        *arena(arena_digits),
    ]


EXPERIMENTS = {arm.name: arm for arm in (*_authors_arms(), *_small_arms())}


def scaled(arms: list[Experiment], epochs: int) -> list[Experiment]:
    """Set the epochs of the longest arm, and of the others in proportion."""
    longest = max(arm.epochs for arm in arms)
    return [dataclasses.replace(arm, epochs=max(round(arm.epochs * epochs / longest), min(epochs, 1))) for arm in arms]


def find(name_or_group: str) -> list[Experiment]:
    """Look up an arm, or all arms of a group.

    Raises:
      ConfigError: If there is no such name. The message contains the nearest ones.
    """
    if name_or_group in EXPERIMENTS:
        return [EXPERIMENTS[name_or_group]]
    arms = [arm for arm in EXPERIMENTS.values() if arm.group == name_or_group]
    if arms:
        return arms
    known = [*dict.fromkeys(arm.group for arm in EXPERIMENTS.values()), *EXPERIMENTS]
    near = difflib.get_close_matches(name_or_group, known, n=3, cutoff=0.4)
    hint = f"Did you mean {' or '.join(near)}? " if near else ""
    raise ConfigError(f"No arm or group is called {name_or_group!r}. {hint}`python -m train list` shows all.")
