"""An experiment: one frozen dataclass that decides all of a run's numbers but the seed."""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args, get_origin

from train.errors import ConfigError
from train.experiments.limits import Limit, control_limits, optimizer_limits, training_limits

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_HUGE = 3.4e38  # the largest float32, about


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment:
    """One arm: everything that decides its numbers but the seed.

    The defaults are what all twelve runs of the authors' scripts share: WRN-28-10, batches of 128, 150 epochs, learning
    rate 0.1, coupled weight decay 5e-4 on every parameter. They published 19.22 % on CIFAR-100 (near epoch 120);
    tuned SGD is at 3.5 to 4.0 % and 18.5 to 20.2 % in other laboratories. On one H200 in bfloat16 an epoch would
    take at least 2 s (1.57 PFLOP at 790 TFLOP/s; never run); a CPU wants `--depth 16 --width 1` and fewer epochs.
    `python -m train run fig3` runs the first group.

    Attributes:
      name: `group/arm`.
      dataset: Name of a TensorFlow data set, or `digits`.
      resolution: Height of the images in pixels, each the mean of a square of the original; 0 keeps them as they are.
      train_size: Number of training images, the first of each class; 0 takes all.
      depth: Of the Wide ResNet, 6n + 4.
      width: Factor on the network's channels.
      dropout: Rate inside the network's blocks, in [0, 1).
      dtype: Of activations; parameters, statistics, loss and optimizer state are float32.
      epochs: Passes over the training set; the schedules stretch with it.
      batch_size: Images a step, over all devices together.
      drop_last: Whether to leave out a short last batch, which the authors keep as a step of its own.
      learning_rate: Learning rate at the start of the schedule.
      schedule: `step`, `smooth` (see `train.recipe.schedules`), `cosine` or `constant`.
      weight_decay: Coefficient: coupled L2, or as its optimizer has it (see `train.recipe.optimizers`); on all weights
        but slopes, with `associated` training on the kernels of convolutions alone.
      momentum_below: Momentum after a loss below the mean; without a phase, of every step. Of the control `rising`, the
        momentum of the first epoch.
      momentum_above: Momentum after a loss at or above the mean; without a phase or control, equal to
        `momentum_below`. Of the control `rising`, the momentum of the last epoch.
      phase: `none` is SGD; `epoch_mean` is LCAM; `ema` and `window` compare with another mean; `random` draws.
      ema_decay: For phase `ema`, the decay of the mean, in [0, 1).
      window_size: For phase `window`, how many steps the mean is over.
      random_probability: For phase `random`, the chance of below, in [0, 1]; one number, or one for each epoch.
      control: How a control makes the momenta of its steps without its own loss: `yoked`, `schedule`, `random`,
        `constant` or `rising`; see `train.experiments.controls`. `none`: the arm is no control.
      follows: The LCAM arm that gives a control its momenta, without the name of the group that both are in.
      delay: Whether a loss picks the momentum of the next step, as in the authors' code.
      nesterov: Whether to use Nesterov momentum.
      optimizer: `sgd`, which with a phase is LCAM; or one of the others, see `train.recipe.optimizers`. Those take
        `momentum_below` for the decay of their trace or first moment where they have one.
      training: `end-to-end`; `associated`, local losses and no backward pass through the whole network; `partitioned`,
        a part after the other, each below a head of its own; see `train.recipe.modes`.
      activation: `relu`; or `l-laaf` or `n-laaf`, with a trained slope a layer or a neuron.
      activation_scale: The factor n >= 1 on the slopes of an adaptive activation, which start at 1 / n.
      slope_recovery: Weight of the slope recovery term in the loss; without slopes there is none.
      learning_rates: Learning rates to try, each with each of `weight_decays`, before the run, which takes the best;
        see `train.experiments.tuning`. Empty: `learning_rate` and `weight_decay` are taken as they are.
      weight_decays: Weight decays to try, each with each of `learning_rates`; empty if and only if those are.
      tuning_seeds: Seeds of each trial, none of them among `seeds`.
      holdout: Whether a fifth of the training images, of each class alike, is held out and tested on in the test set's
        place. Trials always do so.
      nonfinite: What to do at a loss, a gradient or a state that is not finite: `stop` the run, or `skip` the updates
        of such steps.
      crop_padding: Black pixels around an image before the random crop; 0 leaves it whole.
      flip: Whether to mirror half of the images, at random.
      mean: Subtracted from the pixels in [0, 1], one number a channel.
      std: What the pixels are divided by after `mean` is subtracted, one number a channel.
      seeds: Run when the command names none.
      vmap_seeds: Whether seeds run together as one program, up to 20 of them. Whether that pays for a network on a
        device, the benchmark `seeds` tells.
    """

    name: str
    dataset: str
    resolution: int = 0
    train_size: int = 0
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
    control: Literal["none", "yoked", "schedule", "random", "constant", "rising"] = "none"
    follows: str = ""
    delay: bool = True
    nesterov: bool = False
    optimizer: Literal[
        "sgd",
        "adam",
        "adamw",
        "lion",
        "muon",
        "schedule-free",
        "momo",
        "sam",
        "lookahead",
        "polyak",
        "yamadam",
        "lrsgd-c",
        "lrsgd-r",
        "delayed-feedback",
        "extragradient",
        "past-extrapolation",
        "annealed-momentum",
        "mutual-information",
        "salp-swarm",
    ] = "sgd"
    training: Literal["end-to-end", "associated", "partitioned"] = "end-to-end"
    activation: Literal["relu", "l-laaf", "n-laaf"] = "relu"
    activation_scale: float = 1.0
    slope_recovery: float = 1.0
    learning_rates: tuple[float, ...] = ()
    weight_decays: tuple[float, ...] = ()
    tuning_seeds: tuple[int, ...] = (1000, 1001)
    holdout: bool = False
    nonfinite: Literal["stop", "skip"] = "stop"
    crop_padding: int = 4
    flip: bool = True
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    vmap_seeds: bool = False

    def __post_init__(self) -> None:
        self._check_choices()
        self._check_sizes()
        self._check_numbers()
        self._check_seeds()
        self._check_optimizer()

    def _check_choices(self) -> None:
        for field in dataclasses.fields(self):
            if get_origin(field.type) is Literal:
                allowed = get_args(field.type)
                self._require(field.name, getattr(self, field.name) in allowed, "one of " + ", ".join(allowed))

    def _check_sizes(self) -> None:
        # The upper ends only catch slips of the hand before they end in hours of building, or in a traceback.
        depths = "6n + 4 with n from 1 to 166, such as 10, 16, 28"
        self._require("depth", 10 <= self.depth <= 1000 and self.depth % 6 == 4, depths)
        for field, most in (("width", 1000), ("epochs", 10**6), ("batch_size", 10**6), ("window_size", 10**6)):
            self._require(field, 1 <= getattr(self, field) <= most, f"a whole number from 1 to {most}")
        self._require("resolution", 0 <= self.resolution <= 10**4, "a whole number from 0 to 10000")
        self._require("train_size", 0 <= self.train_size < 2**31, "a whole number from 0 to 2147483647")
        self._require("crop_padding", 0 <= self.crop_padding <= 1000, "a whole number from 0 to 1000")
        self._require("mean", len(self.mean) == len(self.std), f"as many numbers as std, which has {len(self.std)}")
        chances = f"one number, or one for each of the {self.epochs} epochs"
        self._require("random_probability", len(self.random_probability) in (1, self.epochs), chances)

    def _check_numbers(self) -> None:
        for field in ("dropout", "momentum_below", "momentum_above", "ema_decay"):
            self._require(field, 0 <= getattr(self, field) < 1, "in [0, 1)")
        self._require("random_probability", all(0 <= p <= 1 for p in self.random_probability), "in [0, 1]")
        self._require("learning_rate", 0 < self.learning_rate < _HUGE, "a float32 number above 0")
        self._require("learning_rates", all(0 < r < _HUGE for r in self.learning_rates), "float32 numbers above 0")
        self._require("activation_scale", 1 <= self.activation_scale < _HUGE, "a float32 number of at least 1")
        for field in ("weight_decay", "slope_recovery"):
            self._require(field, 0 <= getattr(self, field) < _HUGE, "a float32 number of at least 0")
        self._require("weight_decays", all(0 <= w < _HUGE for w in self.weight_decays), "float32 numbers from 0 on")
        self._require("std", all(0 < s < _HUGE for s in self.std), "finite numbers above 0, one a channel")
        self._require("mean", all(-_HUGE < m < _HUGE for m in self.mean), "finite numbers, one a channel")

    def _check_seeds(self) -> None:
        for field in ("seeds", "tuning_seeds"):
            seeds = getattr(self, field)
            self._require(field, bool(seeds), "at least one seed")
            self._require(field, all(0 <= s < 2**31 for s in seeds), "whole numbers from 0 to 2147483647")
            self._require(field, len(set(seeds)) == len(seeds), "seeds that differ from each other")

    def _check_optimizer(self) -> None:
        self._require_all(control_limits(self.control))
        if self.phase == "none" and self.control == "none":
            self._require(
                "momentum_above",
                self.momentum_above == self.momentum_below,
                f"equal to momentum_below, {self.momentum_below}, as phase is none (SGD); or choose a phase",
            )
        self._require_all(optimizer_limits(self.optimizer))
        both = bool(self.learning_rates) == bool(self.weight_decays)
        self._require("weight_decays", both, f"empty if and only if learning_rates is, which is {self.learning_rates}")
        if self.learning_rates:
            self._require("follows", not self.follows, "empty, as learning_rates are tried in a group of their own")
            self._require("holdout", not self.holdout, "False, as learning_rates are given: trials alone hold out")
            others = not set(self.tuning_seeds) & set(self.seeds)
            self._require("tuning_seeds", others, f"none of the seeds, {self.seeds}")
        self._require_all(training_limits(self.training, self.activation))

    def _require_all(self, limits: Iterable[Limit]) -> None:
        for field, holds, allowed in limits:
            self._require(field, holds(getattr(self, field)), allowed)

    def _require(self, field: str, holds: bool, allowed: str) -> None:
        if not holds:
            raise ConfigError(f"{self.name}: {field} is {getattr(self, field)!r}, allowed: {allowed}.")

    @property
    def group(self) -> str:
        """The part of the name before the slash."""
        return self.name.partition("/")[0]


_NOT_RECORDED = ("seeds", "vmap_seeds")


def config_of(experiment: Experiment) -> dict[str, Any]:
    """Convert the settings that decide a run's numbers to JSON values.

    Which seeds are run, and how, is not among them.
    """
    config = {key: value for key, value in dataclasses.asdict(experiment).items() if key not in _NOT_RECORDED}
    return json.loads(json.dumps(config))


def from_config(config: Mapping[str, Any], **not_recorded: Any) -> Experiment:
    """Rebuild an experiment from its `config_of`; settings that are missing take their defaults.

    Args:
      config: JSON values by field.
      **not_recorded: `seeds` and `vmap_seeds`, which a config does not contain.

    Raises:
      ConfigError: If a value is out of its range.
      TypeError: If a field is unknown.
    """
    fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in config.items()}
    return Experiment(**fields, **not_recorded)


MAIN_SETTINGS = (
    "dataset",
    "depth",
    "width",
    "epochs",
    "batch_size",
    "learning_rate",
    "schedule",
    "weight_decay",
    "momentum_below",
    "momentum_above",
    "phase",
    "control",
    "follows",
    "delay",
    "nesterov",
    "optimizer",
    "training",
    "activation",
)
"""The fields of `Experiment` that lists and reports always show, in its order; others are shown where arms differ."""

DEFAULTS = config_of(Experiment(name="", dataset=""))
"""What a setting was, as JSON values, in runs that are older than the setting."""


def differences(there: dict[str, Any], now: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The settings of `now` that were others in something older, by name: those there, and those now."""
    there = now | DEFAULTS | there
    return {key: (there[key], value) for key, value in now.items() if there[key] != value}
