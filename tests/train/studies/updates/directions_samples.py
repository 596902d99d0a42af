"""Made-up measurements: small, and different for each arm, seed and epoch."""

import jax
import numpy as np

from train.studies.updates.directions import Measurement
from train.studies.updates.gradient_noise import GradientNoise
from train.studies.updates.update_statistics import UpdateSums, summary

ARMS = ("sgd-0.9", "sgd-0.95", "lcam-0.95-0.9", "lcam-0.9-0.95")


def measurement(arm: str, seed: int, epoch: int, squared_gradient: float = 0.5) -> Measurement:
    rng = np.random.default_rng([ARMS.index(arm), seed, epoch])
    steps = np.array([12, 8], np.int32)
    magnitudes = rng.random((2, 62)).astype(np.float32)
    sums = UpdateSums(
        steps=steps,
        magnitudes=magnitudes / magnitudes.sum(1, keepdims=True) * steps[:, None],
        moved=rng.random((2, 50)).astype(np.float32),
        changed=rng.integers(0, 8, (2, 50)).astype(np.int32),
    )
    eigenvalues = np.sort(rng.random(39).astype(np.float32))[::-1]
    trace = eigenvalues.sum()
    noise = GradientNoise(
        eigenvalues=eigenvalues,
        trace=trace,
        squared_gradient=np.float32(squared_gradient),
        effective_rank=trace**2 / (eigenvalues**2).sum(),
        noise_scale=np.float32(trace / squared_gradient if squared_gradient > 0 else np.nan),
    )
    return Measurement(arm, seed, epoch, 0.25, jax.device_get(jax.jit(summary)(sums)), noise)


def measurements(seeds: tuple[int, ...]) -> list[Measurement]:
    return [measurement(arm, seed, epoch) for arm in ARMS for seed in seeds for epoch in (2, 4)]
