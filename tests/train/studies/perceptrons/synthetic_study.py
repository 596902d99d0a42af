"""A study of made-up numbers."""

import numpy as np

from tests.train.studies.perceptrons.tiny_task import TASK
from train.studies.perceptrons import study
from train.studies.perceptrons.record import Record, make
from train.studies.perceptrons.study import Outcome

ENVIRONMENT = {"versions": {"python": "3"}, "device": {"kind": "cpu"}, "command": "the words"}
ARMS = [*map(study.sgd_name, study.FIXED)]
ARMS += [study.name(kind, order) for order in study.ORDERS for kind in ("lcam", *study.CONTROLS)]


def block(first, seeds, random):
    """Outcomes of a block, made up; the second run of `rising-0.9-0.95` was not finite."""
    outcomes = {}
    for arm in ARMS:
        finite = np.ones(seeds, bool)
        finite[1] = arm != "rising-0.9-0.95"
        wrong = np.where(finite, random.integers(30, 40, seeds), 1000)
        outcomes[arm] = Outcome(wrong, finite, random.uniform(0.9, 0.95, (seeds, TASK.epochs)))
    return np.arange(first, first + seeds, dtype=np.uint32), outcomes


def blocks():
    """Two blocks of four seeds from 10000 on."""
    random = np.random.default_rng(0)
    return [block(10_000, 4, random), block(10_004, 4, random)]


def record() -> Record:
    """Of both blocks, with 1000 test images."""
    return make(TASK, 1000, blocks(), ENVIRONMENT)
