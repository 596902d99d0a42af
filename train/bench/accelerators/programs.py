"""Lower and compile the programs of a run for accelerators that this machine may lack."""

import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from train.bench.accelerators.targets import Target
from train.bench.workload import Case, experiment_of
from train.data.dataset import Dataset
from train.engine.batches import Images
from train.engine.devices import AXIS, SEED, by_seed, padded_size, replicated
from train.engine.programs import evaluation_program, jit_over_seeds, slice_program
from train.engine.state import Setup, TrainState, init_state, make_setup
from train.errors import ConfigError

# As in a real run: see `train.engine.trainer`.
STEPS = 30
EVALUATION_BATCH = 500
_CLASSES = 10
_TRAIN, _TEST = 50_000, 10_000  # numbers of images in CIFAR-10
_IMAGE = (32, 32, 3)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compiled:
    """A program that a target's compiler made.

    Attributes:
      text: Text of the scheduled program.
      seconds: Seconds that the compiler took.
      memory: Exact bytes of arguments, outputs, temporaries and aliased memory.
    """

    text: str
    seconds: float
    memory: dict[str, int]

    @property
    def peak_bytes(self) -> int:
        """Bytes on a device while the program runs. Memory that an argument and an output share counts once."""
        m = self.memory
        return m["arguments"] + m["outputs"] + m["temporaries"] - m["in_place"]


class Programs:
    """The programs of one network on one target.

    Args:
      case: The network. Its data have the shapes of CIFAR-10.
      target: The accelerator to compile for.
      devices: Number of devices.
      seeds: Number of seeds. On several devices each seed has its own devices; on one device seeds are vmapped.
      optimizer: "LCAM" or "SGD".

    Raises:
      ConfigError: If the seeds cannot be spread over the devices.
    """

    def __init__(self, case: Case, target: Target, devices: int, seeds: int, optimizer: str):
        if devices % seeds and devices > 1:
            raise ConfigError(f"seeds is {seeds}, allowed on {devices} devices: a whole number that divides {devices}.")
        self.mesh: Mesh = target.mesh(devices, rows=seeds if devices > 1 else 1)
        self.setup: Setup = make_setup(_experiment(case, optimizer), _dataset())
        self.seeds = seeds
        self._target = target

    def slice(self) -> Compiled:
        """Compile a slice: the scan over a run's next steps, which donates the state."""
        program = slice_program(self.setup, self.mesh, STEPS, self.setup.experiment.batch_size)
        order = jax.ShapeDtypeStruct((self.seeds, _TRAIN), np.int32)
        return self._compile(program, _TRAIN, order, donate=True)

    def evaluation(self) -> Compiled:
        """Compile the evaluation of the test set."""
        program = evaluation_program(self.setup, self.mesh, padded_size(EVALUATION_BATCH, self.mesh))
        return self._compile(program, _TEST, donate=False)

    @property
    def evaluation_turns(self) -> int:
        """Number of batches in an evaluation."""
        return -(-_TEST // padded_size(EVALUATION_BATCH, self.mesh))

    @property
    def seeds_of_device(self) -> int:
        """Number of seeds that one device trains."""
        return self.seeds // self.mesh.shape[SEED]

    @property
    def batch_of_device(self) -> int:
        """Number of images of a batch on one device."""
        return padded_size(self.setup.experiment.batch_size, self.mesh) // self.mesh.shape[AXIS]

    def state(self, seeds: int) -> TrainState:
        """The shapes of the state, with a leading axis of seeds."""
        init = jax.vmap(lambda seed: init_state(self.setup, _CLASSES, seed))
        return jax.eval_shape(init, jax.ShapeDtypeStruct((seeds,), np.uint32))

    def parameters(self) -> int:
        """Number of parameters on one device."""
        return sum(leaf.size for leaf in jax.tree.leaves(self.state(self.seeds_of_device).params))

    def _compile(self, program: Callable, images: int, *others: Any, donate: bool) -> Compiled:
        pixels = math.prod(_IMAGE)
        data = jax.eval_shape(lambda: Images(jnp.zeros((images, pixels), np.uint8), jnp.zeros((images,), np.int32)))
        whole, spread = replicated(self.mesh), by_seed(self.mesh)
        arguments = (
            _placed(self.state(self.seeds), spread),
            _placed(data, whole),
            *(_placed(each, spread) for each in others),
        )
        jitted: Any = jit_over_seeds(program, self.mesh, self.seeds, donate=donate)
        lowered = jitted.trace(*arguments).lower(lowering_platforms=(self._target.platform,))
        started = time.perf_counter()
        made = lowered.compile()
        seconds = time.perf_counter() - started
        memory = made.memory_analysis()
        return Compiled(
            text=made.as_text(),
            seconds=seconds,
            memory={
                "arguments": memory.argument_size_in_bytes,
                "outputs": memory.output_size_in_bytes,
                "temporaries": memory.temp_size_in_bytes,
                "in_place": memory.alias_size_in_bytes,
            },
        )


def _placed(tree: Any, sharding: jax.sharding.Sharding) -> Any:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree)


def _experiment(case: Case, optimizer: str) -> Any:
    """The experiment of a benchmark, with LCAM or with SGD."""
    arm = experiment_of(case)
    if optimizer == "LCAM":
        return arm
    return dataclasses.replace(arm, phase="none", momentum_above=arm.momentum_below)


def _dataset() -> Dataset:
    """A data set with the shapes of CIFAR-10 that takes no memory."""

    def images(number: int) -> np.ndarray:
        return np.broadcast_to(np.uint8(0), (number, *_IMAGE))

    def labels(number: int) -> np.ndarray:
        return np.broadcast_to(np.int32(0), (number,))

    return Dataset(
        name="shaped like CIFAR-10",
        train_images=images(_TRAIN),
        train_labels=labels(_TRAIN),
        test_images=images(_TEST),
        test_labels=labels(_TEST),
        class_names=tuple(map(str, range(_CLASSES))),
    )
