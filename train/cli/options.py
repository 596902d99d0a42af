"""Options that several commands share."""

from train.experiments.arguments import option

DATA_DIR = option("TFDS_DATA_DIR, or ~/tensorflow_datasets", "FOLDER")
"""The folder of prepared data sets."""
