"""Two-dimensional surfaces with noise, on which the path of an optimizer can be drawn.

Each mini-batch has its own surface. Here the surface shifts at random at every step, and the loss and the gradient of a
step come from the same shifted surface, as in training.
"""

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True)
class Surface:
    """A surface, and the measure of the paths on it.

    Attributes:
      title: what it shows.
      loss: from a point, float [2], to a scalar; without noise.
      start: where every path begins.
      measure: the description of `progress`.
      progress: from paths, float [..., points, 2], to one number each, [...].
    """

    title: str
    loss: Callable[[jax.Array], jax.Array]
    start: tuple[float, float]
    measure: str
    progress: Callable[[np.ndarray], np.ndarray]


def ravine(title: str, wavelength: float, *, steepness: float = 1.0, stiffness: float = 10.0) -> Surface:
    r"""A ravine that winds along the first axis and falls evenly along it.

    .. math::

      f(x, y) = \tfrac{c}{2} \bigl(y - h(x)\bigr)^2 - x, \qquad
      h(x) = \frac{s \lambda}{2 \pi} \sin\frac{2 \pi x}{\lambda}

    The steepest direction of the floor :math:`h` is :math:`s` for every wavelength :math:`\lambda`. Ravines of
    different wavelengths have the same directions equally often, and differ only in how soon these change.

    Args:
      title: Of the surface.
      wavelength: Distance along the first axis after which the direction repeats.
      steepness: Slope of the floor where it is steepest.
      stiffness: Curvature of the walls.

    Returns:
      The surface; its measure is the length of the floor between the first point of a path and the last.
    """
    frequency = 2 * math.pi / wavelength
    amplitude = steepness / frequency

    def loss(point: jax.Array) -> jax.Array:
        x, y = point
        return 0.5 * stiffness * (y - amplitude * jnp.sin(frequency * x)) ** 2 - x

    def length(paths: np.ndarray) -> np.ndarray:
        first, last = paths[..., 0, 0], paths[..., -1, 0]
        grid = np.linspace(min(first.min(), last.min()), max(first.max(), last.max()), 10_000)
        speed = np.hypot(1.0, steepness * np.cos(frequency * grid))
        lengths = np.concatenate([[0.0], np.cumsum((speed[1:] + speed[:-1]) / 2 * np.diff(grid))])
        return np.interp(last, grid, lengths) - np.interp(first, grid, lengths)

    return Surface(title=title, loss=loss, start=(0.0, 0.0), measure="distance along the ravine", progress=length)


def saddle(title: str, *, stiffness: float = 10.0) -> Surface:
    r"""A saddle between two basins. The path starts exactly on the ridge, so only noise leads away from it.

    .. math::

      f(x, y) = \tfrac{c}{2} x^2 + \tfrac12 (y^2 - 1)^2

    The saddle lies at the origin at a height of 1/2, the basins at (0, 1) and (0, -1) at a height of zero.

    Args:
      title: Of the surface.
      stiffness: Curvature across the line through saddle and basins.

    Returns:
      The surface. Its measure is the number of steps until a path is first halfway down to one of the basins (a loss
      of 1/4 on the line through them). A path that never gets there counts with all its steps.
    """
    halfway = math.sqrt(1 - math.sqrt(0.5))

    def loss(point: jax.Array) -> jax.Array:
        x, y = point
        return 0.5 * stiffness * x**2 + 0.5 * (y**2 - 1) ** 2

    def steps_to_leave(paths: np.ndarray) -> np.ndarray:
        left = np.abs(paths[..., 1]) > halfway
        return np.where(left.any(-1), left.argmax(-1), paths.shape[-2] - 1).astype(np.float64)

    return Surface(
        title=title, loss=loss, start=(0.8, 0.0), measure="steps to leave the saddle", progress=steps_to_leave
    )


SURFACES = {
    "ravine-frequent": ravine("ravine, direction changes frequently", wavelength=2.5),
    "ravine-slow": ravine("ravine, direction changes slowly", wavelength=12.0),
    "saddle": saddle("saddle"),
}
