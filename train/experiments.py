"""The experiments: one frozen dataclass an arm, the authors' figures as groups."""

import dataclasses
import difflib
from typing import Any, Literal

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_HUGE = 3.4e38  # the largest float32, about


class ConfigError(ValueError):
    """A setting or a name that cannot be used: the message says which, and what is allowed."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment:
    """One arm: everything that decides its numbers but the seed.

    The defaults are what all twelve runs of the authors' scripts share: WRN-28-10, batches of 128, 150 epochs, learning
    rate 0.1, coupled weight decay 5e-4 on every parameter. They published 19.22 % on CIFAR-100 (near epoch 120);
    tuned SGD is at 3.5 to 4.0 % and 18.5 to 20.2 % in other laboratories. On one H200 in bfloat16 the floor of an epoch
    is 2 s; a CPU wants `--depth 16 --width 1` and fewer epochs. `python -m train run fig3` runs the first group.

    Attributes:
      name: `group/arm`.
      dataset: Name of a TensorFlow data set, or `digits`.
      depth: Of the Wide ResNet, 6n + 4.
      width: Its factor on the channels.
      dropout: Rate inside its blocks, in [0, 1).
      dtype: Of activations; parameters, statistics, loss and optimizer state are float32.
      epochs: Passes over the training set; the schedules stretch with it.
      batch_size: Images a step, over all devices together.
      drop_last: Whether to leave out a short last batch, which the authors keep as a step of its own.
      learning_rate: At the start.
      schedule: `step`, `smooth` (see `train.schedules`), `cosine` or `constant`.
      weight_decay: Coupled L2, on every parameter.
      momentum_below: Momentum after a loss below the mean; without a phase, of every step.
      momentum_above: After a loss at or above it; without a phase equal to `momentum_below`.
      phase: `none` is SGD; `epoch_mean` is LCAM; `ema` and `window` compare with another mean; `random` draws.
      ema_decay: For `ema`, in [0, 1).
      window_size: For `window`, in steps.
      random_probability: For `random`, the chance of below, in [0, 1]; one number, or one for each epoch.
      follows: For a control, the LCAM arm of its group (without the group's name) whose run with the same seed gives it
        the chance of below in each epoch, or with phase `none` its constant momentum; see `train.controls`.
      delay: Whether a loss picks the momentum of the next step, as in the authors' code.
      nesterov: Whether to use Nesterov momentum.
      nonfinite: What to do at a loss that is not finite: `stop` the run, or `skip` the update of that step.
      crop_padding: Black pixels around an image before the random crop; 0 leaves it whole.
      flip: Whether to mirror half of the images, at random.
      mean: Subtracted from the pixels in [0, 1], one number a channel.
      std: Divides them after that.
      seeds: Run when the command names none.
      vmap_seeds: Whether seeds run together as one program: pays for small networks.
    """

    name: str
    dataset: str
    depth: int = 28
    width: int = 10
    dropout: float = 0.0
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    epochs: int = 150
    batch_size: int = 128
    drop_last: bool = False
    learning_rate: float = 0.1
    schedule: Literal["step", "smooth", "cosine", "constant"] = "step"
    weight_decay: float = 5e-4
    momentum_below: float = 0.9
    momentum_above: float = 0.9
    phase: Literal["none", "epoch_mean", "ema", "window", "random"] = "none"
    ema_decay: float = 0.99
    window_size: int = 100
    random_probability: tuple[float, ...] = (0.5,)
    follows: str = ""
    delay: bool = True
    nesterov: bool = False
    nonfinite: Literal["stop", "skip"] = "stop"
    crop_padding: int = 4
    flip: bool = True
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    vmap_seeds: bool = False

    def __post_init__(self) -> None:
        # The upper ends only catch slips of the hand before they end in hours of building, or in a traceback.
        depths = "6n + 4 with n from 1 to 166, such as 10, 16, 28"
        self._require("depth", 10 <= self.depth <= 1000 and self.depth % 6 == 4, depths)
        for field, most in (("width", 1000), ("epochs", 10**6), ("batch_size", 10**6), ("window_size", 10**6)):
            self._require(field, 1 <= getattr(self, field) <= most, f"a whole number from 1 to {most}")
        for field in ("dropout", "momentum_below", "momentum_above", "ema_decay"):
            self._require(field, 0 <= getattr(self, field) < 1, "in [0, 1)")
        self._require("random_probability", all(0 <= p <= 1 for p in self.random_probability), "in [0, 1]")
        self._require(
            "random_probability",
            len(self.random_probability) in (1, self.epochs),
            f"one number, or one for each of the {self.epochs} epochs",
        )
        self._require("follows", not self.follows or self.phase in ("none", "random"), "empty with this phase")
        self._require("learning_rate", 0 < self.learning_rate < _HUGE, "a float32 number above 0")
        self._require("weight_decay", 0 <= self.weight_decay < _HUGE, "a float32 number of at least 0")
        self._require("crop_padding", 0 <= self.crop_padding <= 1000, "a whole number from 0 to 1000")
        self._require("std", all(0 < s < _HUGE for s in self.std), "finite numbers above 0, one a channel")
        self._require("mean", all(-_HUGE < m < _HUGE for m in self.mean), "finite numbers, one a channel")
        self._require("mean", len(self.mean) == len(self.std), f"as many numbers as std, which has {len(self.std)}")
        self._require("seeds", bool(self.seeds), "at least one seed")
        self._require("seeds", all(0 <= s < 2**31 for s in self.seeds), "whole numbers from 0 to 2147483647")
        self._require("seeds", len(set(self.seeds)) == len(self.seeds), "seeds that differ from each other")
        for field in _CHOICES:
            allowed = _CHOICES[field]
            self._require(field, getattr(self, field) in allowed, "one of " + ", ".join(allowed))
        if self.phase == "none":
            self._require(
                "momentum_above",
                self.momentum_above == self.momentum_below,
                f"equal to momentum_below, {self.momentum_below}, as phase is none (SGD); or choose a phase",
            )

    def _require(self, field: str, holds: bool, allowed: str) -> None:
        if not holds:
            raise ConfigError(f"{self.name}: {field} is {getattr(self, field)!r}, allowed: {allowed}.")

    @property
    def group(self) -> str:
        """The part of the name before the slash."""
        return self.name.partition("/")[0]


_CHOICES = {
    "nonfinite": ("stop", "skip"),
    "dtype": ("bfloat16", "float32"),
    "schedule": ("step", "smooth", "cosine", "constant"),
    "phase": ("none", "epoch_mean", "ema", "window", "random"),
}


def sgd(base: Experiment, momentum: float) -> Experiment:
    """The arm of a base that keeps one momentum."""
    name = f"{base.name}/sgd-{momentum:g}"
    return dataclasses.replace(base, name=name, momentum_below=momentum, momentum_above=momentum)


def lcam(base: Experiment, below: float, above: float) -> Experiment:
    """The LCAM arm of a base: `below` after losses below the mean, `above` after the others."""
    name = f"{base.name}/lcam-{below:g}-{above:g}"
    return dataclasses.replace(base, name=name, phase="epoch_mean", momentum_below=below, momentum_above=above)


def _four_arms(base: Experiment) -> list[Experiment]:
    return [sgd(base, 0.9), sgd(base, 0.95), lcam(base, 0.95, 0.9), lcam(base, 0.9, 0.95)]


def _controls(base: Experiment) -> list[Experiment]:
    """What tells whether it is the loss that makes the difference; the arms that are followed come first."""

    def variant(arm: Experiment, name: str, **changes: Any) -> Experiment:
        return dataclasses.replace(arm, name=f"{base.name}/{name}", **changes)

    both_ways = [(0.95, 0.9), (0.9, 0.95)]
    sgd_arm, lcam_arm = sgd(base, 0.9), lcam(base, 0.9, 0.95)
    followers = []
    for below, above in both_ways:
        pair = f"{below:g}-{above:g}"
        followers += [
            variant(lcam(base, below, above), f"random-{pair}", phase="random", follows=f"lcam-{pair}"),
            variant(sgd_arm, f"constant-{pair}", follows=f"lcam-{pair}"),
        ]
    return [
        *_four_arms(base),
        *followers,
        variant(lcam_arm, "nodelay-0.9-0.95", delay=False),
        variant(lcam_arm, "ema-0.9-0.95", phase="ema"),
        variant(sgd_arm, "nesterov-0.9", nesterov=True),
        variant(sgd_arm, "cosine-sgd-0.9", schedule="cosine"),
        variant(lcam_arm, "cosine-lcam-0.9-0.95", schedule="cosine"),
        # "Half the epochs" as the claim it is: the whole schedule in fewer epochs.
        variant(sgd_arm, "half-sgd-0.9", epochs=75),
        variant(lcam_arm, "half-lcam-0.9-0.95", epochs=75),
        variant(sgd_arm, "twothirds-sgd-0.9", epochs=100),
        variant(lcam_arm, "twothirds-lcam-0.9-0.95", epochs=100),
    ]


def _build() -> dict[str, Experiment]:
    fig3 = Experiment(name="fig3", dataset="cifar10")
    fig4 = Experiment(name="fig4", dataset="cifar100")
    controls = Experiment(name="controls", dataset="cifar10")
    fig5_cifar10 = Experiment(name="fig5-cifar10", dataset="cifar10", schedule="smooth")
    fig5_cifar100 = Experiment(name="fig5-cifar100", dataset="cifar100", schedule="smooth")
    # Reproduces nothing: three small runs of the same kind, on bundled data, in a minute or two on two CPU cores.
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
    arms = [
        *_four_arms(fig3),
        *_four_arms(fig4),
        *_controls(controls),
        sgd(fig5_cifar10, 0.9),
        lcam(fig5_cifar10, 0.9, 0.95),
        sgd(fig5_cifar100, 0.9),
        lcam(fig5_cifar100, 0.93, 0.9),
        sgd(quickstart, 0.9),
        lcam(quickstart, 0.95, 0.9),
        lcam(quickstart, 0.9, 0.95),
    ]
    return {arm.name: arm for arm in arms}


EXPERIMENTS = _build()


def scaled(arms: list[Experiment], epochs: int) -> list[Experiment]:
    """Give the longest of some arms a number of epochs, and the others in proportion."""
    longest = max(arm.epochs for arm in arms)
    return [dataclasses.replace(arm, epochs=max(round(arm.epochs * epochs / longest), min(epochs, 1))) for arm in arms]


def find(name_or_group: str) -> list[Experiment]:
    """Look up an arm, or all arms of a group.

    Raises:
      ConfigError: If there is none of that name; the message holds the nearest ones.
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
