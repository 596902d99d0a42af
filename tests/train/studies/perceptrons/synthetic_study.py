"""A study of made-up numbers."""

import numpy as np

from tests.train.studies.perceptrons.tiny_task import TASK
from train.studies.perceptrons import study
from train.studies.perceptrons.record import Record, make
from train.studies.perceptrons.study import Outcome

ENVIRONMENT = {"versions": {"python": "3"}, "device": {"kind": "cpu"}, "command": "the words"}
ARMS = [*map(study.sgd_name, study.FIXED)]
ARMS += [study.name(kind, order) for order in study.ORDERS for kind in ("lcam", *study.CONTROLS)]


def part(first, seeds, random):
    """Outcomes of some seeds, made up; the second run of `rising-0.9-0.95` was not finite."""
    outcomes = {}
    for arm in ARMS:
        finite = np.ones(seeds, bool)
        finite[1] = arm != "rising-0.9-0.95"
        wrong = np.where(finite, random.integers(30, 40, seeds), 1000)
        outcomes[arm] = Outcome(wrong, finite, random.uniform(0.9, 0.95, (seeds, TASK.epochs)))
    return np.arange(first, first + seeds, dtype=np.uint32), outcomes


def parts():
    """Two parts of five seeds from 10000 on."""
    random = np.random.default_rng(0)
    return [part(10_000, 5, random), part(10_005, 5, random)]


def record() -> Record:
    """Of both parts, with 1000 test images."""
    return make(TASK, 1000, parts(), ENVIRONMENT)
