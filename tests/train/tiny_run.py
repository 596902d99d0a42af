"""A data set and an experiment small enough to train in a test."""

import dataclasses

import numpy as np

from train.data.dataset import Dataset
from train.experiments import EXPERIMENTS, Experiment

# 3 batches of 16 and a short one of 6.
TRAIN, TEST = 54, 23


def dataset() -> Dataset:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, TRAIN + TEST).astype(np.int32)
    images = rng.integers(0, 120, (TRAIN + TEST, 8, 8, 1)).astype(np.uint8)
    images[np.arange(TRAIN + TEST), labels * 2] += 100  # one bright row tells the class
    return Dataset(
        name="tiny",
        train_images=images[:TRAIN],
        train_labels=labels[:TRAIN],
        test_images=images[TRAIN:],
        test_labels=labels[TRAIN:],
        class_names=("a", "b", "c"),
    )


def experiment(**changes) -> Experiment:
    base = EXPERIMENTS["quickstart/lcam-0.9-0.95"]
    settings = {"batch_size": 16, "epochs": 2, "learning_rate": 0.05, "schedule": "constant"} | changes
    return dataclasses.replace(base, **settings)
