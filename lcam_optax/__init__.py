"""Loss-Controlled Asymmetric Momentum (LCAM) for Optax."""

from lcam_optax._accumulation import AccumulateState, accumulate
from lcam_optax._hyperparams import LossControlledState, loss_controlled
from lcam_optax._lcam import (
    PhaseReading,
    ScaleByLcamState,
    lcam,
    phase,
    scale_by_lcam,
)
from lcam_optax._phase import (
    EmaState,
    EpochMeanState,
    Phase,
    RandomPhaseState,
    WindowState,
    ema,
    epoch_mean,
    random_phase,
    window,
)
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
    "phase",
    "random_phase",
    "scale_by_lcam",
    "window",
]
