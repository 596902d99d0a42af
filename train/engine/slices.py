"""How an epoch is cut into slices, each of which is one program."""

from collections.abc import Iterator

from train.engine.devices import AXIS, Mesh
from train.engine.state import Setup
from train.recipe.network import training_flops

# The most steps in one program: few enough for a person to see progress, enough to hide the dispatch.
_SLICE_STEPS = 30
# As a stop is answered after a slice: what a few CPU cores do in seconds, in operations. A GPU does 30 steps in those.
_SLICE_FLOPS_ON_CPU = 1.25e12
# Of the images that a streamed slice puts on each device, in bytes; the next slice's are put there meanwhile. Runs in
# memory are cut alike.
_SLICE_IMAGES = 2**28


def slice_steps(setup: Setup, mesh: Mesh, seeds: int) -> int:
    """How many steps a slice has, the same for each part of a run; `seeds` are those of one row of the mesh."""
    height, width, channels = setup.image_shape
    batch = setup.experiment.batch_size
    most = mesh.shape[AXIS] * _SLICE_IMAGES // (batch * height * width * channels)
    steps = min(_SLICE_STEPS, setup.full_batches, most)
    if mesh.devices.flat[0].platform == "cpu":
        flops = seeds * batch * training_flops(setup.experiment, setup.image_shape)
        steps = min(steps, int(_SLICE_FLOPS_ON_CPU / flops))
    return max(steps, 1)


def rest_of_epoch(done: int, slices: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """What is left of an epoch; a run that comes from a machine that cuts otherwise may be within a slice."""
    for steps, batch in slices:
        if done < steps:
            yield steps - done, batch
        done = max(done - steps, 0)


def cut(setup: Setup, length: int) -> list[tuple[int, int]]:
    """The slices of an epoch as (steps, batch size); the same in every epoch, so that a resumed run cuts alike."""
    number, rest = divmod(setup.full_batches, length)
    slices = [(length, setup.experiment.batch_size)] * number
    if rest:
        slices.append((rest, setup.experiment.batch_size))
    if setup.last_batch:
        slices.append((1, setup.last_batch))
    return slices
