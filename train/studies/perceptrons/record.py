"""The record of the study in JSON Lines: first the shared settings, then one line per arm with one number per run."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from train import files
from train.studies.perceptrons import controls
from train.studies.perceptrons.study import Outcome
from train.studies.perceptrons.task import Task


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """The record of a study.

    Attributes:
      settings: The shared values: `versions`, `device`, `command`, `task`, `test_images`, `first_seed` and `seeds`
        (their number).
      arms: Maps the name of an arm to its values. `wrong` is the number of wrongly classified test images of each
        run, in the order of the seeds. `not_finite` lists the seeds whose final parameters were not finite. All test
        images of these runs count as wrong. `momentum` is the mean momentum of each epoch over all runs. Yoked arms
        also have `donors`, the seed whose momenta each run replayed.
    """

    settings: Mapping[str, Any]
    arms: Mapping[str, Mapping[str, Any]]

    def error(self, arm: str) -> np.ndarray:
        """Test error of each run in percent; float64 [seeds]."""
        return 100 * np.asarray(self.arms[arm]["wrong"]) / self.settings["test_images"]


def make(
    task: Task,
    test_images: int,
    found: Sequence[tuple[np.ndarray, Mapping[str, Outcome]]],
    environment: Mapping[str, Any],
) -> Record:
    """Put the parts of a study together.

    Args:
      task: The task of the runs.
      test_images: Number of test images of each run.
      found: The seeds and the outcomes of each part, in order.
      environment: `versions`, `device` and `command`.
    """
    seeds = np.concatenate([part for part, _ in found])
    arms = {}
    for arm in found[0][1]:
        fields = zip(*(outcomes[arm] for _, outcomes in found), strict=True)
        wrong, finite, momentum = (np.concatenate(field) for field in fields)
        arms[arm] = {
            "wrong": wrong.tolist(),
            "not_finite": seeds[~finite].tolist(),
            "momentum": momentum.mean(axis=0).round(6).tolist(),
        } | ({"donors": controls.of_donors(seeds).tolist()} if arm.startswith("yoked") else {})
    settings = {
        **environment,
        "task": dataclasses.asdict(task),
        "test_images": test_images,
        "first_seed": int(seeds[0]),
        "seeds": len(seeds),
    }
    return Record(settings=settings, arms=arms)


def encode(record: Record) -> bytes:
    """The file's bytes."""
    lines = [record.settings, *({"arm": arm, **numbers} for arm, numbers in record.arms.items())]
    return "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines).encode()


def decode(content: bytes) -> Record:
    """The record in a file's bytes."""
    settings, *lines = map(files.loads, content.splitlines())
    return Record(settings=settings, arms={line.pop("arm"): line for line in lines})
