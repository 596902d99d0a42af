"""The benchmark `optimizer`: the cost of an LCAM update and of an SGD update on the parameters of a Wide ResNet."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import lcam_optax
from train.bench.machine import copy_program
from train.bench.result import Result
from train.bench.timing import Donated, alternate, compile_timed, ratio
from train.bench.workload import Case, experiment_of, on_gpu, tree_bytes
from train.recipe.network import make_model

_STEPS_PER_EPOCH = 391
_GUARDED_STEPS = 50
# An update reads weight, gradient and momentum buffer and writes weight and buffer: five float32 numbers.
FLOOR_BYTES = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """The network whose parameters are updated, and the number of turns.

    Attributes:
      depth: Depth of the Wide ResNet.
      width: Width factor of the Wide ResNet.
      updates: Updates per call. None means 20 on a GPU, where a call costs as much as an update, and 1 elsewhere.
      repeats: Number of turns.
    """

    depth: int = 28
    width: int = 10
    updates: int | None = None
    repeats: int = 40


def networks(options: Options) -> list[Case]:
    """The network whose parameters are updated."""
    return [Case(depth=options.depth, width=options.width)]


def run(options: Options) -> Result:
    """Time LCAM, SGD and a copy of equally many bytes in turn; count bytes, operations, state and compilations."""
    updates = options.updates or (20 if on_gpu() else 1)
    (case,) = networks(options)
    params = _parameters(case)
    number = sum(leaf.size for leaf in jax.tree.leaves(params))
    grads = jax.tree.map(lambda leaf: 0.1 * leaf, params)
    loss = jnp.float32(2.3)
    result = Result(benchmark="optimizer", options=dataclasses.asdict(options) | {"updates": updates})
    result.facts["parameters"] = number
    result.facts["floor: bytes per update"] = FLOOR_BYTES * number
    programs: dict[str, Any] = {"copy": copy_program(FLOOR_BYTES * number, updates)}
    for name, optimizer in optimizers().items():
        # Each program needs its own state, because it donates it.
        state = jax.tree.map(jnp.copy, (params, optimizer.init(params)))
        result.facts.update(_counts(name, optimizer, state, grads, loss))
        result.facts[f"{name}: bytes of optimizer state"] = tree_bytes(state[1])
        program, seconds = compile_timed(_program(optimizer, updates), state, grads, loss)
        result.compile_seconds[name] = seconds
        programs[name] = Donated(program, state, grads, loss)
    seconds_of = {name: values / updates for name, values in alternate(programs, options.repeats, warmup=3).items()}
    result.seconds.update({name: values.tolist() for name, values in seconds_of.items()})
    result.ratios["LCAM / SGD"] = ratio(seconds_of["LCAM"], seconds_of["SGD"])
    for name in ("LCAM", "SGD"):
        result.ratios[f"{name} / copy of its {FLOOR_BYTES} bytes per parameter"] = ratio(
            seconds_of[name], seconds_of["copy"]
        )
    result.facts["copy: GB/s"] = FLOOR_BYTES * number / float(np.median(seconds_of["copy"])) / 1e9
    return result


def optimizers() -> dict[str, optax.GradientTransformationExtraArgs]:
    """Make LCAM and SGD, both with coupled weight decay."""
    sgd = optax.chain(optax.add_decayed_weights(5e-4), optax.sgd(0.1, momentum=0.9))
    phase = lcam_optax.epoch_mean(_STEPS_PER_EPOCH)
    return {
        "LCAM": lcam_optax.lcam(0.1, phase, 0.9, 0.95, weight_decay=5e-4),
        "SGD": optax.with_extra_args_support(sgd),
    }


def _parameters(case: Case) -> Any:
    """Make the network's parameters, filled with small random numbers."""
    experiment = experiment_of(case)
    model = nnx.eval_shape(lambda: make_model(experiment, 10, (32, 32, 3), jax.random.key(0)))
    rng = np.random.default_rng(0)

    def leaf(shape: jax.ShapeDtypeStruct) -> jax.Array:
        return jnp.asarray(0.01 * rng.standard_normal(shape.shape, np.float32))

    return jax.tree.map(leaf, nnx.state(model, nnx.Param))


def _program(optimizer: optax.GradientTransformationExtraArgs, updates: int) -> Any:
    """Jit ((params, optimizer state), gradients, loss) -> ((params, optimizer state), None), donating the first."""

    def run(state: Any, grads: Any, loss: jax.Array) -> tuple[Any, None]:
        def step(state: Any, _: None) -> tuple[Any, None]:
            params, opt_state = state
            changes, opt_state = optimizer.update(grads, opt_state, params, value=loss)
            return (optax.apply_updates(params, changes), opt_state), None

        return jax.lax.scan(step, state, None, length=updates)

    return jax.jit(run, donate_argnums=0)


def _counts(
    name: str, optimizer: optax.GradientTransformationExtraArgs, state: Any, grads: Any, loss: jax.Array
) -> dict[str, float | int]:
    """Count what one update moves and computes, and how often it is compiled over many steps.

    Raises:
      RuntimeError: From JAX's transfer guard, if a step moves anything to or from the host.
    """
    jitted = _program(optimizer, 1)
    cost = jitted.lower(state, grads, loss).compile().cost_analysis()
    state = jax.tree.map(jnp.copy, state)
    with jax.transfer_guard("disallow"):
        for _ in range(_GUARDED_STEPS):
            state, _ = jitted(state, grads, loss)
    jax.block_until_ready(state)
    return {
        f"{name}: bytes accessed": int(cost["bytes accessed"]),
        f"{name}: FLOPs": int(cost["flops"]),
        f"{name}: compiles in {_GUARDED_STEPS} steps without a transfer": jitted._cache_size(),
    }
