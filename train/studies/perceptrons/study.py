"""All arms of the study. The arms of a seed share its draws, and one program trains many seeds."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from train.studies.perceptrons import controls
from train.studies.perceptrons.task import Digits, Draws, Task, draw, num_test_images
from train.studies.perceptrons.training import Trained, train_lcam, train_sgd

TOGETHER = 100  # seeds in one program; a multiple of `controls.BLOCK`
ORDERS = ((0.9, 0.95), (0.95, 0.9))  # LCAM's momenta: after a loss below the mean, and after the others
FIXED = (0.9, 0.95)
CONTROLS = ("yoked", "schedule", "random", "constant", "rising")


class Outcome(NamedTuple):
    """The results of some runs of one arm."""

    wrong: np.ndarray  # [seeds], int: wrongly classified test images; all if a parameter is not finite
    finite: np.ndarray  # [seeds], bool: whether all parameters are finite
    momentum: np.ndarray  # [seeds, epochs], float64: mean momentum of each epoch


def name(kind: str, order: tuple[float, float]) -> str:
    """The name of an arm with two momenta, such as `lcam-0.9-0.95`; the first is the momentum below the mean."""
    return f"{kind}-{order[0]:g}-{order[1]:g}"


def sgd_name(momentum: float) -> str:
    """The name of SGD with one momentum."""
    return f"sgd-{momentum:g}"


def comparisons() -> list[tuple[str, str]]:
    """Each LCAM with each of its controls, then with both SGDs."""
    return [
        (name("lcam", order), against)
        for order in ORDERS
        for against in (*(name(control, order) for control in CONTROLS), *map(sgd_name, FIXED))
    ]


def parts(first_seed: int, seeds: int) -> list[np.ndarray]:
    """Divide consecutive seeds, uint32, into groups that are trained together."""
    return np.split(np.arange(first_seed, first_seed + seeds, dtype=np.uint32), range(TOGETHER, seeds, TOGETHER))


def run(task: Task, digits: Digits, seeds: np.ndarray) -> dict[str, Outcome]:
    """Train every arm with every seed.

    Args:
      task: The task of the runs.
      digits: The images.
      seeds: uint32, whole blocks of `controls.BLOCK` consecutive seeds.

    Returns:
      The outcomes by the name of the arm.
    """
    draws = draw(task, len(digits.labels), seeds)
    shape = len(seeds), task.steps
    trained = {
        sgd_name(momentum): train_sgd(task, digits, draws, np.full(shape, momentum, np.float32)) for momentum in FIXED
    }
    for order in ORDERS:
        lcam = train_lcam(task, digits, draws, (np.float32(order[0]), np.float32(order[1])))
        trained[name("lcam", order)] = lcam
        for control, momenta in _control_momenta(task, order, np.asarray(lcam.momentum), draws).items():
            trained[name(control, order)] = train_sgd(task, digits, draws, momenta)
    return {arm: _outcome(task, digits, runs) for arm, runs in trained.items()}


def _control_momenta(
    task: Task, order: tuple[float, float], lcam: np.ndarray, draws: Draws
) -> Mapping[str, np.ndarray]:
    """The momenta of each of the `CONTROLS`, from those of LCAM; [seeds, steps]."""
    steps = task.steps_per_epoch
    return {
        "yoked": controls.yoked(lcam),
        "schedule": controls.schedule(lcam, steps),
        "random": controls.random(lcam, steps, *order, np.asarray(draws.coins)),
        "constant": controls.constant(lcam),
        "rising": controls.rising(*order, lcam.shape, steps),
    }


def _outcome(task: Task, digits: Digits, runs: Trained) -> Outcome:
    finite = np.asarray(runs.finite)
    return Outcome(
        wrong=np.where(finite, np.asarray(runs.wrong), num_test_images(task, digits)),
        finite=finite,
        momentum=controls.epoch_means(np.asarray(runs.momentum), task.steps_per_epoch),
    )
