"""Loss-Controlled Asymmetric Momentum (LCAM) for Optax."""

from lcam_optax._accumulation import AccumulateState, accumulate
from lcam_optax._hyperparams import LossControlledState, loss_controlled
from lcam_optax._lcam import lcam
from lcam_optax._phase import (
    EmaState,
    EpochMeanState,
    Phase,
    WindowState,
    ema,
    epoch_mean,
    window,
)
from lcam_optax._random_phase import RandomPhaseState, random_phase
from lcam_optax._reading import PhaseReading, read_phase
from lcam_optax._scale_by_lcam import ScaleByLcamState, scale_by_lcam
from lcam_optax._version import __version__

__all__ = [
    "AccumulateState",
    "EmaState",
    "EpochMeanState",
    "LossControlledState",
    "Phase",
    "PhaseReading",
    "RandomPhaseState",
    "ScaleByLcamState",
    "WindowState",
    "__version__",
    "accumulate",
    "ema",
    "epoch_mean",
    "lcam",
    "loss_controlled",
    "random_phase",
    "read_phase",
    "scale_by_lcam",
    "window",
]
