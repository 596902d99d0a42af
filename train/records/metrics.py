"""The metrics per step and per epoch, from the jitted step to the record."""

import dataclasses
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:  # reading records does not need JAX
    import jax


class StepMetrics(NamedTuple):
    """The metrics of training steps. Arrays have shape=() for one step, [steps] for one seed, or [seeds, steps].

    Attributes:
      loss: float32; loss of the step's batch: the mean cross-entropy in nats, or another loss that the run minimises.
        NaN if the step was skipped.
      momentum: float32; the momentum that the step used. For optimizers other than `sgd`, the setting.
      below: bool; whether the loss was below the mean of its epoch so far.
    """

    loss: "jax.Array | np.ndarray"
    momentum: "jax.Array | np.ndarray"
    below: "jax.Array | np.ndarray"

    def of_seed(self, index: int) -> "StepMetrics":
        """The metrics of one seed, [steps], from [seeds, steps]."""
        return StepMetrics(*(values[index] for values in self))


STEP_DTYPES = ("float32", "float32", "bool")
"""The dtypes of the fields of `StepMetrics`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EpochMetrics:
    """One row of a run's history. Numbers that were not finite are nan.

    Attributes:
      epoch: Counted from 0.
      train_loss: Mean of the losses of the epoch's steps, in nats for cross-entropy, without skipped steps.
      test_error: Misclassified test images after the epoch, in percent.
      test_loss: Mean cross-entropy of the test images after the epoch, in nats.
      learning_rate: The schedule's value at the last step of the epoch.
      below_fraction: Share of the steps whose loss was below the mean, in [0, 1].
      mean_momentum: Mean of the momenta that the steps used.
      seconds: Wall time of the epoch with its evaluation, with compiling and with checkpoints saved within it. If the
        run was resumed within the epoch, the time since then. Older records leave out the evaluation.
      skipped_steps: Steps skipped because a number was not finite; None in older records, which lack this field.
    """

    epoch: int
    train_loss: float
    test_error: float
    test_loss: float
    learning_rate: float
    below_fraction: float
    mean_momentum: float
    seconds: float
    skipped_steps: int | None = None

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values, without those that are None."""
        return {key: value for key, value in dataclasses.asdict(self).items() if value is not None}


MEASURED = tuple(field.name for field in dataclasses.fields(EpochMetrics) if field.type is float)
"""The fields of `EpochMetrics` that are measured numbers."""
