"""What the benchmarks train: a Wide ResNet on made-up images, with the programs of real runs."""

import dataclasses
from typing import Any, Literal

import jax
import numpy as np

from train.bench.timing import compile_timed
from train.data.dataset import Dataset
from train.engine.batches import flat
from train.engine.devices import Mesh, by_seed, make_mesh, replicated
from train.engine.programs import compiled, slice_program
from train.engine.state import TrainState, init_state, make_setup
from train.errors import ConfigError
from train.experiments import EXPERIMENTS, Experiment

Dtype = Literal["bfloat16", "float32"]
Data = Literal["cifar10", "digits"]

# The real runs whose images, crops and optimizer are used: image shape, experiment.
_LIKE = {"cifar10": ((32, 32, 3), "fig3/lcam-0.9-0.95"), "digits": ((8, 8, 1), "quickstart/lcam-0.9-0.95")}
_CLASSES = 10
_MOST = 10**6  # of anything
# For what runs once: the code of all the random draws takes long to optimize and no time to run.
_COMPILE_QUICKLY = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """A network and what it is trained on.

    Attributes:
      depth: Of the Wide ResNet, 6n + 4.
      width: Its factor on the channels.
      batch_size: Images a step.
      dtype: Of activations.
      data: Which data set the made-up images are shaped like.
    """

    depth: int = 16
    width: int = 1
    batch_size: int = 128
    dtype: Dtype = "float32"
    data: Data = "cifar10"

    @property
    def name(self) -> str:
        """Such as WRN-16-1."""
        return f"WRN-{self.depth}-{self.width}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class CaseOptions:
    """What a benchmark may be told of its network; the rest is its own.

    Attributes:
      depth: Of the Wide ResNet, 6n + 4; None is 28 on a GPU, 16 elsewhere.
      width: Its factor on the channels; None is 10 on a GPU, 1 elsewhere (`step` and `epoch`: first 1, then 4).
      batch_size: Images a step; None is 128.
      dtype: Of activations; None is bfloat16 on a GPU, float32 elsewhere.
      data: Which data set the made-up images are shaped like; None is CIFAR.
    """

    depth: int | None = None
    width: int | None = None
    batch_size: int | None = None
    dtype: Dtype | None = None
    data: Data | None = None


LARGE = Case(depth=28, width=10, dtype="bfloat16")  # the authors' network, for a GPU
SMALL = (Case(width=1), Case(width=4))  # for a CPU: few channels, and enough to fill its vectors


def on_gpu() -> bool:
    """Whether absolute times mean something here, and the authors' network is of use."""
    return jax.default_backend() == "gpu"


def cases(options: Any, on_cpu: tuple[Case, ...]) -> list[Case]:
    """The networks of a benchmark: the authors' on a GPU, small ones elsewhere, changed as the options say.

    Args:
      options: A dataclass with some fields of `Case`; None keeps a default.
      on_cpu: The defaults where there is no GPU.
    """
    fields = {field.name for field in dataclasses.fields(Case)} & {f.name for f in dataclasses.fields(options)}
    changed = {name: getattr(options, name) for name in fields if getattr(options, name) is not None}
    defaults = (LARGE,) if on_gpu() else on_cpu
    return list(dict.fromkeys(dataclasses.replace(case, **changed) for case in defaults))


def filled_in(options: Any, networks: list[Case]) -> dict[str, Any]:
    """The options, with what all networks have in common for defaults; None where they differ."""
    fields = [dataclasses.asdict(case) for case in networks]
    common = {name: value for name, value in fields[0].items() if all(other[name] == value for other in fields)}
    return dataclasses.asdict(options) | common


def require_counts(options: Any) -> None:
    """Refuse options that count something and are below 1, or so large that the hand must have slipped.

    Raises:
      ConfigError: Naming the option.
    """
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if isinstance(value, int) and not 1 <= value <= _MOST:
            raise ConfigError(f"{field.name} is {value}, allowed: a whole number from 1 to {_MOST}.")


def experiment_of(case: Case) -> Experiment:
    """The LCAM arm that trains a case.

    Raises:
      ConfigError: If there is no such network.
    """
    like = EXPERIMENTS[_LIKE[case.data][1]]
    settings: dict[str, Any] = {key: value for key, value in dataclasses.asdict(case).items() if key != "data"}
    # A small rate keeps the numbers finite however long random labels are trained on.
    settings |= {"name": f"bench/{case.name.lower()}", "schedule": "constant", "learning_rate": 1e-3}
    return dataclasses.replace(like, **settings)


class Training:
    """The programs of a case, and what they are called with.

    Args:
      case: The network and its data.
      steps: Full batches in an epoch; there are as many images.
      mesh: Where to run; None is the first device.

    Attributes:
      experiment: The arm, with LCAM.
      setup: What the programs of `train.engine.step` want.
      mesh: Where the programs run.
      data: The images and labels on the device.
      dataset: The same in memory.

    Raises:
      ConfigError: If there is no such network, or no memory for as many images.
    """

    def __init__(self, case: Case, steps: int, mesh: Mesh | None = None):
        self.experiment = experiment_of(case)
        self.dataset = _made_up(case, steps * case.batch_size)
        self.setup = make_setup(self.experiment, self.dataset)
        self.mesh = make_mesh(1) if mesh is None else mesh
        images = flat(self.dataset.train_images, self.dataset.train_labels)
        self.data = jax.device_put(images, replicated(self.mesh))

    def state(self, seeds: int = 1) -> TrainState:
        """A fresh state with a leading axis of seeds."""
        make = jax.jit(jax.vmap(self._init), out_shardings=by_seed(self.mesh), compiler_options=_COMPILE_QUICKLY)
        return make(np.arange(seeds, dtype=np.uint32))

    def abstract_state(self, seeds: int = 1) -> TrainState:
        """The shapes of `state`."""
        state = jax.eval_shape(jax.vmap(self._init), jax.ShapeDtypeStruct((seeds,), np.uint32))
        spread = by_seed(self.mesh)
        return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=spread), state)

    def slice(self, steps: int, seeds: int = 1) -> tuple[jax.stages.Compiled, float]:
        """The scanned, donated program of a run's next steps, and the seconds that compiling it took."""
        program = slice_program(self.setup, self.mesh, steps, self.experiment.batch_size)
        jitted = compiled(program, self.mesh, seeds, donate=True)
        return compile_timed(jitted, self.abstract_state(seeds), self.data)

    def _init(self, seed: jax.Array) -> TrainState:
        return init_state(self.setup, _CLASSES, seed)


def tree_bytes(tree: Any) -> int:
    """The bytes of all arrays of a tree, or of their shapes."""
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
        name=f"made up like {case.data}",
        train_images=images,
        train_labels=labels,
        test_images=images[:1],
        test_labels=labels[:1],
        class_names=tuple(map(str, range(_CLASSES))),
    )
