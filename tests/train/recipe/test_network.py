"""The networks of the training modes, and their operations."""

import dataclasses

import jax
import pytest
from flax import nnx

from models import AssociatedWideResNet, PartitionedWideResNet, WideResNet
from tests.train import tiny_run
from train.experiments import EXPERIMENTS
from train.recipe.network import make_model, training_flops

NETWORKS = {"end-to-end": WideResNet, "associated": AssociatedWideResNet, "partitioned": PartitionedWideResNet}


@pytest.mark.parametrize("training", NETWORKS)
def test_each_training_mode_has_its_network(training):
    arm = tiny_run.experiment(training=training, epochs=3)
    model = nnx.eval_shape(lambda: make_model(arm, 7, (12, 8, 2), jax.random.key(0)))
    assert type(model) is NETWORKS[training]
    stem = model.network.stem if training == "partitioned" else model.stem
    assert stem.kernel.shape == (3, 3, 2, 16)


def test_operations_of_the_authors_network():
    authors = EXPERIMENTS["fig3/lcam-0.9-0.95"]
    assert training_flops(authors, (32, 32, 3)) == pytest.approx(31.46e9, rel=1e-3)
    associated = dataclasses.replace(EXPERIMENTS["methods/associated"], depth=28, width=10)
    assert training_flops(associated, (32, 32, 3)) == training_flops(authors, (32, 32, 3))
