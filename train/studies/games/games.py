"""Small games with a fixed point at the origin: which methods converge, at which learning rates, and how fast."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lcam_optax import contrib
from train.studies.games.methods import METHODS, Method, make_step

Loss = Callable[[Sequence[jax.Array]], jax.Array]
NEAR = 1e-3  # share of the initial distance that counts as converged


@dataclasses.dataclass(frozen=True, kw_only=True)
class Game:
    """A game in which each player owns one number, and the origin is a fixed point.

    Attributes:
      title: Name of the game.
      losses: One loss per player, each a function of the numbers of all players.
      start: Where every path begins.
      stable: Whether a method should converge to the origin.
    """

    title: str
    losses: tuple[Loss, ...]
    start: tuple[float, ...]
    stable: bool = True


def two_players(title: str, own: float, coupling: float, start: tuple[float, float]) -> Game:
    r"""The game :math:`\ell_1 = \frac{a}{2} x^2 + b x y`, :math:`\ell_2 = \frac{a}{2} y^2 - b x y`.

    Args:
      title: Name of the game.
      own: :math:`a`. The fixed point is stable if it is not negative.
      coupling: :math:`b`.
      start: Where every path begins.
    """
    return Game(
        title=title,
        losses=(
            lambda w: own / 2 * w[0] ** 2 + coupling * w[0] * w[1],
            lambda w: own / 2 * w[1] ** 2 - coupling * w[0] * w[1],
        ),
        start=start,
        stable=own >= 0,
    )


def four_players(own: float) -> Game:
    r"""The game of four with the Jacobian :math:`a I + A`, where :math:`A` has +1 above the diagonal and -1 below."""

    def loss(player: int, w: Sequence[jax.Array]) -> jax.Array:
        others = sum(w[player + 1 :], jnp.zeros(())) - sum(w[:player], jnp.zeros(()))
        return own / 2 * w[player] ** 2 + w[player] * others

    losses = tuple(functools.partial(loss, player) for player in range(4))
    return Game(title=f"four players, a = {own:g}", losses=losses, start=(1.0, -2.0, 0.5, 1.0))


# The bias of the align rule competes with the fourth power of the distance, so the start of a path matters.
GAMES = {
    "bilinear": two_players("bilinear game", 0.0, 1.0, (1.0, -0.5)),
    "weak-attractor": two_players("weak attractor", 1.0, 10.0, (1.0, -0.5)),
    "four-players": four_players(0.01),
    "unstable": two_players("unstable fixed point, from (1, 1)", -0.5, -1.0, (1.0, 1.0)),
    "unstable-near": two_players("unstable fixed point, from (0.3, 0.3)", -0.5, -1.0, (0.3, 0.3)),
}


class GameArm(NamedTuple):
    """A method and the direction of the optimizer that it feeds."""

    method: Method
    direction: optax.GradientTransformation


ARMS = {
    "sgd": GameArm(METHODS["plain"], optax.identity()),
    "adam": GameArm(METHODS["plain"], optax.scale_by_adam()),
} | {name: GameArm(method, optax.identity()) for name, method in METHODS.items() if name != "plain"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sweep:
    """The budget of every method on every game.

    Attributes:
      steps: Steps of a path.
      lowest: Lowest learning rate of the grid.
      highest: Highest learning rate of the grid.
      per_decade: Number of learning rates per decade, evenly spaced in the logarithm.
    """

    steps: int = 5000
    lowest: float = 1e-4
    highest: float = 10.0
    per_decade: int = 20

    @property
    def rates(self) -> np.ndarray:
        """The grid; float32, ascending."""
        low, high = np.log10(self.lowest), np.log10(self.highest)
        return np.logspace(low, high, round((high - low) * self.per_decade) + 1).astype(np.float32)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """One method on one game, over a grid of learning rates.

    Attributes:
      rates: The grid, float32 [rates].
      distance: Distance from the origin after the last step, as a share of the initial distance; not finite after an
        overflow.
      steps: Number of steps after which the distance stays within `NEAR`; 0 if it does not.
    """

    rates: np.ndarray
    distance: np.ndarray
    steps: np.ndarray

    @property
    def converged(self) -> np.ndarray:
        """Whether each path ends within `NEAR`; bool [rates]."""
        return self.steps > 0

    @property
    def diverged(self) -> np.ndarray:
        """Whether each path ends farther away than it began, or not finite; bool [rates]."""
        return ~(self.distance <= 1)

    @property
    def best(self) -> int | None:
        """Index of the rate that converges in the fewest steps (of ties the lowest); None if none converges."""
        if not self.converged.any():
            return None
        return int(np.argmin(np.where(self.converged, self.steps, np.iinfo(self.steps.dtype).max)))


def sweep(game: Game, arms: Mapping[str, GameArm], how: Sweep) -> dict[str, Found]:
    """Play a game by every method at every learning rate of the grid."""
    found = {}
    for name, arm in arms.items():
        program = jax.jit(jax.vmap(functools.partial(_distances, game, arm, how.steps)))
        found[name] = Found(rates=how.rates, **jax.device_get(program(how.rates)))
    return found


def path(game: Game, arm: GameArm, learning_rate: float, steps: int) -> np.ndarray:
    """The points of one path, including the start; float32 [steps + 1, players]."""
    init, step = _program(game, arm, jnp.float32(learning_rate))

    def visit(carry: tuple, _: None) -> tuple[tuple, jax.Array]:
        return step(*carry), jnp.stack(carry[0])

    start = _start(game)
    (last, _), points = jax.jit(lambda: jax.lax.scan(visit, (start, init(start)), length=steps))()
    return np.concatenate([points, jnp.stack(last)[None]])


def _distances(game: Game, arm: GameArm, steps: int, learning_rate: jax.Array) -> dict[str, jax.Array]:
    init, step = _program(game, arm, learning_rate)

    def visit(carry: tuple, number: jax.Array) -> tuple[tuple, None]:
        params, state, settled = carry
        params, state = step(params, state)
        # Written so that NaN does not count as near.
        near = optax.tree.norm(params) <= NEAR * optax.tree.norm(start)
        return (params, state, jnp.where(near, settled, number + 1)), None

    start = _start(game)
    carry = start, init(start), jnp.int32(1)
    (params, _, settled), _ = jax.lax.scan(visit, carry, jnp.arange(1, steps + 1, dtype=jnp.int32))
    return {
        "distance": optax.tree.norm(params) / optax.tree.norm(start),
        "steps": jnp.where(settled <= steps, settled, 0),
    }


def _program(game: Game, arm: GameArm, learning_rate: jax.Array) -> tuple[Callable, Callable]:
    field_fn = contrib.player_field(game.losses, players=list(range(len(game.start))))
    return make_step(arm.method, field_fn, arm.direction, learning_rate)


def _start(game: Game) -> list[jax.Array]:
    return [jnp.float32(number) for number in game.start]
