"""The limits of optimizers and training modes agree with the rest of the project."""

from typing import get_args, get_type_hints

from train.experiments import Experiment
from train.experiments.limits import optimizer_limits, training_limits

CHOICES = get_type_hints(Experiment)


def test_limits_name_fields_of_an_experiment():
    limits = [limit for name in get_args(CHOICES["optimizer"]) for limit in optimizer_limits(name)]
    for training in get_args(CHOICES["training"]):
        for activation in get_args(CHOICES["activation"]):
            limits += training_limits(training, activation)
    assert {limit.field for limit in limits} <= set(CHOICES)


def test_plain_sgd_and_the_plain_network_have_none():
    assert optimizer_limits("sgd") == []
    assert training_limits("end-to-end", "relu") == []
