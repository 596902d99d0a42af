"""A task that takes milliseconds."""

from train.studies.perceptrons.task import Task

TASK = Task(hidden=8, train_images=64, batch_size=16, epochs=3, drops=(2,))
