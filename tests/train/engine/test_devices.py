"""Collectives in the compiled training step."""

import dataclasses
import math
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.train import tiny_run
from train.data.dataset import Dataset
from train.engine.batches import Images
from train.engine.devices import AXIS, by_seed, make_mesh, padded_size, replicated
from train.engine.programs import jit_over_seeds, slice_program
from train.engine.state import init_stacked_state, make_setup
from train.experiments import EXPERIMENTS

SCALING = Path(__file__).parents[3] / "docs" / "scaling.md"
# An instruction of the compiled program: its result, one array or a tuple of them, and what it does.
COLLECTIVE = re.compile(
    r"= (?P<result>.+?) (?P<kind>all-reduce|all-gather|all-to-all|reduce-scatter|collective-\w+|ragged-all-to-all)"
    r"(?:-start)?\("
)
ARRAY = re.compile(r"f32\[([\d,]*)\]")


def compiled_slice(experiment, dataset, devices, steps, batch, streamed=False, seeds=1):
    """The state, as shapes, and the text of the compiled program of a slice."""
    setup, mesh = make_setup(experiment, dataset), make_mesh(devices, rows=seeds)
    whole = replicated(mesh)
    state = jax.eval_shape(lambda: init_stacked_state(setup, dataset.num_classes, range(seeds), mesh))
    state = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=by_seed(mesh)), state)
    data = Images(
        jax.ShapeDtypeStruct(dataset.train_images.shape, jnp.uint8, sharding=whole),
        jax.ShapeDtypeStruct(dataset.train_labels.shape, jnp.int32, sharding=whole),
    )
    if streamed:
        over_batch = jax.NamedSharding(mesh, jax.P(None, AXIS))
        lead = (steps, padded_size(batch, mesh))
        data = Images(
            jax.ShapeDtypeStruct((*lead, *dataset.image_shape), jnp.uint8, sharding=over_batch),
            jax.ShapeDtypeStruct(lead, jnp.int32, sharding=over_batch),
        )
    program = jit_over_seeds(slice_program(setup, mesh, steps, batch, streamed=streamed), mesh, seeds, donate=True)
    return state, program.lower(state, data).compile().as_text()


def twice(dataset):
    """The training images two times, for an epoch of two batches of 48."""
    images, labels = (np.concatenate([x, x]) for x in (dataset.train_images, dataset.train_labels))
    return dataclasses.replace(dataset, train_images=images, train_labels=labels)


def collectives(*args, **options):
    """The state, as shapes, and of each collective in the program of a slice its kind and the sizes of its arrays."""
    state, text = compiled_slice(*args, **options)
    return state, [(found["kind"], sizes(found["result"])) for found in COLLECTIVE.finditer(text)]


def computations_with_collectives(text):
    """The names of the program's parts, such as a loop's body, that communicate."""
    names, name = set(), None
    for line in text.splitlines():
        if line.endswith("{"):
            name = line.split("(")[0]
        elif COLLECTIVE.search(line):
            names.add(name)
    return names


def sizes(result):
    """Numbers in each array; all of them have to be float32."""
    assert set(re.findall(r"(\w+)\[", result)) == {"f32"}, result
    return [math.prod(int(x) for x in shape.split(",") if x) for shape in ARRAY.findall(result)]


def assert_only_what_must_be_summed(state, found):
    """Gradients, and of each batch norm two sums a channel forward and at most two more backward; and the loss."""
    assert {kind for kind, _ in found} == {"all-reduce"}
    params, statistics = (
        sum(leaf.size for leaf in jax.tree.leaves(tree)) for tree in (state.params, state.batch_stats)
    )
    assert params + statistics < sum(sum(each) for _, each in found) <= params + 2 * statistics + 1


# The short batch has to be padded to 8, and is masked.
@pytest.mark.parametrize(("steps", "batch", "streamed"), [(2, 16, False), (1, 6, True)])
def test_eight_devices_say_no_more_than_they_must(steps, batch, streamed):
    assert_only_what_must_be_summed(*collectives(tiny_run.experiment(), tiny_run.dataset(), 8, steps, batch, streamed))


# These look at other parameters too, or train in another way.
OTHERS = [
    {"optimizer": name, "phase": "none", "momentum_above": 0.9} for name in ("sam", "extragradient", "salp-swarm")
] + [{"training": "associated"}, {"training": "partitioned", "epochs": 3}, {"nonfinite": "skip"}]


@pytest.mark.parametrize("changes", [{}, *(pytest.param(each, marks=pytest.mark.slow) for each in OTHERS)])
def test_no_two_loops_communicate_at_the_same_time(changes):
    # XLA's CPU runtime keeps the order of the collectives in one loop's body, but not that of collectives in loops
    # within it: each process might come to them in another order. In a batch of 48, weight gradients have loops.
    with jax.numpy_dtype_promotion("standard"):  # as Optax needs it
        _, text = compiled_slice(tiny_run.experiment(**changes), twice(tiny_run.dataset()), 8, 2, 48)
    assert len(computations_with_collectives(text)) == 1


def test_one_device_says_nothing():
    assert collectives(tiny_run.experiment(), tiny_run.dataset(), 1, 2, 16)[1] == []


def test_seeds_with_a_device_each_say_nothing():
    assert collectives(tiny_run.experiment(), twice(tiny_run.dataset()), 8, 2, 48, seeds=8)[1] == []


def test_seeds_with_two_devices_each_sum_over_these():
    _, text = compiled_slice(tiny_run.experiment(), tiny_run.dataset(), 4, 2, 16, seeds=2)
    groups = set(re.findall(r"replica_groups=(\S+),", text))
    assert groups == {"[2,2]<=[4]"}  # {0, 1} and {2, 3}


@pytest.mark.slow
def test_the_authors_network_says_what_the_documentation_quotes():
    cifar = Dataset(
        name="shapes of CIFAR-10",
        train_images=np.zeros((50000, 32, 32, 3), np.uint8),
        train_labels=np.zeros(50000, np.int32),
        test_images=np.zeros((1, 32, 32, 3), np.uint8),
        test_labels=np.zeros(1, np.int32),
        class_names=tuple("abcdefghij"),
    )
    # Flax itself relies on implicit promotion of bfloat16.
    with jax.numpy_dtype_promotion("standard"):
        state, found = collectives(EXPERIMENTS["fig3/lcam-0.9-0.95"], cifar, 8, 30, 128)
    assert_only_what_must_be_summed(state, found)
    sizes = sorted(4 * sum(each) for _, each in found)
    quoted = " ".join(SCALING.read_text().split())
    assert f"{len(found)} all-reduces per step, {sum(sizes) / 1e6:.1f} MB in total" in quoted
    assert f"One of them sums {sizes[-1] / 1e6:.1f} MB of gradients, in float32" in quoted
    assert f"The other {len(found) - 1} sum two arrays each" in quoted
    assert {len(each) for _, each in found if 4 * sum(each) < sizes[-1]} == {2}
    assert sizes[-2] <= 5120
