"""An experiment: one frozen dataclass with all settings of a run except the seed."""

import dataclasses
from collections.abc import Iterable
from typing import Literal, get_args, get_origin

from train.errors import ConfigError
from train.experiments.limits import Limit, control_limits, optimizer_limits, training_limits

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_HUGE = 3.4e38  # the largest float32, about


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment:
    """One arm: all settings that affect its numbers, except the seed.

    The defaults are the settings that all twelve runs of the authors' scripts share: WRN-28-10, batches of 128, 150
    epochs, learning rate 0.1, coupled weight decay 5e-4 on every parameter. The authors published a test error of
    19.22 % on CIFAR-100 (near epoch 120). With tuned SGD, other laboratories reach 3.5 to 4.0 % on CIFAR-10 and 18.5 to
    20.2 % on CIFAR-100. On one H200 in bfloat16, an epoch would take at least 2 s (1.57 PFLOP at 790 TFLOP/s), but none
    was run. On a CPU, use `--depth 16 --width 1` and fewer epochs. `python -m train run fig3` runs the first group.

    Attributes:
      name: `group/arm`.
      dataset: The data set: `digits`, which is bundled, a name in TensorFlow Datasets such as `cifar10`, or the name of
        an import by `python -m train data`.
      resolution: Reduce the images to this height in pixels, by averaging squares of pixels; 0 keeps them unchanged.
      train_size: Train on this number of images, the first of each class; 0 uses all.
      depth: Layers of the Wide ResNet: 10, 16, 22, 28, ... (6n + 4).
      width: Factor of the channels of the Wide ResNet, which has 16, 32 and 64 times `width` channels.
      dropout: Dropout rate inside the residual blocks, in [0, 1).
      dtype: Number format of the activations. Parameters, batch statistics, loss and optimizer state are float32.
      epochs: Passes over the training set. The learning rate schedule stretches with them. In a group with arms of
        different lengths, this sets the epochs of the longest arm; the others change in proportion.
      batch_size: Images per step, over all devices together.
      drop_last: Skip the last batch of an epoch if it is short. The authors train on it in a separate step.
      learning_rate: Learning rate at the start of the schedule.
      schedule: How the learning rate falls: in `step`s, as a `smooth` curve through them, as a `cosine`, or not at all
        (`constant`).
      weight_decay: Weight decay, coupled (an L2 term in the gradient) or decoupled, as the optimizer's authors have it.
        It applies to all parameters except the slopes of adaptive activations. With `associated` training it applies
        only to the kernels of convolutions.
      momentum_below: Momentum after a loss below the mean. Without a phase, the momentum of every step. For the control
        `rising`, the momentum of the first epoch.
      momentum_above: Momentum after a loss at or above the mean. Without a phase or a control, it equals
        `momentum_below`. For the control `rising`, the momentum of the last epoch.
      phase: What picks the momentum. `epoch_mean` is LCAM: it compares the loss with the mean of its epoch. `ema` and
        `window` are LCAM with a moving mean. `random` draws the momentum. `none` is SGD with one momentum.
      ema_decay: Decay of the moving mean of phase `ema`, in [0, 1).
      window_size: Steps in the moving mean of phase `window`.
      random_probability: Probability of `momentum_below` in phase `random`, in [0, 1]: one number, or one per epoch.
      control: Set the momentum of every step without the arm's own loss. `yoked`, `schedule`, `random` and `constant`
        follow an LCAM run. `rising` goes from `momentum_below` to `momentum_above` over the epochs. `none` means that
        the arm is not a control.
      follows: The LCAM arm that gives a control its momenta, without the name of their group.
      delay: Let a loss pick the momentum of the next step, as in the authors' code, instead of its own step.
      nesterov: Use Nesterov momentum.
      optimizer: The optimizer. `sgd` with a phase is LCAM. The others use `momentum_below` as their momentum or as the
        decay of their first moment, if they have one.
      training: How the network learns: `end-to-end` by backpropagation; `associated`, by local losses without a
        backward pass through the whole network; or `partitioned`, one part after the other, each with its own head.
      activation: `relu`, or an adaptive one: `l-laaf` with a trained slope per layer, `n-laaf` per neuron.
      activation_scale: Factor n >= 1 of the slopes of adaptive activations, which start at 1 / n.
      slope_recovery: Weight of the slope recovery term in the loss, for adaptive activations.
      learning_rates: Learning rates to try before the run, each with each of `weight_decays`. The run uses the best on
        held-out training images. If empty, nothing is tried.
      weight_decays: Weight decays to try, each with each of `learning_rates`. Empty if and only if `learning_rates` is.
      tuning_seeds: Seeds of the trials of `learning_rates` and `weight_decays`. None of them may be in `seeds`.
      holdout: Hold out a fifth of the training images of each class, and test on them instead of the test set. Trials
        always do this.
      nonfinite: At a loss, gradient or state that is not finite, `stop` the run or `skip` the update.
      crop_padding: Black pixels around an image before its random crop; 0 switches cropping off.
      flip: Mirror each training image with probability 1/2.
      mean: Subtract this from the pixels in [0, 1]; one number per channel.
      std: Divide the pixels by this after `mean` is subtracted; one number per channel.
      seeds: Seeds to train with if the command names none.
      vmap_seeds: On a single device, train up to 20 seeds together as one program. The benchmark `seeds` measures
        whether this is faster.
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
        # The upper limits only catch typing errors, which would cost hours of compiling or end in a traceback.
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
        self._require("std", all(0 < s < _HUGE for s in self.std), "finite numbers above 0, one per channel")
        self._require("mean", all(-_HUGE < m < _HUGE for m in self.mean), "finite numbers, one per channel")

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
