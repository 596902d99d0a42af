"""The stages of the authors' step schedule, and those that a short run leaves out."""

from collections.abc import Collection, Iterable

STEP_FACTOR = 0.2
STEP_STAGES = 4  # 0.1, 0.02, 0.004 and 0.0008 in the authors' scripts


def stage_rates(initial: float) -> tuple[float, ...]:
    """The learning rate of each stage, from that of the first."""
    return tuple(float(f"{initial * STEP_FACTOR**stage:.9g}") for stage in range(STEP_STAGES))


def not_among(initial: float, rates: Iterable[float]) -> tuple[float, ...]:
    """The stages' learning rates that no epoch had.

    Args:
      initial: The learning rate of the first stage.
      rates: The learning rate of each epoch, rounded to float32 or not.
    """
    had = list(rates)
    return tuple(rate for rate in stage_rates(initial) if not any(abs(other / rate - 1) < 1e-3 for other in had))


def lost_in_words(epochs: int, lost: Collection[float]) -> str:
    """Say which stages a run of so many epochs leaves out."""
    *first, last = (f"{rate:g}" for rate in lost)
    rates = f"rates {', '.join(first)} and {last}" if first else f"rate {last}"
    return f"{epochs} {'epoch leaves' if epochs == 1 else 'epochs leave'} out the learning {rates} of the step schedule"
