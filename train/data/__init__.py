"""Data sets: `digits` of scikit-learn, everything of TensorFlow Datasets, local archives and folders."""

from train.data.catalog import load, open_source, prepare
from train.data.dataset import Dataset, Source

__all__ = ["Dataset", "Source", "load", "open_source", "prepare"]
