"""The training that benchmarks measure: a Wide ResNet on random images, with the programs of real runs."""

import dataclasses
from typing import Any, Literal

import jax
import numpy as np

from train.bench.timing import compile_timed
from train.data.dataset import Dataset
from train.engine.batches import flat
from train.engine.devices import Mesh, by_seed, make_mesh, replicated
from train.engine.programs import jit_over_seeds, slice_program
from train.engine.state import TrainState, init_state, make_setup
from train.errors import ConfigError
from train.experiments import EXPERIMENTS, Experiment

Dtype = Literal["bfloat16", "float32"]
Data = Literal["cifar10", "digits"]

# Data set to its image shape and to the experiment whose crops, normalisation and optimizer are used.
_LIKE = {"cifar10": ((32, 32, 3), "fig3/lcam-0.9-0.95"), "digits": ((8, 8, 1), "quickstart/lcam-0.9-0.95")}
_CLASSES = 10
_MOST = 10**6  # the largest count that an option may have
# For programs that run once. Optimizing the code of the random draws takes longer than running it.
_COMPILE_QUICKLY = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """A network and the shape of its training data.

    Attributes:
      depth: Depth of the Wide ResNet, 6n + 4.
      width: Width factor of the Wide ResNet.
      batch_size: Images per step.
      dtype: Dtype of the activations.
      data: The data set whose shape the random images have.
    """

    depth: int = 16
    width: int = 1
    batch_size: int = 128
    dtype: Dtype = "float32"
    data: Data = "cifar10"

    @property
    def name(self) -> str:
        """The name of the network, such as WRN-16-1."""
        return f"WRN-{self.depth}-{self.width}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class CaseOptions:
    """The options of a benchmark that describe its network. None means the default of the benchmark.

    Attributes:
      depth: Depth of the Wide ResNet, 6n + 4. None means 28 on a GPU and 16 elsewhere.
      width: Width factor of the Wide ResNet. None means 10 on a GPU and 1 elsewhere; `step` and `epoch` try 1 and 4.
      batch_size: Images per step. None means 128.
      dtype: Dtype of the activations. None means bfloat16 on a GPU and float32 elsewhere.
      data: The data set whose shape the random images have. None means CIFAR.
    """

    depth: int | None = None
    width: int | None = None
    batch_size: int | None = None
    dtype: Dtype | None = None
    data: Data | None = None


LARGE = Case(depth=28, width=10, dtype="bfloat16")  # the authors' network, for a GPU
SMALL = (Case(width=1), Case(width=4))  # for a CPU: one with few channels, one with enough to fill the vector registers


def on_gpu() -> bool:
    """Whether JAX runs on a GPU, where seconds are worth printing and the authors' network is fast enough."""
    return jax.default_backend() == "gpu"


def cases(options: Any, on_cpu: tuple[Case, ...]) -> list[Case]:
    """The networks of a benchmark: the authors' on a GPU and small ones elsewhere, changed as the options say.

    Args:
      options: A dataclass with some fields of `Case`. A field that is None keeps the default.
      on_cpu: The default networks if there is no GPU.
    """
    fields = {field.name for field in dataclasses.fields(Case)} & {f.name for f in dataclasses.fields(options)}
    changed = {name: getattr(options, name) for name in fields if getattr(options, name) is not None}
    defaults = (LARGE,) if on_gpu() else on_cpu
    return list(dict.fromkeys(dataclasses.replace(case, **changed) for case in defaults))


def filled_in(options: Any, networks: list[Case]) -> dict[str, Any]:
    """The options, with None replaced by the value that all networks share. Where they differ, None stays."""
    fields = [dataclasses.asdict(case) for case in networks]
    common = {name: value for name, value in fields[0].items() if all(other[name] == value for other in fields)}
    return dataclasses.asdict(options) | common


def require_counts(options: Any) -> None:
    """Check that all whole-number options are at least 1 and not absurdly large.

    Raises:
      ConfigError: Naming the option.
    """
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if isinstance(value, int) and not 1 <= value <= _MOST:
            raise ConfigError(f"{field.name} is {value}, allowed: a whole number from 1 to {_MOST}.")


def experiment_of(case: Case) -> Experiment:
    """The experiment with LCAM that trains a case.

    Raises:
      ConfigError: If there is no such network.
    """
    like = EXPERIMENTS[_LIKE[case.data][1]]
    settings: dict[str, Any] = {key: value for key, value in dataclasses.asdict(case).items() if key != "data"}
    # A small learning rate keeps the loss finite, however long the network trains on random labels.
    settings |= {"name": f"bench/{case.name.lower()}", "schedule": "constant", "learning_rate": 1e-3}
    return dataclasses.replace(like, **settings)


class Training:
    """The programs of a case, and their arguments.

    Args:
      case: The network and its data.
      steps: Full batches per epoch. This sets the number of images.
      mesh: The devices. None uses the first device.

    Attributes:
      experiment: The experiment, with LCAM.
      setup: The setup that `train.engine.step` takes.
      mesh: The mesh of the devices.
      data: The images and labels on the device.
      dataset: The same images and labels in host memory.

    Raises:
      ConfigError: If there is no such network, or too little memory for the images.
    """

    def __init__(self, case: Case, steps: int, mesh: Mesh | None = None):
        self.experiment = experiment_of(case)
        self.dataset = _made_up(case, steps * case.batch_size)
        self.setup = make_setup(self.experiment, self.dataset)
        self.mesh = make_mesh(1) if mesh is None else mesh
        images = flat(self.dataset.train_images, self.dataset.train_labels)
        self.data = jax.device_put(images, replicated(self.mesh))

    def state(self, seeds: int = 1) -> TrainState:
        """Make a new state with a leading axis of seeds."""
        make = jax.jit(jax.vmap(self._init), out_shardings=by_seed(self.mesh), compiler_options=_COMPILE_QUICKLY)
        return make(np.arange(seeds, dtype=np.uint32))

    def abstract_state(self, seeds: int = 1) -> TrainState:
        """The shapes of `state`."""
        state = jax.eval_shape(jax.vmap(self._init), jax.ShapeDtypeStruct((seeds,), np.uint32))
        spread = by_seed(self.mesh)
        return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=spread), state)

    def slice(self, steps: int, seeds: int = 1) -> tuple[jax.stages.Compiled, float]:
        """Compile a slice: a scan over steps that donates the state. Also returns the seconds that compiling took."""
        program = slice_program(self.setup, self.mesh, steps, self.experiment.batch_size)
        jitted = jit_over_seeds(program, self.mesh, seeds, donate=True)
        return compile_timed(jitted, self.abstract_state(seeds), self.data)

    def _init(self, seed: jax.Array) -> TrainState:
        return init_state(self.setup, _CLASSES, seed)


def tree_bytes(tree: Any) -> int:
    """Total bytes of all arrays, or shapes, in a tree."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _made_up(case: Case, number: int) -> Dataset:
    rng = np.random.default_rng(0)
    try:
        images = rng.integers(256, size=(number, *_LIKE[case.data][0]), dtype=np.uint8)
    except MemoryError as error:
        raise ConfigError(
            f"{number} images do not fit into memory; try fewer --steps or a smaller --batch-size."
        ) from error
    labels = rng.integers(_CLASSES, size=number, dtype=np.int32)
    return Dataset(
        name=f"random images shaped like {case.data}",
        train_images=images,
        train_labels=labels,
        test_images=images[:1],
        test_labels=labels[:1],
        class_names=tuple(map(str, range(_CLASSES))),
    )
