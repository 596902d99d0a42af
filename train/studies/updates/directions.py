"""The size of the updates of single parameters, and how often they change sign, by the phase of the loss.

The authors of LCAM claim that it speeds up parameters that change slowly, or, with its momenta swapped, parameters that
change frequently. This study trains a network with the same programs as every run, and measures each parameter at every
step. The sums stay on the device; only a few small arrays are read at the end of an epoch.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh

from train.data.augment import normalize
from train.data.dataset import Dataset
from train.engine.batches import Images
from train.engine.devices import make_mesh, replicated
from train.engine.programs import slice_program
from train.engine.state import Setup, TrainState, init_state, make_setup
from train.errors import RunError
from train.experiments import EXPERIMENTS, Experiment, lcam, sgd
from train.recipe.schedules import learning_rate
from train.studies.updates.gradient_noise import GradientNoise, gradient_noise
from train.studies.updates.update_statistics import Directions, UpdateSums, add, empty, summary


class Measurement(NamedTuple):
    """One epoch of one run."""

    arm: str
    seed: int
    epoch: int  # from 1
    train_loss: float  # mean over the steps of the epoch, in nats
    directions: Directions
    noise: GradientNoise  # after the epoch


def arms(
    dataset: str, *, depth: int, width: int, epochs: int, batch_size: int, seeds: tuple[int, ...]
) -> list[Experiment]:
    """SGD at both momenta and LCAM in both orders: on the digits as in the quickstart, on other data as in the paper.

    LCAM's average momentum lies between SGD's two. A number that also lies between SGD's two may be an effect of the
    average momentum and not of the loss.

    Raises:
      ConfigError: If a setting is out of its range.
    """
    base = dataclasses.replace(
        EXPERIMENTS["quickstart/sgd-0.9" if dataset == "digits" else "fig3/sgd-0.9"],
        name="directions",
        dataset=dataset,
        depth=depth,
        width=width,
        epochs=epochs,
        batch_size=batch_size,
        dtype="float32",  # the last digits of an update decide its sign
        seeds=seeds,
    )
    return [sgd(base, 0.9), sgd(base, 0.95), lcam(base, 0.95, 0.9), lcam(base, 0.9, 0.95)]


def ends_of_rates(experiment: Experiment) -> tuple[int, ...]:
    """The last epoch at each learning rate of a schedule by steps, counted from 1."""
    rates = [float(learning_rate(experiment, 1)(jnp.int32(epoch))) for epoch in range(experiment.epochs)]
    return tuple(epoch for epoch in range(1, len(rates) + 1) if rates[epoch - 1 : epoch] != rates[epoch : epoch + 1])


def measure(experiment: Experiment, dataset: Dataset, *, epochs: Sequence[int], examples: int) -> Iterator[Measurement]:
    """Train an arm on one device, one seed after the other, and measure some epochs.

    All random draws come from the seed, so arms with the same seed start with the same parameters and see the same
    batches. The gradient noise is measured for the loss without weight decay, on training images that are drawn once
    per seed and not augmented. The network is in evaluation mode, because with the statistics of a batch no example
    would have its own gradient.

    Args:
      experiment: The arm, and its seeds.
      dataset: What to train on.
      epochs: The epochs to measure, counted from 1.
      examples: Number of training images for the gradient noise.

    Yields:
      A measurement of each of these epochs, as NumPy arrays, after the epoch.

    Raises:
      ConfigError: If the experiment does not fit the data.
      RunError: If a loss is not finite.
    """
    setup, mesh = make_setup(experiment, dataset), make_mesh(1)
    train = _epochs_of_seed(setup, dataset, mesh)
    noise, summed_up = jax.jit(noise_program(setup)), jax.jit(summary)
    for seed in experiment.seeds:
        drawn = np.random.default_rng(seed).choice(dataset.train_size, min(examples, dataset.train_size), replace=False)
        sample = Images(dataset.train_images[drawn], dataset.train_labels[drawn])
        sample = jax.device_put(sample, replicated(mesh))
        for epoch, (state, sums, loss) in zip(range(1, max(epochs) + 1), train(seed), strict=False):
            if not np.isfinite(loss):
                raise RunError(
                    f"{experiment.name}, seed {seed}: a loss of epoch {epoch} is not finite; try another network or "
                    "seed."
                )
            if epoch in epochs:
                found = jax.device_get((summed_up(sums), noise(state, sample)))
                yield Measurement(experiment.name.partition("/")[2], seed, epoch, loss, *found)


def _epochs_of_seed(
    setup: Setup, dataset: Dataset, mesh: Mesh
) -> Callable[[int], Iterator[tuple[TrainState, UpdateSums, float]]]:
    """Make the function seed -> state, sums and mean loss of each epoch; its programs are compiled once.

    The arrays are invalid once the next epoch is requested.
    """
    sharding = replicated(mesh)
    batches = [(setup.full_batches, setup.experiment.batch_size)]
    if setup.last_batch:
        batches.append((1, setup.last_batch))
    programs = [
        jax.jit(watched_program(setup, mesh, *key), donate_argnums=(0,), out_shardings=sharding) for key in batches
    ]
    start = jax.jit(functools.partial(init_state, setup, dataset.num_classes), out_shardings=sharding)
    fresh = jax.jit(empty, out_shardings=sharding)
    data = jax.device_put(Images(dataset.train_images, dataset.train_labels), sharding)

    def train(seed: int) -> Iterator[tuple[TrainState, UpdateSums, float]]:
        state = start(np.uint32(seed))
        while True:
            carry, losses = (state, fresh(state.params)), []
            for program in programs:
                with jax.transfer_guard("disallow"):
                    carry, seen = program(carry, data)
                losses.append(seen)
            state, sums = carry
            yield state, sums, float(np.concatenate(jax.device_get(losses)).mean())

    return train


def watched_program(setup: Setup, mesh: Mesh, steps: int, batch: int) -> Callable:
    """Make the function ((state, sums), data) -> ((state, sums), losses [steps]) of the next `steps` steps."""
    one_step = slice_program(setup, mesh, 1, batch)
    rate = learning_rate(setup.experiment, setup.steps_per_epoch)

    def run(carry: tuple[TrainState, UpdateSums], data: Images) -> tuple[tuple[TrainState, UpdateSums], jax.Array]:
        def step(carry: tuple[TrainState, UpdateSums], _: None) -> tuple[tuple[TrainState, UpdateSums], jax.Array]:
            before, sums = carry
            after, metrics = one_step(before, data)
            # The trace is the update before the learning rate. The difference of the parameters would be rounded
            # relative to their size, which can change the sign of a small update.
            old, new = _trace(before.opt_state), _trace(after.opt_state)
            changed = jnp.sign(old) * jnp.sign(new) < 0
            sums = add(sums, rate(before.step) * jnp.abs(new), changed, metrics.below[0])
            return (after, sums), metrics.loss[0]

        return jax.lax.scan(step, carry, length=steps)

    return run


def noise_program(setup: Setup) -> Callable[[TrainState, Images], GradientNoise]:
    """Make the function (state, examples) -> `GradientNoise`, in evaluation mode."""
    experiment = setup.experiment

    def run(state: TrainState, examples: Images) -> GradientNoise:
        def loss_fn(params: nnx.State, example: Images) -> jax.Array:
            model = nnx.merge(setup.graphdef, params, state.batch_stats, copy=True)
            model.eval()
            logits = model(normalize(jnp.asarray(example.images)[None], experiment.mean, experiment.std))
            return optax.softmax_cross_entropy_with_integer_labels(logits[0], jnp.asarray(example.labels))

        return gradient_noise(loss_fn, state.params, examples)

    return run


def _trace(opt_state: optax.OptState) -> jax.Array:
    """The momentum buffer of SGD or LCAM; [parameters]."""
    return ravel_pytree(optax.tree.get(opt_state, "trace"))[0]
