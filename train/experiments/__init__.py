"""The experiments: what decides a run's numbers, and the arms and groups by name."""

from train.experiments.experiment import ConfigError, Experiment
from train.experiments.groups import EXPERIMENTS, find, scaled
from train.experiments.variants import lcam, sgd

__all__ = ["EXPERIMENTS", "ConfigError", "Experiment", "find", "lcam", "scaled", "sgd"]
