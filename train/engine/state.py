"""The training state, made of plain arrays so that it can be jitted, vmapped, sharded, donated and saved."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import lcam_optax
from train.data.dataset import Dataset, Source
from train.engine.devices import Mesh, by_seed, on_each_row
from train.errors import ConfigError
from train.experiments import Experiment
from train.recipe.network import make_model
from train.recipe.optimizers import OPTIMIZERS, make_optimizer

# The uses of a seed. Their order decides the keys, so new ones go to the end.
_PURPOSES = ("init", "order", "augment", "dropout", "optimizer")


class TrainState(NamedTuple):
    """Everything that changes during training. In a `Trainer`, all arrays have a leading axis of seeds."""

    params: Any  # float32; the parameters that the optimizer trains, see `OptimizerEntry.initial_params`
    batch_stats: nnx.State  # float32
    opt_state: optax.OptState
    observed: lcam_optax.EpochMeanState  # mean loss of the epoch so far, for `StepMetrics.below` with every optimizer
    step: jax.Array  # shape=(), int32; number of steps made
    seed: jax.Array  # shape=(), uint32


class Setup(NamedTuple):
    """Everything that stays the same during training."""

    experiment: Experiment
    graphdef: nnx.GraphDef
    train_size: int
    image_shape: tuple[int, int, int]

    @property
    def full_batches(self) -> int:
        """Number of full batches per epoch."""
        return self.train_size // self.experiment.batch_size

    @property
    def last_batch(self) -> int:
        """Images in the short last batch of an epoch; 0 if there is none or it is dropped."""
        return 0 if self.experiment.drop_last else self.train_size % self.experiment.batch_size

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps per epoch."""
        return self.full_batches + bool(self.last_batch)

    @property
    def total_steps(self) -> int:
        """Optimizer steps in the whole run."""
        return self.experiment.epochs * self.steps_per_epoch


def make_setup(experiment: Experiment, dataset: Dataset | Source) -> Setup:
    """Combine an experiment with a data set.

    Raises:
      ConfigError: If they do not fit together.
    """
    channels = dataset.image_shape[-1]
    if len(experiment.mean) != channels:
        raise ConfigError(
            f"{experiment.name}: mean and std have {len(experiment.mean)} numbers, but the images of {dataset.name} "
            f"have {channels} channels; pass {channels} each, such as "
            f"--mean{' 0.5' * channels} --std{' 0.5' * channels}."
        )
    if experiment.batch_size > dataset.train_size:
        raise ConfigError(
            f"{experiment.name}: batch_size is {experiment.batch_size}, but {dataset.name} has only "
            f"{dataset.train_size} training images."
        )
    make = functools.partial(make_model, experiment, dataset.num_classes, dataset.image_shape)
    model = nnx.eval_shape(lambda: make(jax.random.key(0)))
    graphdef = nnx.split(model, nnx.Param, nnx.BatchStat)[0]
    setup = Setup(experiment, graphdef, dataset.train_size, dataset.image_shape)
    if setup.total_steps >= 2**31:
        raise ConfigError(f"{experiment.name}: {setup.total_steps} steps, allowed: below 2^31; run fewer epochs.")
    return setup


def init_stacked_state(
    setup: Setup,
    num_classes: int,
    seeds: Sequence[int],
    mesh: Mesh,
    momenta: np.ndarray | None = None,
) -> TrainState:
    """Make the state of several seeds before the first step, with a leading axis of seeds.

    Args:
      setup: The setup of the run.
      num_classes: Number of classes.
      seeds: One seed per network.
      mesh: The devices. The seeds are spread over its rows.
      momenta: The momentum of every step, float32 [seeds, steps], for a control.
    """
    if momenta is None:
        momenta = np.zeros((len(seeds), 0), np.float32)
    make = jax.vmap(lambda seed, momenta: init_state(setup, num_classes, seed, momenta))
    # Each row makes the states of its own seeds. A program for all seeds might round differently from the program for a
    # single seed.
    on_mesh = on_each_row(make, mesh, shared=(False, False))
    return jax.jit(on_mesh, out_shardings=by_seed(mesh))(np.asarray(seeds, np.uint32), momenta)


def init_state(
    setup: Setup, num_classes: int, seed: jax.Array, momenta: jax.typing.ArrayLike | None = None
) -> TrainState:
    """Make the state of one seed before the first step.

    Args:
      setup: The setup of the run.
      num_classes: Number of classes.
      seed: Source of all random numbers; shape=(), uint32.
      momenta: The momentum of every step, float32 [steps], for a control.
    """
    model = make_model(setup.experiment, num_classes, setup.image_shape, key_for(seed, "init"))
    _, network, batch_stats = nnx.split(model, nnx.Param, nnx.BatchStat)  # type: ignore[misc]
    params = OPTIMIZERS[setup.experiment.optimizer].initial_params(network)
    optimizer = make_optimizer(
        setup.experiment,
        setup.steps_per_epoch,
        jax.random.bits(key_for(seed, "optimizer"), dtype=jnp.uint32),
        momenta=momenta,
    )
    return TrainState(
        params=params,
        batch_stats=batch_stats,
        opt_state=optimizer.init(params),
        observed=lcam_optax.epoch_mean(setup.steps_per_epoch).init(),
        step=jnp.zeros((), jnp.int32),
        seed=seed.astype(jnp.uint32),
    )


def key_for(seed: jax.Array, purpose: str) -> jax.Array:
    """Make the PRNG key for one purpose. Keys for different purposes are independent."""
    return jax.random.fold_in(jax.random.key(seed), _PURPOSES.index(purpose))
