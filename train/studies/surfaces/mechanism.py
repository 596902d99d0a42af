"""Paths of LCAM and its controls on two-dimensional surfaces, and numbers over many paths.

A single path is an anecdote, so the numbers are over all noise seeds. LCAM has the momenta of the two SGDs, so its
average momentum lies between theirs. Its other numbers may lie between theirs for this reason alone. Three controls,
made from LCAM's runs on the same surface, show what is left for the phase of the loss to explain:

* `constant-*` is SGD at LCAM's average momentum.
* In `random-*`, a coin picks one of LCAM's two momenta. Its probability is LCAM's share of steps below in the same
  epoch of the path with the same noise seed, as in `train.experiments.controls`.
* `yoked-*` replays, step for step, the momenta of LCAM's path with the next noise seed.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import lcam_optax
from train.report.statistics import Estimate, estimate
from train.studies.surfaces.surfaces import Surface

_LOW, _HIGH = 0.9, 0.95


class SurfaceArm(NamedTuple):
    """The momenta of one optimizer; equal ones make it SGD."""

    below: float
    above: float
    initial: float  # of the first step
    # [seeds, steps]: the probability that a coin calls each step below; None uses the loss.
    chances: np.ndarray | None = None


def sgd(momentum: float) -> SurfaceArm:
    """SGD with one momentum."""
    return SurfaceArm(momentum, momentum, momentum)


ARMS = {
    f"sgd-{_LOW:g}": sgd(_LOW),
    f"sgd-{_HIGH:g}": sgd(_HIGH),
    f"lcam-{_HIGH:g}-{_LOW:g}": SurfaceArm(_HIGH, _LOW, 0.9),
    f"lcam-{_LOW:g}-{_HIGH:g}": SurfaceArm(_LOW, _HIGH, 0.9),
}
CONTROLS = ("constant", "random", "yoked")

# Added to a noise seed to get the coin's seed. The seeds of noise count up from 0, so no noise comes from such a key.
_COIN = np.uint32(2**31)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Walk:
    """The settings of every path.

    Attributes:
      steps: of a path.
      steps_per_epoch: after which the mean of the losses restarts.
      learning_rate: constant.
      noise: standard deviation of the surface's shift along each axis, drawn at each step.
    """

    steps: int = 250
    steps_per_epoch: int = 25
    learning_rate: float = 0.005
    noise: float = 0.15


class Paths(NamedTuple):
    """The paths of one arm on one surface. All arms have the same noise."""

    points: np.ndarray  # [seeds, steps + 1, 2], float32
    below: np.ndarray  # [seeds, steps], bool: the phase, by loss or coin, at each point but the last
    momentum: np.ndarray  # [seeds, steps], float32: the momentum that the step from that point used


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
    """The results of one arm on one surface, over the noise seeds.

    Attributes:
      progress: the surface's own measure.
      final_loss: without noise, at the last point.
      below: share of steps that were called below, by the loss or by the coin.
      momentum: average over the steps.
    """

    progress: Estimate
    final_loss: Estimate
    below: Estimate
    momentum: Estimate


def walk(surface: Surface, arms: Mapping[str, SurfaceArm], seeds: int, how: Walk) -> dict[str, Paths]:
    """Run every arm on a surface, once per noise seed 0, 1, ..., `seeds` - 1."""
    program = _program(surface, how)
    numbers = jnp.arange(seeds, dtype=jnp.uint32)
    return {
        name: Paths(*jax.device_get(program(jax.tree.map(jnp.float32, arm), numbers))) for name, arm in arms.items()
    }


@functools.cache
def _program(surface: Surface, how: Walk) -> Callable[[SurfaceArm, jax.Array], tuple[jax.Array, jax.Array, jax.Array]]:
    """All paths of an arm at once. Cached, so that later arms are not compiled again."""
    each_seed = SurfaceArm._make((None, None, None, 0))  # only the probabilities have one row per seed
    return jax.jit(jax.vmap(functools.partial(_path, surface, how), in_axes=(each_seed, 0)))


def _path(surface: Surface, how: Walk, arm: SurfaceArm, seed: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    optimizer = lcam_optax.lcam(
        how.learning_rate,
        _phase(how, arm, seed),
        momentum_below=arm.below,
        momentum_above=arm.above,
        initial_momentum=arm.initial,
    )

    def step(carry: tuple[jax.Array, optax.OptState], shift: jax.Array) -> tuple[Any, Any]:
        point, state = carry
        loss, gradient = jax.value_and_grad(lambda point: surface.loss(point + shift))(point)
        updates, new_state = optimizer.update(gradient, state, point, value=loss)
        seen = point, lcam_optax.read_phase(new_state).below, lcam_optax.read_phase(state).momentum
        return (optax.apply_updates(point, updates), new_state), seen

    start = jnp.asarray(surface.start, jnp.float32)
    shifts = how.noise * jax.random.normal(jax.random.key(seed), (how.steps, 2), jnp.float32)
    (last, _), (points, below, momentum) = jax.lax.scan(step, (start, optimizer.init(start)), shifts)
    return jnp.concatenate([points, last[None]]), below, momentum


def _phase(how: Walk, arm: SurfaceArm, seed: jax.Array) -> lcam_optax.Phase:
    chances = arm.chances
    if chances is None:
        return lcam_optax.epoch_mean(how.steps_per_epoch)
    return lcam_optax.random_phase(lambda step: chances[step], seed + _COIN)


def find(surface: Surface, paths: Paths) -> Found:
    """Sum up the paths of one arm."""
    loss = jax.vmap(surface.loss)(jnp.asarray(paths.points[:, -1]))
    return Found(
        progress=estimate(surface.progress(paths.points.astype(np.float64)).tolist()),
        final_loss=estimate(np.asarray(loss).tolist()),
        below=estimate(paths.below.mean(axis=1).tolist()),
        momentum=estimate(paths.momentum.mean(axis=1, dtype=np.float64).tolist()),
    )


def controls(walked: Mapping[str, Paths], how: Walk) -> dict[str, SurfaceArm]:
    """The controls of each LCAM, by the names of `control`."""
    made = {}
    for name, arm in ARMS.items():
        if arm.below != arm.above:
            mean = walked[name].momentum.mean(dtype=np.float64)
            made[control("constant", name)] = sgd(float(mean))
            # The coin replaces the phase, which sets the momentum of the NEXT step. So its share is that of the phases.
            below = walked[name].below
            by_step = np.repeat(shares(below, how), how.steps_per_epoch, axis=1)[:, : how.steps]
            made[control("random", name)] = arm._replace(chances=by_step)
            # Probabilities of 0 and 1 replay the phases of the path with the next noise seed; the last path replays
            # those of the first.
            made[control("yoked", name)] = arm._replace(chances=np.roll(below, -1, axis=0).astype(np.float32))
    return made


def control(kind: str, name: str) -> str:
    """The name of a control arm, of a kind in `CONTROLS`, that LCAM must beat for its loss phase to matter."""
    return name.replace("lcam", kind)


def shares(below: np.ndarray, how: Walk) -> np.ndarray:
    """The share of steps below in each epoch of each path; from [seeds, steps] to [seeds, epochs], float32."""
    epochs = np.split(below, range(how.steps_per_epoch, how.steps, how.steps_per_epoch), axis=1)
    return np.stack([epoch.mean(axis=1, dtype=np.float32) for epoch in epochs], axis=1)


def beyond(kind: str, found: Mapping[str, Found]) -> dict[str, Estimate]:
    """The progress of each LCAM minus that of its control of a kind of `CONTROLS`, paired by noise seed."""
    return {
        name: estimate(np.subtract(found[name].progress.values, found[control(kind, name)].progress.values).tolist())
        for name in found
        if control(kind, name) in found and control(kind, name) != name
    }
