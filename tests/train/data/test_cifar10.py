"""A run on the real CIFAR-10, if it is prepared."""

import os
import pathlib
import subprocess
import sys

import pytest

from train import data, records
from train.errors import DataError


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_wrn_16_1_with_lcam_learns_cifar10_on_cpu(tmp_path):
    if "CIFAR10_DATA_DIR" not in os.environ:
        pytest.skip("CIFAR10_DATA_DIR does not say where CIFAR-10 is prepared (`python -m train data ... --data-dir`)")
    folder = pathlib.Path(os.environ["CIFAR10_DATA_DIR"])
    try:
        dataset = data.load("cifar10", folder)
    except DataError as error:
        pytest.fail(f"CIFAR10_DATA_DIR holds no CIFAR-10: {error}")
    assert dataset.train_images.shape == (50_000, 32, 32, 3)
    words = "run fig3/lcam-0.9-0.95 --depth 16 --width 1 --dtype float32 --epochs 1 --schedule cosine --seeds 0"
    command = [sys.executable, "-m", "train", *words.split(), "--data-dir", folder, "--runs", tmp_path]
    subprocess.run(command, check=True, env=os.environ | {"XLA_FLAGS": ""})
    (record,) = records.read_all(tmp_path)
    assert len(record.steps.loss) == 391
    assert record.final_test_error < 50
