"""The momenta of the controls. Each shares a part of LCAM's momentum over time, and none uses a loss of its own run."""

import numpy as np

BLOCK = 5  # seeds per block, within which runs replay each other's momenta; the first seed is divisible by it


def yoked(momenta: np.ndarray) -> np.ndarray:
    """Replay, step for step, the momenta of the LCAM run of another seed: LCAM's whole temporal structure.

    Args:
      momenta: Of the LCAM runs, [seeds, steps].

    Returns:
      [seeds, steps], the momenta of the donors.
    """
    return of_donors(momenta)


def of_donors(of_seeds: np.ndarray) -> np.ndarray:
    """Return the values of each seed's donor: the next seed of its block, or for the last seed the first.

    Args:
      of_seeds: [seeds, ...], whole blocks of consecutive seeds.

    Returns:
      The same shape: 0, 1, 2, 3, 4 become 1, 2, 3, 4, 0.
    """
    of_blocks = of_seeds.reshape(-1, BLOCK, *of_seeds.shape[1:])
    return np.roll(of_blocks, -1, axis=1).reshape(of_seeds.shape)


def schedule(momenta: np.ndarray, steps_per_epoch: int) -> np.ndarray:
    """Use, at every step of an epoch, the mean momentum of that epoch of the LCAM run of the same seed."""
    means = epoch_means(momenta, steps_per_epoch)
    return np.repeat(means, steps_per_epoch, axis=1).astype(np.float32)


def constant(momenta: np.ndarray) -> np.ndarray:
    """Use, at every step, the mean momentum of the LCAM run of the same seed."""
    means = momenta.mean(axis=1, keepdims=True, dtype=np.float64)
    return np.broadcast_to(means, momenta.shape).astype(np.float32)


def random(momenta: np.ndarray, steps_per_epoch: int, below: float, above: float, coins: np.ndarray) -> np.ndarray:
    """Draw the momentum of each step at random.

    Each of the two momenta has the probability of its frequency in the same epoch of the LCAM run of the same seed.

    Args:
      momenta: Of the LCAM runs, [seeds, steps].
      steps_per_epoch: Steps in an epoch.
      below: LCAM's momentum after a loss below the mean.
      above: LCAM's other momentum.
      coins: Uniform in [0, 1), [seeds, steps].
    """
    shares = epoch_means(momenta == np.float32(below), steps_per_epoch)
    drawn = coins < np.repeat(shares, steps_per_epoch, axis=1)
    return np.where(drawn, np.float32(below), np.float32(above))


def rising(below: float, above: float, shape: tuple[int, int], steps_per_epoch: int) -> np.ndarray:
    """Go from one momentum to the other in equal steps per epoch, independently of LCAM.

    Args:
      below: The momentum of the first epoch.
      above: The momentum of the last epoch.
      shape: (seeds, steps).
      steps_per_epoch: Steps in an epoch.

    Returns:
      float32 [seeds, steps], the same for all seeds.
    """
    epochs = np.linspace(below, above, shape[1] // steps_per_epoch)
    return np.broadcast_to(np.repeat(epochs, steps_per_epoch), shape).astype(np.float32)


def epoch_means(values: np.ndarray, steps_per_epoch: int) -> np.ndarray:
    """Average over each epoch, from [seeds, steps] to float64 [seeds, epochs]."""
    return values.reshape(len(values), -1, steps_per_epoch).mean(axis=2, dtype=np.float64)
