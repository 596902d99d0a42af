"""A small GAN on a ring of Gaussians, trained by the methods for games: how many modes it finds, and how well.

The generator and the discriminator are the two players of `lcam_optax.contrib.player_field`, with the non-saturating
losses of Goodfellow et al. (2014). Arms with the same inner optimizer choose from the same learning rates, and all arms
choose from equally many. Each arm tries its rates on tuning seeds. It then runs the rate that finds the most modes on
other seeds.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lcam_optax import contrib
from train.studies.games.methods import METHODS, make_step

DIRECTIONS = {"sgd": optax.identity(), "adam": optax.scale_by_adam(b1=0.5)}
# The aligned form of consensus optimization is only for the unstable fixed points of the small games.
ARMS = [(inner, method) for inner in DIRECTIONS for method in METHODS if method != "consensus-aligned"]
FIRST_TUNING_SEED = 1000  # final seeds lie below
_PLAYERS = {"generator": 0, "discriminator": 1}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gan:
    """The task, the networks and the budget of every arm.

    Attributes:
      modes: Number of Gaussians, evenly spaced on a ring.
      radius: Radius of the ring.
      deviation: Standard deviation of each Gaussian along each axis.
      latent: Dimensions of the generator's standard normal input.
      width: Width of the two hidden tanh layers of each network.
      batch: Samples per step, both of the mixture and of the generator.
      steps: Steps per run.
      look_every: Steps between two evaluations of the generator's samples.
      samples: Samples drawn for each evaluation.
      share: A mode is found if at least this share of the samples is near it.
      sgd_rates: Learning rates to choose from with SGD as the inner optimizer.
      adam_rates: Learning rates to choose from with Adam as the inner optimizer.
      tuning_seeds: Runs at each of these rates.
    """

    modes: int = 8
    radius: float = 2.0
    deviation: float = 0.1
    latent: int = 8
    width: int = 64
    batch: int = 64
    steps: int = 3000
    look_every: int = 250
    samples: int = 2000
    share: float = 0.02
    sgd_rates: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 1.0)
    adam_rates: tuple[float, ...] = (0.0003, 0.001, 0.003, 0.01, 0.03)
    tuning_seeds: int = 2

    @property
    def centres(self) -> np.ndarray:
        """Where the modes are; float32 [modes, 2]."""
        angles = 2 * np.pi * np.arange(self.modes) / self.modes
        return (self.radius * np.stack([np.cos(angles), np.sin(angles)], axis=-1)).astype(np.float32)

    def rates(self, inner: str) -> tuple[float, ...]:
        """The learning rates to choose from with one of `DIRECTIONS`."""
        return {"sgd": self.sgd_rates, "adam": self.adam_rates}[inner]


class Outcome(NamedTuple):
    """The results of runs, evaluated every `look_every` steps, the last time after the last step.

    If the parameters of a run are not finite, its modes and its quality count as zero.
    """

    modes: np.ndarray  # [runs, looks], int32: number of modes found
    quality: np.ndarray  # [runs, looks], float32: share of samples near any mode
    finite: np.ndarray  # [runs], bool: whether all final parameters are finite
    samples: np.ndarray  # [runs, samples, 2], float32: samples after the last step


class Tuned(NamedTuple):
    """One arm: the results of each learning rate on the tuning seeds, and of the best on the other seeds."""

    rate: float
    tuning: Outcome  # the runs of the first rate first
    final: Outcome


def run_arm(how: Gan, inner: str, method: str, seeds: int) -> Tuned:
    """Choose the learning rate of an arm, then run it.

    Args:
      how: Task and budget.
      inner: Of `DIRECTIONS`.
      method: Of `METHODS`.
      seeds: The final runs have the seeds 0, 1, ..., `seeds` - 1.
    """
    train = _trainer(how, inner, method)
    rates = np.asarray(how.rates(inner), np.float32)
    tuning_seeds = FIRST_TUNING_SEED + np.arange(how.tuning_seeds)
    tuning = train(np.repeat(rates, how.tuning_seeds), np.tile(tuning_seeds, len(rates)))
    rate = how.rates(inner)[best_rate(tuning, len(rates))]
    return Tuned(rate, tuning, train(np.full(seeds, rate, np.float32), np.arange(seeds)))


def best_rate(tuning: Outcome, rates: int) -> int:
    """The rate whose runs end with most modes on average; of ties the rate with the highest quality."""
    modes, quality = (last.reshape(rates, -1).mean(axis=1) for last in (tuning.modes[:, -1], tuning.quality[:, -1]))
    return int(np.lexsort((quality, modes))[-1])


def score(how: Gan, samples: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Count the modes found and the share of samples within three standard deviations of any mode.

    Args:
      how: Where the modes are, and the share of the samples that one needs.
      samples: [n, 2]. A sample that is not finite is not near any mode.

    Returns:
      int32 and float32, shape=().
    """
    distance = jnp.linalg.norm(samples[:, None] - how.centres, axis=-1)
    near = distance <= 3 * how.deviation
    found = near.mean(axis=0) >= how.share
    return found.sum(dtype=jnp.int32), near.any(axis=1).mean()


def draw(how: Gan, key: jax.Array, number: int) -> jax.Array:
    """Samples of the mixture; float32 [number, 2]."""
    mode_key, noise_key = jax.random.split(key)
    modes = jax.random.randint(mode_key, (number,), 0, how.modes)
    return jnp.asarray(how.centres)[modes] + how.deviation * jax.random.normal(noise_key, (number, 2), jnp.float32)


def init_networks(how: Gan, seed: jax.Array) -> dict[str, list[dict[str, jax.Array]]]:
    """Both networks: weights with variance 1 / inputs, biases zero."""
    keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), 0))
    outputs = {"generator": (how.latent, 2), "discriminator": (2, 1)}

    def layers(key: jax.Array, first: int, last: int) -> list[dict[str, jax.Array]]:
        sizes = (first, how.width, how.width, last)
        shapes = list(itertools.pairwise(sizes))
        weights = (
            jax.random.normal(key, shape, jnp.float32) / np.float32(np.sqrt(shape[0]))
            for key, shape in zip(jax.random.split(key, len(shapes)), shapes, strict=True)
        )
        return [{"weight": weight, "bias": jnp.zeros(weight.shape[1])} for weight in weights]

    return {name: layers(key, *sizes) for key, (name, sizes) in zip(keys, outputs.items(), strict=True)}


def apply(layers: list[dict[str, jax.Array]], x: jax.Array) -> jax.Array:
    """A network of `init_networks`; [n, inputs] to [n, outputs]."""
    for layer in layers[:-1]:
        x = jnp.tanh(x @ layer["weight"] + layer["bias"])
    return x @ layers[-1]["weight"] + layers[-1]["bias"]


def generator_loss(params: dict, real: jax.Array, noise: jax.Array) -> jax.Array:
    """The non-saturating loss: minus the log-probability that generated samples are classified as real."""
    del real
    return jax.nn.softplus(-apply(params["discriminator"], apply(params["generator"], noise))).mean()


def discriminator_loss(params: dict, real: jax.Array, noise: jax.Array) -> jax.Array:
    """Cross-entropy of the classification of real and generated samples."""
    generated = apply(params["discriminator"], apply(params["generator"], noise))
    return jax.nn.softplus(-apply(params["discriminator"], real)).mean() + jax.nn.softplus(generated).mean()


def _trainer(how: Gan, inner: str, method: str) -> Callable[[np.ndarray, np.ndarray], Outcome]:
    """Make the function (learning rates [runs], seeds [runs]) -> Outcome; runs go side by side."""
    field_fn = contrib.player_field([generator_loss, discriminator_loss], _PLAYERS)

    def make(rate: jax.typing.ArrayLike) -> tuple[Callable, Callable]:
        return make_step(METHODS[method], field_fn, DIRECTIONS[inner], rate)

    def advance(rate: jax.Array, carry: tuple, batches: tuple) -> tuple:
        _, step = make(rate)
        return jax.lax.scan(lambda carry, batch: (step(*carry, *batch), None), carry, batches)[0]

    advance_all = jax.jit(jax.vmap(advance), donate_argnums=1)
    init, _ = make(0.0)  # the state does not depend on the rate

    def train(rates: np.ndarray, seeds: np.ndarray) -> Outcome:
        seeds = seeds.astype(np.uint32)
        params = _networks(how, seeds)
        carry, looks = (params, jax.vmap(init)(params)), []
        for part in range(how.steps // how.look_every):
            carry = advance_all(rates, carry, _batches(how, seeds, np.int32(part)))
            looks.append(_look(how, carry[0], seeds))
        modes, quality, finite, samples = zip(*jax.device_get(looks), strict=True)
        return Outcome(np.stack(modes, axis=1), np.stack(quality, axis=1), finite[-1], samples[-1])

    return train


# Random numbers take longest to compile, so these programs are compiled once and shared by the arms.
@functools.partial(jax.jit, static_argnums=0)
def _networks(how: Gan, seeds: jax.Array) -> dict:
    return jax.vmap(functools.partial(init_networks, how))(seeds)


@functools.partial(jax.jit, static_argnums=0)
def _batches(how: Gan, seeds: jax.Array, part: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The batches of the next `look_every` steps; [runs, steps, batch, ...]."""

    def of_run(seed: jax.Array) -> tuple[jax.Array, jax.Array]:
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), 1), part)
        real_key, noise_key = jax.random.split(key)
        real = draw(how, real_key, how.look_every * how.batch)
        noise = jax.random.normal(noise_key, (how.look_every, how.batch, how.latent), jnp.float32)
        return real.reshape(how.look_every, how.batch, 2), noise

    return jax.vmap(of_run)(seeds)


@functools.partial(jax.jit, static_argnums=0)
def _look(how: Gan, params: dict, seeds: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """The measures of `Outcome` for the current generators, with the same noise each time."""

    def of_run(params: dict, seed: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
        key = jax.random.fold_in(jax.random.key(seed), 2)
        samples = apply(params["generator"], jax.random.normal(key, (how.samples, how.latent), jnp.float32))
        finite = jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(params)]).all()
        modes, quality = score(how, samples)
        return modes * finite, quality * finite, finite, samples

    return jax.vmap(of_run)(params, seeds)
