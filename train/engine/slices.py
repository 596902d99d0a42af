"""Cut an epoch into slices. Each slice is one program."""

from collections.abc import Iterator

from train.engine.devices import AXIS, Mesh
from train.engine.state import Setup
from train.recipe.network import training_flops

# Maximum steps per slice: few enough to show progress, enough to hide the dispatch.
_SLICE_STEPS = 30
# Maximum operations per slice on a CPU: a few seconds of work, because a request to stop waits for the end of the
# slice. A GPU takes 30 steps in this time.
_SLICE_FLOPS_ON_CPU = 1.25e12
# Maximum bytes of streamed images per slice and device. While a slice runs, the images of the next one are transferred.
# Runs with images in memory are cut into the same slices.
_SLICE_IMAGES = 2**28


def slice_steps(setup: Setup, mesh: Mesh, seeds: int) -> int:
    """Return the number of steps per slice, fixed for a run. `seeds` is the number of seeds per row of the mesh."""
    height, width, channels = setup.image_shape
    batch = setup.experiment.batch_size
    most = mesh.shape[AXIS] * _SLICE_IMAGES // (batch * height * width * channels)
    steps = min(_SLICE_STEPS, setup.full_batches, most)
    if mesh.devices.flat[0].platform == "cpu":
        flops = seeds * batch * training_flops(setup.experiment, setup.image_shape)
        steps = min(steps, int(_SLICE_FLOPS_ON_CPU / flops))
    return max(steps, 1)


def rest_of_epoch(done: int, slices: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield the remaining slices of an epoch. A run from a machine with other slices may resume inside a slice."""
    for steps, batch in slices:
        if done < steps:
            yield steps - done, batch
        done = max(done - steps, 0)


def cut(setup: Setup, length: int) -> list[tuple[int, int]]:
    """Return the slices of an epoch as (steps, batch size). For the same `length`, all epochs have the same slices."""
    number, rest = divmod(setup.full_batches, length)
    slices = [(length, setup.experiment.batch_size)] * number
    if rest:
        slices.append((rest, setup.experiment.batch_size))
    if setup.last_batch:
        slices.append((1, setup.last_batch))
    return slices
