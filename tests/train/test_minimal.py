import ast
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from train import minimal

ROOT = Path(__file__).parents[2]
LINE = re.compile(r"epoch +(\d+)  loss (\d\.\d{3})  momentum (\d\.\d{4})  test error (\d+\.\d\d) %")


def test_it_learns_and_prints_a_line_per_epoch(capsys):
    with jax.numpy_dtype_promotion("standard"):  # Optax's cosine schedule needs it
        error = minimal.main(epochs=3)
    lines = [LINE.fullmatch(line) for line in capsys.readouterr().out.splitlines()]
    epochs, losses, momenta, errors = np.array([line.groups() for line in lines], float).T
    np.testing.assert_array_equal(epochs, [1, 2, 3])
    assert losses[2] < 1.5 < 2 < losses[0]
    # Every epoch has steps with 0.9 and steps with 0.95.
    assert np.all((momenta > 0.9) & (momenta < 0.95))
    assert error == pytest.approx(errors[-1], abs=0.005)
    assert error < 60  # guessing is wrong at 90


def test_data_are_all_digits_split_at_random():
    train_images, train_labels, test_images, test_labels = minimal.load_data(jax.random.key(0))
    assert train_images.shape == (1536, 8, 8, 1)
    assert test_images.shape == (261, 8, 8, 1)
    assert (train_images.min(), train_images.max()) == (0, 1)
    counts = np.bincount(np.concatenate([train_labels, test_labels]), minlength=10)
    np.testing.assert_array_equal(counts, [178, 182, 177, 183, 181, 182, 181, 179, 174, 180])
    others = minimal.load_data(jax.random.key(1))
    assert not np.array_equal(test_labels, others[3])


def test_a_crop_is_the_image_moved_by_at_most_the_padding():
    image = np.arange(1, 65, dtype=np.float32).reshape(1, 8, 8, 1)
    images = np.repeat(image, 200, axis=0)
    cropped = np.asarray(minimal.random_crop(jax.random.key(0), jax.numpy.asarray(images)))
    padded = np.pad(image[0, ..., 0], 1)
    allowed = {padded[y : y + 8, x : x + 8].tobytes() for y in range(3) for x in range(3)}
    assert {crop[..., 0].tobytes() for crop in cropped} == allowed


def test_it_is_one_page_and_needs_no_other_module_of_train():
    source = inspect.getsource(minimal)
    assert len(source.splitlines()) < 150
    imports = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {alias.name for node in imports if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in imports if isinstance(node, ast.ImportFrom)}
    assert not {name for name in names if name.partition(".")[0] in ("train", "tests")}


@pytest.mark.slow
def test_the_command_works_from_the_checkout():
    command = [sys.executable, "-m", "train.minimal"]
    environment = {key: value for key, value in os.environ.items() if key not in ("XLA_FLAGS", "PYTHONPATH")}
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, env=environment)
    last = LINE.fullmatch(done.stdout.splitlines()[-1])
    assert float(last[4]) < 6
