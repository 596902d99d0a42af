"""The experiments: the settings of a run, and the arms and groups by name."""

from train.experiments.config import DEFAULTS, MAIN_SETTINGS, config_of, differences, differences_from_run, from_config
from train.experiments.experiment import Experiment
from train.experiments.groups import EXPERIMENTS, find, scaled
from train.experiments.variants import lcam, sgd

__all__ = [
    "DEFAULTS",
    "EXPERIMENTS",
    "MAIN_SETTINGS",
    "Experiment",
    "config_of",
    "differences",
    "differences_from_run",
    "find",
    "from_config",
    "lcam",
    "scaled",
    "sgd",
]
