"""Other methods from the literature, to compare with LCAM."""

from lcam_optax.contrib._consensus_gradient import consensus_gradient
from lcam_optax.contrib._delayed_feedback import DelayedFeedbackState, delayed_feedback
from lcam_optax.contrib._extragradient import extragradient, extrapolation_from_the_past
from lcam_optax.contrib._learning_rate_range import learning_rate_range
from lcam_optax.contrib._lrsgd import LrsgdState, lrsgd
from lcam_optax.contrib._momentum_annealing import learning_rate_from_momentum, momentum_from_learning_rate
from lcam_optax.contrib._mutual_information import contingency_table, label_information
from lcam_optax.contrib._mutual_information_decay import MutualInformationDecayState, mutual_information_decay
from lcam_optax.contrib._player_field import player_field
from lcam_optax.contrib._salp_swarm import SalpSwarmSgdState, salp_swarm_sgd
from lcam_optax.contrib._symplectic_gradient import symplectic_gradient
from lcam_optax.contrib._yamadam import ScaleByYamadamState, scale_by_yamadam, yamadam

__all__ = [
    "DelayedFeedbackState",
    "LrsgdState",
    "MutualInformationDecayState",
    "SalpSwarmSgdState",
    "ScaleByYamadamState",
    "consensus_gradient",
    "contingency_table",
    "delayed_feedback",
    "extragradient",
    "extrapolation_from_the_past",
    "label_information",
    "learning_rate_from_momentum",
    "learning_rate_range",
    "lrsgd",
    "momentum_from_learning_rate",
    "mutual_information_decay",
    "player_field",
    "salp_swarm_sgd",
    "scale_by_yamadam",
    "symplectic_gradient",
    "yamadam",
]
