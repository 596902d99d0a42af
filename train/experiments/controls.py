"""Controls: arms that use LCAM's two momenta without looking at their own loss.

If LCAM trains better than a control, the choice of steps by the loss helps. A control gets the momentum of every step
as an array before it starts. Most controls derive it from the finished run of an LCAM arm, the donor, in the same
folder. Each control in this list shares less with the donor than the previous one:

* `yoked`: the donor's momenta, step by step. The donor is the run of ANOTHER seed, so the control shares LCAM's
  structure in time, but not its own loss. The seeds are permuted within blocks of five.
* `schedule`: in every epoch, the donor's mean momentum of that epoch. The donor has the same seed, as in the next two.
* `random`: either momentum at random, with the donor's frequencies in each epoch.
* `constant`: the donor's mean momentum.

`rising` needs no donor: the momentum goes from `momentum_below` to `momentum_above`, linearly over the epochs.
"""

import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from train import records
from train.data.dataset import may_be_same
from train.errors import ConfigError
from train.experiments.config import config_of, differences
from train.experiments.experiment import Experiment

_BLOCK = 5

Momenta = np.ndarray  # float32 [epochs, steps per epoch]


class Control(NamedTuple):
    """The definition of a control.

    Attributes:
      summary: Its momenta in a few words. `{follows}` stands for the donor's arm, `{below}` and `{above}` for momenta.
      momenta: Makes the momenta from the control, its seed and the donor's momenta, which are zeros without a donor.
      donor_seed: Returns the donor's seed for the control's own; None if the control needs no donor.
    """

    summary: str
    momenta: Callable[[Experiment, int, Momenta], Momenta]
    donor_seed: Callable[[int], int] | None


def _same_seed(seed: int) -> int:
    return seed


def block_of(seed: int) -> int:
    """Return the number of a seed's block of five: 0 for the seeds 0 to 4, 1 for 5 to 9."""
    return seed // _BLOCK


def next_in_block(seed: int) -> int:
    """Return the next seed in the block of five, cyclically: 0, 1, 2, 3, 4 become 1, 2, 3, 4, 0."""
    return block_of(seed) * _BLOCK + (seed + 1) % _BLOCK


def _yoked(control: Experiment, seed: int, donor: Momenta) -> Momenta:
    del control, seed
    return donor


def _schedule(control: Experiment, seed: int, donor: Momenta) -> Momenta:
    del control, seed
    return np.broadcast_to(donor.mean(axis=1, dtype=np.float64, keepdims=True), donor.shape)


def _random(control: Experiment, seed: int, donor: Momenta) -> Momenta:
    share = np.mean(donor == np.float32(control.momentum_below), axis=1, keepdims=True)
    # The arm's name makes two random arms with the same seed draw differently.
    draws = np.random.default_rng([seed, zlib.crc32(control.name.encode())]).random(donor.shape)
    return np.where(draws < share, control.momentum_below, control.momentum_above)


def _constant(control: Experiment, seed: int, donor: Momenta) -> Momenta:
    del control, seed
    return np.full_like(donor, donor.mean(dtype=np.float64))


def _rising(control: Experiment, seed: int, donor: Momenta) -> Momenta:
    del seed
    by_epoch = np.linspace(control.momentum_below, control.momentum_above, len(donor))
    return np.broadcast_to(by_epoch[:, None], donor.shape)


CONTROLS = {
    "yoked": Control("the momenta of {follows} with another seed", _yoked, next_in_block),
    "schedule": Control("the mean momentum of each epoch of {follows}", _schedule, _same_seed),
    "random": Control("{below} or {above} at random, as often as {follows}", _random, _same_seed),
    "constant": Control("the mean momentum of {follows}", _constant, _same_seed),
    "rising": Control("from {below} to {above} over the epochs", _rising, None),
}
"""By `Experiment.control`."""


def donor_seed(experiment: Experiment, seed: int) -> int | None:
    """Return the seed of the run that gives a control its momenta; None if it needs none."""
    if experiment.control == "none":
        return None
    choose = CONTROLS[experiment.control].donor_seed
    return None if choose is None else choose(seed)


def require_donors(arms: Sequence[Experiment], root: Path, *, fresh: bool = False) -> None:
    """Check, before anything is trained, that every control will find its donors.

    Args:
      arms: The arms to train, with their seeds.
      root: Folder of all runs.
      fresh: Whether finished runs of these arms are trained again.

    Raises:
      ConfigError: If a donor is neither finished nor one of the runs of these arms.
      RecordError: If a donor's record is damaged.
    """
    to_train = {(arm.name, seed) for arm in arms for seed in arm.seeds}
    for arm in arms:
        name = f"{arm.group}/{arm.follows}"
        if arm.control == "none" or CONTROLS[arm.control].donor_seed is None:
            continue
        donors = {donor_seed(arm, seed) for seed in arm.seeds if fresh or not _is_finished(root, arm.name, seed)}
        missing = sorted(
            seed
            for seed in donors
            if seed is not None and (name, seed) not in to_train and not _is_finished(root, name, seed)
        )
        if missing:
            seeds = " ".join(map(str, missing))
            advice = (
                "Add these seeds to --seeds. A yoked control needs whole blocks of five: 0 to 4, 5 to 9, ..."
                if any(name == other for other, _ in to_train)
                else f"Run it first: python -m train run {name} --seeds {seeds}, with the same options."
            )
            raise ConfigError(
                f"{arm.name} follows {name}, which has no finished run in {root} with the seeds {seeds}. {advice}"
            )


def _is_finished(root: Path, name: str, seed: int) -> bool:
    record = records.find(root, name, seed)
    return record is not None and record.finished


def momenta(
    experiment: Experiment, root: Path, seed: int, steps_per_epoch: int, *, fingerprint: str | None = None
) -> np.ndarray:
    """Make the momenta of a control's run.

    Args:
      experiment: A control.
      root: Folder of all runs, with the donor.
      seed: The control's seed.
      steps_per_epoch: Optimizer steps per epoch.
      fingerprint: The fingerprint of the control's data. None means unknown.

    Returns:
      The momentum of every step, float32 [epochs * steps_per_epoch].

    Raises:
      ConfigError: If the donor is missing, not finished, or has other settings or data than the control.
      RecordError: If the donor's record is damaged.
    """
    donor = np.zeros((experiment.epochs, steps_per_epoch), np.float32)
    seed_of_donor = donor_seed(experiment, seed)
    if seed_of_donor is not None:
        record = _donor(experiment, root, seed, seed_of_donor, fingerprint)
        taken = np.asarray(record.steps.momentum)
        if taken.size != donor.size:
            raise ConfigError(
                f"{experiment.name} has {donor.size} steps, but {record.folder}, which it follows, has {taken.size}. "
                "Train both on the same images."
            )
        donor = np.reshape(taken, donor.shape)
    return np.asarray(CONTROLS[experiment.control].momenta(experiment, seed, donor), np.float32).ravel()


def _donor(experiment: Experiment, root: Path, seed: int, donor_seed: int, fingerprint: str | None) -> records.Record:
    """Read the donor's record. Refuse it if it does not fit."""
    name = f"{experiment.group}/{experiment.follows}"
    needs = f"{experiment.name} with seed {seed} follows {name} with seed {donor_seed}"
    donor = records.find(root, name, donor_seed)
    if donor is None:
        raise ConfigError(f"{needs}, which has no finished run in {root}; run it first.")
    if not donor.finished or donor.config["epochs"] != experiment.epochs:
        raise ConfigError(
            f"{needs}, which has {len(donor.history)} of {donor.config['epochs']} epochs, not {experiment.epochs}; "
            "run it with as many, in the same folder."
        )
    own = {"name", "phase", "control", "follows", "random_probability", "delay", "nonfinite"}
    shared = {key: value for key, value in config_of(experiment).items() if key not in own}
    differ = differences(donor.config, shared)
    if differ:
        listed = ", ".join(f"{key} ({old!r} there, {new!r} here)" for key, (old, new) in differ.items())
        raise ConfigError(f"{needs}, which had other settings: {listed}. Run both with the same.")
    there = donor.versions.get(records.FINGERPRINT)
    # Runs older than fingerprints have none.
    if there is not None and fingerprint is not None and not may_be_same(there, fingerprint):
        raise ConfigError(
            f"{needs}, which was trained on other images or labels (fingerprint {there} there, {fingerprint} here). "
            "Train both on the same data."
        )
    return donor


def comparable_settings(config: dict[str, Any]) -> dict[str, Any]:
    """Make the settings of a control from version 0.1.0 equal for all seeds of its arm.

    Version 0.1.0 recorded a number of the donor as a setting of the control: the donor's share in each epoch, or its
    mean momentum. This number differs between seeds, so a word replaces it. The settings of other runs do not change.
    """
    if not config["follows"] or config["control"] != "none":
        return config
    if config["phase"] == "none":
        return config | {"momentum_below": "its mean", "momentum_above": "its mean"}
    return config | {"random_probability": "its share"}
