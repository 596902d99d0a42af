"""Edge cases from bug reports about optimizers: one row per case, with the right value.

A row is (kind, case, action, expectation). The expectation is a value, or an exception with its whole message, in which
`...` stands for any text.
"""

import pickle
import re
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx, serialization
from flax.training.train_state import TrainState

import lcam_optax
from lcam_optax import contrib
from tests.lcam_optax import complete
from tests.lcam_optax.complete import OPTIMIZERS


class Row(NamedTuple):
    kind: str
    case: str
    done: Callable[[], Any]
    right: Any


@pytest.fixture(autouse=True)
def standard_promotion():
    """Optax itself relies on implicit promotion."""
    with jax.numpy_dtype_promotion("standard"):
        yield


ONES = jnp.ones(2)


def lcam(phase=None, learning_rate=0.1, **settings):
    return lcam_optax.lcam(learning_rate, phase or lcam_optax.epoch_mean(3), 0.5, 0.9, **settings)


def bare(**settings):
    return lcam_optax.scale_by_lcam(lcam_optax.epoch_mean(3), 0.5, 0.9, **settings)


def states(tx, values, params=ONES, state=None, **extra_args):
    """The state after each update by gradients of one."""
    state = tx.init(params) if state is None else state
    path = []
    for value in values:
        _, state = tx.update(params, state, params, value=value, **extra_args)
        path.append(state)
    return path


def update(tx, state=None, params=ONES, **extra_args):
    return tx.update(params, tx.init(params) if state is None else state, params, **extra_args)


# 11. Mutual information has a keyword of its own.


def decay(**settings):
    return contrib.mutual_information_decay(0.01, 0.1, steps_per_epoch=1, threshold=0.1, **settings)


def rate_after(*information, tx=None, params=ONES, **extra_args):
    tx = decay() if tx is None else tx
    state = tx.init(params)
    for told in information:
        _, state = tx.update(params, state, params, information=told, **extra_args)
    return optax.tree.get(state, "current_rate")


TOLD_MISSING = (
    "mutual_information_decay needs the information that the output gives about the label: call "
    "update(grads, state, params, information=label_information(table)). If you do pass it, a wrapper around this "
    "transformation drops it."
)
INFORMATION = [
    ("the loss beside it", lambda: rate_after(0.5, 0.5, value=7.0), 0.055),
    ("beside LCAM", lambda: rate_after(0.5, 0.5, tx=optax.chain(bare(), decay()), value=7.0), 0.055),
    ("above 1", lambda: rate_after(0.5, 1.7, 1.7), 0.01),
    ("below 0", lambda: rate_after(0.5, -3.0), 0.1),
    ("infinite", lambda: rate_after(0.5, np.inf), 0.1),
    (
        "above 1 in a layer",
        lambda: rate_after({"x": 0.5}, {"x": 1.7}, {"x": 1.7}, tx=decay(layers="x")),
        {"x": 0.01},
    ),
    ("missing", lambda: update(decay(), value=0.5), TypeError(TOLD_MISSING)),
    (
        "a step sees that of its last micro-batch",
        lambda: rate_after(0.9, 0.5, 0.9, 0.5, tx=lcam_optax.accumulate(decay(), 2), value=7.0),
        0.055,
    ),
]

# 12. Arguments that nobody asked for; the complete optimizers are in test_contract.py.


def takes(tx):
    return update(tx, value=1.0, grad_fn=None, anything=object())[0].shape


EXTRA = [
    ("scale_by_yamadam", lambda: takes(contrib.scale_by_yamadam()), (2,)),
    ("scale_by_lcam", lambda: takes(bare()), (2,)),
    ("lrsgd as a part", lambda: takes(optax.masked(contrib.lrsgd(0.1), True)), (2,)),
    ("delayed_feedback in a chain", lambda: takes(optax.chain(optax.clip(1.0), contrib.delayed_feedback(0.1))), (2,)),
]

# 13. Wrappers that refuse the loss, or drop it.


def missing(caller):
    return TypeError(
        f"{caller} needs the loss of this step: call update(grads, state, params, value=loss). If you do pass it, "
        "something around this transformation drops it. Inside optax.chain these do: optax.MultiSteps (use "
        "lcam_optax.accumulate as the outermost wrapper), optax.lookahead, optax.contrib.split_real_and_imaginary and "
        "any plain optax.GradientTransformation. Linen's "
        "TrainState.apply_gradients does not pass it on either (call state.tx.update yourself)."
    )


def no_loss(kind, got):
    return kind(f"LCAM needs value=loss, one real floating-point number, the mean over the batch, got {got}.")


UNEXPECTED = TypeError("...update_fn() got an unexpected keyword argument 'value'")
SLOW_AND_FAST = optax.LookaheadParams.init_synced(ONES)


def linen(**settings):
    return TrainState.create(apply_fn=None, params={"w": ONES}, tx=lcam(**settings))


def sam(**settings):
    return optax.contrib.sam(bare(), optax.sgd(0.1), **settings)


WRAPPERS = [
    ("sam", lambda: update(sam(), value=1.0), UNEXPECTED),
    ("opaque sam", lambda: update(sam(opaque_mode=True), value=1.0), UNEXPECTED),
    (
        "lookahead",
        lambda: optax.lookahead(bare(), 2, 0.5).update(
            ONES, optax.lookahead(bare(), 2, 0.5).init(SLOW_AND_FAST), SLOW_AND_FAST, value=1.0
        ),
        UNEXPECTED,
    ),
    ("split", lambda: update(optax.contrib.split_real_and_imaginary(bare()), value=1.0), UNEXPECTED),
    (
        "split in a chain",
        lambda: update(optax.chain(optax.contrib.split_real_and_imaginary(bare())), value=1.0),
        missing("LCAM"),
    ),
    ("sam in a chain", lambda: update(optax.chain(sam()), value=1.0), UNEXPECTED),
    (
        "lookahead in a chain",
        lambda: update(optax.chain(optax.lookahead(bare(), 2, 0.5)), params=SLOW_AND_FAST, value=1.0),
        missing("LCAM"),
    ),
    ("MultiSteps in a chain", lambda: update(optax.chain(optax.MultiSteps(bare(), 2)), value=1.0), missing("LCAM")),
    (
        "a plain transformation in a chain",
        lambda: update(optax.chain(optax.GradientTransformation(*bare())), value=1.0),
        missing("LCAM"),
    ),
    ("Linen's TrainState", lambda: linen().apply_gradients(grads={"w": ONES}, value=1.0), missing("LCAM")),
    ("nothing passed", lambda: update(lcam()), missing("LCAM")),
    ("accumulate", lambda: update(lcam_optax.accumulate(lcam(), 2)), missing("lcam_optax.accumulate")),
    ("a loss with other outputs", lambda: update(lcam(), value=(1.0, {})), no_loss(TypeError, "(1.0, {})")),
    ("a text", lambda: update(lcam(), value="1.0"), no_loss(TypeError, "'1.0'")),
    ("a loss per image", lambda: update(lcam(), value=ONES), no_loss(ValueError, "an array of shape (2,) and ...")),
    (
        "information that is a text",
        lambda: update(decay(), information="high"),
        TypeError("mutual_information_decay needs information as one real ..., got 'high'."),
    ),
    (
        "loss_controlled",
        lambda: update(optax.inject_hyperparams(optax.sgd)(0.1, momentum=controlled())),
        missing("loss_controlled"),
    ),
]


def controlled(below=0.5, above=0.9, initial=0.6):
    return lcam_optax.loss_controlled(lcam_optax.epoch_mean(3), below, above, initial=initial)


# 14. Reading the phase.


def nnx_optimizer():
    optimizer = nnx.Optimizer(nnx.Linear(2, 1, rngs=nnx.Rngs(0)), lcam(), wrt=nnx.Param)
    model = nnx.Linear(2, 1, rngs=nnx.Rngs(0))
    optimizer.update(model, nnx.grad(lambda m: m(ONES).sum())(model), value=jnp.float32(2))
    return optimizer


def read_after_donation():
    tx = lcam()
    (state,) = states(tx, [2.0])
    reading = lcam_optax.read_phase(state)
    jax.jit(lambda state: update(tx, state, value=1.0)[1], donate_argnums=0)(state)
    assert state[1].momentum.is_deleted()
    return reading


def read_without_transfers():
    (state,) = states(lcam(), [2.0])
    with jax.transfer_guard("disallow"):
        return lcam_optax.read_phase(state), jax.jit(lcam_optax.read_phase)(state)


def momenta(when):
    """The momenta of three steps as read before or after each."""
    tx, state, seen = lcam(), lcam().init(ONES), []
    for value in (2.0, 1.0, 3.0):
        before = lcam_optax.read_phase(state).momentum
        state = update(tx, state, value=value)[1]
        seen.append({"before": before, "after": lcam_optax.read_phase(state).momentum}[when])
    return np.stack(seen)


def mean_after(values, state, phase):
    return lcam_optax.read_phase(states(lcam(phase), values, state=state)[-1]).loss_mean


def new_epoch(state):
    """What the docstring of `epoch_mean` shows."""
    return optax.tree.set(state, epoch_step=jnp.zeros_like(optax.tree.get(state, "epoch_step")))


def resumed_with_other_epochs():
    """Two steps in an epoch of three; then epochs of two."""
    state = new_epoch(states(lcam(), [9.0, 9.0])[-1])
    phase = lcam_optax.epoch_mean(2)
    return [mean_after(values, state, phase) for values in ([1.0], [1.0, 3.0], [1.0, 3.0, 5.0])]


def overflowed(keep_phase):
    """An epoch of three whose second step is taken back, and the first step of the next epoch."""
    tx = lcam()
    (old,) = states(tx, [1.0])
    new = update(tx, old, value=jnp.nan)[1]
    if keep_phase:
        old = optax.tree.set(old, phase_state=optax.tree.get(new, "phase_state"))
    selected = jax.tree.map(lambda new, old: jnp.where(False, new, old), new, old)
    return mean_after([3.0, 10.0], selected, None)


def hidden_by_apply_if_finite():
    tx = optax.apply_if_finite(lcam(), 5)
    state = tx.init(ONES)
    for grads, value in ((ONES, 1.0), (ONES * jnp.nan, 2.0), (ONES, 3.0), (ONES, 10.0)):
        _, state = tx.update(grads, state, ONES, value=value)
    return lcam_optax.read_phase(state).loss_mean


READING = lcam_optax.PhaseReading(np.float32(0.9), np.float32(2), np.array(False))
READ = [
    (
        "a Linen TrainState",
        lambda: lcam_optax.read_phase(linen().replace(opt_state=states(lcam(), [2.0])[-1])),
        READING,
    ),
    ("an nnx.Optimizer", lambda: lcam_optax.read_phase(nnx_optimizer()), READING),
    ("the opt_state of an nnx.Optimizer", lambda: lcam_optax.read_phase(nnx_optimizer().opt_state), READING),
    ("a donated state", read_after_donation, READING),
    ("without a host transfer", read_without_transfers, (READING, READING)),
    ("a state of NumPy", lambda: lcam_optax.read_phase(jax.device_get(states(lcam(), [2.0])[-1])), READING),
    ("before update: the momentum used", lambda: momenta("before"), np.float32([0.9, 0.9, 0.5])),
    ("after update: the next one", lambda: momenta("after"), np.float32([0.9, 0.5, 0.9])),
    ("epochs of another length", resumed_with_other_epochs, [1.0, 2.0, 5.0]),
    ("a step taken back shifts the epochs", lambda: overflowed(keep_phase=False), np.mean([1.0, 3.0, 10.0])),
    ("a step taken back whose phase is kept", lambda: overflowed(keep_phase=True), 10.0),
    ("a step hidden by apply_if_finite", hidden_by_apply_if_finite, np.mean([1.0, 3.0, 10.0])),
]

# 15. Settings that are no scalars, or no phase.


def no_scalar(name, shape, dtype="float32"):
    text = f"{name} must be a number or a scalar array, got an array of shape {shape} and dtype {dtype}."
    return ValueError(text)


def no_number(name, value):
    return TypeError(f"{name} must be a number or a scalar array, got {value!r}.")


def no_phase(value="..."):
    return TypeError(f"phase must be a Phase, such as lcam_optax.epoch_mean(steps_per_epoch), got {value}.")


def no_optimizer(value="..."):
    return TypeError(f"optimizer must be an Optax optimizer, such as optax.sgd(0.1), got {value}.")


PAIR = jnp.array([0.5, 0.5])
SALPS = {"learning_rate": 0.1, "iterations": 10, "radius": 0.1, "population": 2}
PAIRS: dict[str, Callable[[Any], Any]] = {
    "steps_per_epoch": lcam_optax.epoch_mean,
    "decay": lcam_optax.ema,
    "size": lcam_optax.window,
    "probability": lambda pair: lcam_optax.random_phase(pair, 0),
    "momentum_below": lambda pair: lcam_optax.scale_by_lcam(lcam_optax.ema(0.9), pair, 0.9),
    "momentum_above": lambda pair: lcam_optax.lcam(0.1, lcam_optax.ema(0.9), 0.9, pair),
    "initial_momentum": lambda pair: lcam(initial_momentum=pair),
    "learning_rate": lambda pair: lcam(learning_rate=pair),
    "weight_decay": lambda pair: lcam(weight_decay=pair),
    "below": lambda pair: controlled(below=pair),
    "above": lambda pair: controlled(above=pair),
    "initial": lambda pair: controlled(initial=pair),
    "every_k_schedule": lambda pair: lcam_optax.accumulate(lcam(), pair),
    "terms": lambda pair: contrib.delayed_feedback(0.1, pair),
    "lambda_w": lambda pair: contrib.lrsgd(0.1, pair),
    "inner_steps": lambda pair: contrib.lrsgd(0.1, inner_steps=pair),
    "momentum": lambda pair: contrib.lrsgd(0.1, momentum=pair),
    "iterations": lambda pair: contrib.salp_swarm_sgd(**SALPS | {"iterations": pair}),
    "radius": lambda pair: contrib.salp_swarm_sgd(**SALPS | {"radius": pair}),
    "eps": contrib.yamadam,
    "scale": lambda pair: contrib.consensus_gradient(lambda p: p, scale=pair),
    "effective_step": lambda pair: contrib.learning_rate_from_momentum(pair, 0.9),
    "margin": lambda pair: contrib.learning_rate_range([0.1], [0.1], pair),
    "min_learning_rate": lambda pair: contrib.mutual_information_decay(pair, 1, steps_per_epoch=1, threshold=0),
    "max_learning_rate": lambda pair: contrib.mutual_information_decay(0.1, pair, steps_per_epoch=1, threshold=0),
    "initial_learning_rate": lambda pair: decay(initial_learning_rate=pair),
    "threshold": lambda pair: contrib.mutual_information_decay(0.1, 1, steps_per_epoch=1, threshold=pair),
}
SETTINGS = [(f"a pair as {name}", lambda make=make: make(PAIR), no_scalar(name, (2,))) for name, make in PAIRS.items()]
SETTINGS += [
    ("an array of one", lambda: lcam_optax.epoch_mean(jnp.array([3])), no_scalar("steps_per_epoch", (1,), "int32")),
    ("one under jit", lambda: jax.jit(lambda n: lcam_optax.ema(n).init())(PAIR), no_scalar("decay", (2,))),
    (
        "a momentum per parameter",
        lambda: bare(initial_momentum=np.ones(3)),
        no_scalar("initial_momentum", (3,), "float64"),
    ),
    ("a string", lambda: lcam_optax.epoch_mean("391"), no_number("steps_per_epoch", "391")),
    ("nothing", lambda: lcam_optax.ema(None), no_number("decay", None)),
    ("a list", lambda: lcam(initial_momentum=[0.9]), no_number("initial_momentum", [0.9])),
    ("a complex number", lambda: contrib.yamadam(1e-6j), no_number("eps", 1e-6j)),
    (
        "a function where no schedule is read",
        lambda: lcam_optax.epoch_mean(len),
        no_number("steps_per_epoch", len),
    ),
    (
        "a schedule of pairs",
        lambda: states(lcam_optax.lcam(0.1, lcam_optax.epoch_mean(3), lambda step: PAIR, 0.9), [1.0]),
        ValueError("momentum_below must return a scalar at each step, got an array of shape (2,)."),
    ),
    ("an optimizer as phase", lambda: lcam(optax.sgd(0.1)), no_phase()),
    ("a number as phase", lambda: lcam(391), no_phase(391)),
    ("a number as optimizer", lambda: lcam_optax.accumulate(0.1, 2), no_optimizer("0.1")),
    ("the function as optimizer", lambda: contrib.extragradient(optax.sgd), no_optimizer()),
    ("the function as phase", lambda: lcam(lcam_optax.epoch_mean), no_phase()),
    (
        "an optimizer as a controlled phase",
        lambda: lcam_optax.loss_controlled(optax.sgd(0.1), 0.5, 0.9, initial=0.5),
        no_phase(),
    ),
    (
        "a scalar array as k",
        lambda: [
            bool(lcam_optax.accumulate(lcam(), jnp.array(2)).has_updated(state))
            for state in states(lcam_optax.accumulate(lcam(), jnp.array(2)), [1.0, 1.0])
        ],
        [False, True],
    ),
]


def no_seed(got):
    return ValueError(
        "seed must be an int, a scalar integer array or a key such as jax.random.key(0), which jax.random.PRNGKey(0) "
        f"is not, got {got}."
    )


def draws(seed):
    phase = lcam_optax.random_phase(0.5, seed)
    return jax.lax.scan(lambda s, _: phase.update(jnp.float32(1), s)[::-1], phase.init(), length=64)[1]


SEEDS = [
    ("a key draws as its int", lambda: draws(jax.random.key(7)), lambda: draws(7)),
    ("a key of another kind too", lambda: draws(jax.random.key(7, impl="rbg")), lambda: draws(7)),
    ("a traced key", lambda: jax.jit(draws)(jax.random.key(7)), lambda: draws(7)),
    (
        "a vmap over keys",
        lambda: jax.vmap(draws)(jax.vmap(jax.random.key)(jnp.arange(2))),
        lambda: jnp.stack([draws(0), draws(1)]),
    ),
    ("keys that were split", lambda: (draws(jax.random.split(jax.random.key(0))[0]) == draws(0)).all(), False),
    ("lrsgd", lambda: optax.tree.get(contrib.lrsgd(0.1, seed=jax.random.key(5)).init(ONES), "lrsgd_seed"), 5),
    ("salp_swarm_sgd", lambda: contrib.salp_swarm_sgd(**SALPS, seed=jax.random.key(5)).init(ONES).salp_seed, 5),
    (
        "a legacy key",
        lambda: lcam_optax.random_phase(0.5, jax.random.PRNGKey(0)),
        no_seed("an array of shape (2,) and dtype uint32"),
    ),
    ("a float", lambda: contrib.lrsgd(0.1, seed=1.5), no_seed("1.5")),
    (
        "keys",
        lambda: lcam_optax.random_phase(0.5, jax.random.split(jax.random.key(0))),
        no_seed("an array of shape (2,)..."),
    ),
    (
        "a float array",
        lambda: contrib.salp_swarm_sgd(**SALPS, seed=jnp.ones(())),
        no_seed("an array of shape () and dtype float32"),
    ),
]

# 16. `inject_hyperparams`.


def injected(static_args=(), hyperparam_dtype=None, **settings):
    factory = optax.inject_hyperparams(lcam_optax.lcam, static_args, hyperparam_dtype)
    return factory(
        **{"learning_rate": 1.0, "phase": lcam_optax.epoch_mean(3), "momentum_below": 0.9, "momentum_above": 0.999}
        | settings
    )


def vectors(params):
    return jax.tree.map(lambda x: x.ndim == 1, params)


def decayed(**settings):
    tx = injected(weight_decay=0.5, weight_decay_mask=vectors, **settings)
    return tx.update(0 * ONES, tx.init(ONES), ONES, value=1.0)[0]


def next_momentum(dtype=jnp.bfloat16, **settings):
    return lcam_optax.read_phase(states(injected(**settings), [1.0], ONES.astype(dtype))[-1]).momentum


def trace_dtype(**settings):
    return optax.tree.get(injected(**settings).init(ONES.astype(jnp.bfloat16)), "trace").dtype == jnp.float32


def traces_in_bfloat16(tx, name, steps=3):
    """The trace after gradients of one."""
    params = jnp.ones(1, jnp.bfloat16)
    return np.float32(optax.tree.get(states(tx, [1.0] * steps, params)[-1], name)[0])


def rounded_once(momentum, steps=3):
    trace = jnp.bfloat16(0)
    for _ in range(steps):
        trace = (jnp.float32(momentum) * trace.astype(jnp.float32) + 1).astype(jnp.bfloat16)
    return np.float32(trace)


INJECT = [
    ("a mask is called as a schedule", decayed, np.zeros(2)),
    ("a static mask", lambda: decayed(static_args="weight_decay_mask"), np.full(2, -0.5)),
    (
        "a static dtype of the trace",
        lambda: trace_dtype(accumulator_dtype=jnp.float32, static_args="accumulator_dtype"),
        True,
    ),
    ("the name of a dtype", lambda: trace_dtype(accumulator_dtype="float32"), True),
    ("bfloat16 rounds", next_momentum, 1.0),
    ("hyperparam_dtype", lambda: next_momentum(hyperparam_dtype=jnp.float32), np.float32(0.999)),
    ("a float32 number", lambda: next_momentum(momentum_above=jnp.float32(0.999)), np.float32(0.999)),
    ("complex parameters", lambda: next_momentum(jnp.complex64), np.float32(0.999)),
    (
        "no bfloat16 momentum in the update",
        lambda: traces_in_bfloat16(
            lcam_optax.lcam(0.1, lcam_optax.epoch_mean(9), 0.7, 0.7, initial_momentum=0.7), "trace", 9
        ),
        rounded_once(0.7, 9),
    ),
    (
        "nor in that of lrsgd",
        lambda: traces_in_bfloat16(contrib.lrsgd(0.0, momentum=0.7, weight_decay=0.0), "trace", 9),
        rounded_once(0.7, 9),
    ),
]

# 17. Numbers, restored states, leaves, functions.


def phase_means(phase, losses):
    state, means = phase.init(), []
    for loss in losses:
        _, state = phase.update(jnp.float32(loss), state)
        means.append(state.loss_mean)
    return np.stack(means)


def recovers(phase):
    """Whether the mean is finite after far-off losses and near those that follow."""
    far = phase_means(phase, [2e38, -2e38, 3e38, -3e38, *[1.0] * 60])
    return bool(np.isfinite(far).all() and far[-1] == 1)


def accumulated_mean(*losses):
    tx = lcam_optax.accumulate(lcam(), len(losses))
    return lcam_optax.read_phase(states(tx, losses)[-1]).loss_mean


OVERFLOW = [
    ("epoch_mean", lambda: recovers(lcam_optax.epoch_mean(4)), True),
    (
        "epoch_mean within the epoch",
        lambda: np.isfinite(phase_means(lcam_optax.epoch_mean(9), [2e38, -2e38, 1.0])).all(),
        True,
    ),
    ("ema", lambda: recovers(lcam_optax.ema(0.1)), True),
    ("ema without a memory", lambda: recovers(lcam_optax.ema(0.0)), True),
    ("window", lambda: recovers(lcam_optax.window(4)), True),
    ("accumulate", lambda: np.isfinite(accumulated_mean(2e38, -2e38, 1.0)), True),
    ("accumulate and a loss that is not finite", lambda: accumulated_mean(2.0, np.inf, 1.0), 0.0),
]


def without_nans(work):
    with jax.debug_nans(True):
        return work()


NANS = [
    ("information", lambda: without_nans(lambda: rate_after(0.5, 0.5)), 0.055),
    (
        "reading a random phase",
        lambda: without_nans(lambda: lcam_optax.read_phase(lcam(lcam_optax.random_phase(0.5, 0)).init(ONES)).loss_mean),
        None,
    ),
    (
        "reading it under jit",
        lambda: without_nans(
            lambda: jax.jit(lcam_optax.read_phase)(lcam(lcam_optax.random_phase(0.5, 0)).init(ONES)).momentum
        ),
        np.float32(0.9),
    ),
]


def restored(how):
    """Two steps of YamAdam, eagerly, of which the second starts from a state that was saved."""
    tx = contrib.yamadam()
    (state,) = states(tx, [1.0], jnp.array([0.3, -0.7]))
    ways = {
        "not": lambda: state,
        "flax": lambda: serialization.from_bytes(tx.init(ONES), serialization.to_bytes(state)),
        "pickle": lambda: pickle.loads(pickle.dumps(jax.device_get(state))),
    }
    return update(tx, ways[how](), jnp.array([0.3, -0.7]))


RESTORED = [
    ("flax.serialization", lambda: restored("flax"), lambda: restored("not")),
    ("pickle", lambda: restored("pickle"), lambda: restored("not")),
]


def of_a_complex_number(make):
    return lambda: make().init({"w": jnp.ones(2), "b": jnp.ones((), jnp.complex64)})


def no_real(caller):
    return ValueError(f"{caller} needs real parameters, got complex64 at params['b'].")


def field_at_complex(make):
    return lambda: make(lambda p: p)({"b": jnp.ones((), jnp.complex64)})


COMPLEX = [
    ("salp_swarm_sgd", of_a_complex_number(lambda: contrib.salp_swarm_sgd(**SALPS)), no_real("salp_swarm_sgd")),
    ("yamadam", of_a_complex_number(contrib.yamadam), no_real("yamadam")),
    ("consensus_gradient", field_at_complex(contrib.consensus_gradient), no_real("consensus_gradient")),
    ("symplectic_gradient", field_at_complex(contrib.symplectic_gradient), no_real("symplectic_gradient")),
]


def no_tree(function, got):
    return ValueError(
        f"{function} must return one tree like the parameters, and no loss beside it: expected "
        f"ShapeDtypeStruct(shape=(2,), dtype=float32), got {got}."
    )


def extragradient(grad_fn):
    return lambda: update(contrib.extragradient(optax.sgd(0.1)), grad_fn=grad_fn)


FUNCTIONS = [
    (
        "value_and_grad",
        extragradient(jax.value_and_grad(jnp.sum)),
        no_tree("grad_fn", "(ShapeDtypeStruct(shape=(), ..."),
    ),
    ("the loss", extragradient(jnp.sum), no_tree("grad_fn", "ShapeDtypeStruct(shape=(), dtype=float32)")),
    ("nothing", extragradient(lambda p: None), no_tree("grad_fn", "None")),
    (
        "another shape",
        lambda: contrib.consensus_gradient(lambda p: p[:1])(ONES),
        no_tree("field_fn", "ShapeDtypeStruct(shape=(1,), dtype=float32)"),
    ),
    (
        "a loss beside the field",
        lambda: contrib.consensus_gradient(lambda p: (p.sum(), p))(ONES),
        no_tree("field_fn", "(ShapeDtypeStruct(shape=(), ..."),
    ),
    (
        "another dtype",
        lambda: contrib.symplectic_gradient(lambda p: p.astype(jnp.bfloat16))(ONES),
        no_tree("field_fn", "ShapeDtypeStruct(shape=(2,), dtype=bfloat16)"),
    ),
]


def has_updated(**settings):
    tx = lcam_optax.accumulate(lcam(), 2, **settings)
    return [bool(tx.has_updated(state)) for state in (tx.init(ONES), *states(tx, [1.0] * 5))]


OTHERS = [
    ("has_updated", has_updated, [False, False, True, False, True, False]),
    (
        "has_updated of a schedule of k",
        lambda: bool(
            lcam_optax.accumulate(lcam(), lambda n: 1 + 0 * n).has_updated(
                states(lcam_optax.accumulate(lcam(), lambda n: 1 + 0 * n), [1.0])[-1]
            )
        ),
        True,
    ),
]

# The state of another optimizer.


def foreign(name):
    return TypeError(
        f"LCAM was given a state that is not its own: expected ScaleByLcamState, got {name}. Make one by "
        "tx.init(params), and restore a saved one into that. To go on from optax.sgd, carry its momentum buffer over: "
        'state = optax.tree.set(tx.init(params), trace=optax.tree.get(sgd_state, "trace")), and with a schedule of the '
        'learning rate its count likewise, count=optax.tree.get(sgd_state, "count"). If a momentum is a schedule, set '
        "lcam_step to the step."
    )


RATE = optax.linear_schedule(0.1, 0.0, 10)
MOMENTUM = optax.linear_schedule(0.5, 0.9, 10)


def sgd_state(learning_rate=0.1, steps=5):
    tx, state = optax.sgd(learning_rate, momentum=0.9), optax.sgd(learning_rate, momentum=0.9).init(ONES)
    for _ in range(steps):
        _, state = tx.update(ONES, state)
    return state


def carried_over():
    state = optax.tree.set(lcam().init(ONES), trace=optax.tree.get(sgd_state(), "trace"))
    return update(lcam(), state, value=1.0)[0]


def carried_over_with_its_schedule():
    theirs = sgd_state(RATE)
    trace, count = (optax.tree.get(theirs, name) for name in ("trace", "count"))
    state = optax.tree.set(lcam(learning_rate=RATE).init(ONES), trace=trace, count=count)
    return update(lcam(learning_rate=RATE), state, value=1.0)[0]


def carried_over_with_its_momenta():
    tx = lcam_optax.lcam(0.1, lcam_optax.epoch_mean(3), MOMENTUM, MOMENTUM)
    state = optax.tree.set(tx.init(ONES), trace=optax.tree.get(sgd_state(), "trace"), lcam_step=jnp.int32(5))
    return lcam_optax.read_phase(update(tx, state, value=1.0)[1]).momentum


FOREIGN = [
    ("sgd's, given to lcam", lambda: update(lcam(), sgd_state(), value=1.0), foreign("tuple")),
    ("sgd's trace", lambda: update(bare(), sgd_state()[0], value=1.0), foreign("TraceState")),
    ("Adam's", lambda: update(lcam(), optax.adam(0.1).init(ONES), value=1.0), foreign("tuple")),
    (
        "of a chain as long as lcam's",
        lambda: update(
            lcam(), optax.chain(optax.clip(1.0), optax.scale_by_adam(), optax.scale(1.0)).init(ONES), value=1.0
        ),
        foreign("ScaleByAdamState"),
    ),
    ("restored without its classes", lambda: update(lcam(), [{}, {"trace": ONES}, {}], value=1.0), foreign("list")),
    ("carried over", carried_over, lambda: optax.sgd(0.1, momentum=0.9).update(ONES, sgd_state())[0]),
    (
        "carried over with a schedule",
        carried_over_with_its_schedule,
        lambda: optax.sgd(RATE, momentum=0.9).update(ONES, sgd_state(RATE))[0],
    ),
    ("carried over with a schedule of the momenta", carried_over_with_its_momenta, lambda: MOMENTUM(6)),
]

ROWS = [
    Row(kind, *row)
    for kind, rows in {
        "information": INFORMATION,
        "extra arguments": EXTRA,
        "wrappers": WRAPPERS,
        "reading": READ,
        "settings": SETTINGS,
        "seeds": SEEDS,
        "inject_hyperparams": INJECT,
        "overflow": OVERFLOW,
        "no NaN": NANS,
        "restored": RESTORED,
        "complex": COMPLEX,
        "functions": FUNCTIONS,
        "others": OTHERS,
        "another optimizer's state": FOREIGN,
    }.items()
    for row in rows
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.kind}: {row.case}")
def test_each_case_has_its_right_value(row):
    if isinstance(row.right, Exception):
        with pytest.raises(type(row.right)) as caught:
            row.done()
        pattern = ".*".join(map(re.escape, str(row.right).split("...")))
        assert re.fullmatch(pattern, str(caught.value), re.DOTALL), str(caught.value)
    else:
        right = row.right() if callable(row.right) else row.right
        got = row.done()
        chex.assert_trees_all_close(jax.tree.map(np.asarray, got), jax.tree.map(np.asarray, right), rtol=1e-6)


def test_each_row_is_one_of_its_own():
    assert len({(row.kind, row.case) for row in ROWS}) == len(ROWS)


PARAMS = {"w": jnp.array([0.1, 1.1, 2.1]), "b": jnp.float32(0.3)}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_state_of_numpy_continues_bit_for_bit_and_no_nan_is_on_the_way(name):
    tx = OPTIMIZERS[name].make()
    with jax.debug_nans(True):
        params, state = complete.step(tx, complete.squares, PARAMS, tx.init(PARAMS))
        expected = complete.step(tx, complete.squares, params, state)
        again = complete.step(tx, complete.squares, params, jax.device_get(state))
    chex.assert_trees_all_equal(again, expected)
    chex.assert_trees_all_equal_dtypes(again, expected)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_leaves_that_optax_sgd_takes_are_taken_without_a_warning(name):
    tx = OPTIMIZERS[name].make()
    arguments = complete.extra_args(complete.squares, 1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for params, grads in (({"w": 1.0}, {"w": 0.5}), ({"w": np.ones(())}, {"w": np.full((), 0.5)})):
            updates, state = tx.update(grads, tx.init(params), params, **arguments)
            updates, _ = tx.update(grads, state, optax.apply_updates(params, updates), **arguments)
            assert updates["w"].dtype == jnp.float32


def test_a_program_that_takes_the_state_is_exported_as_the_docstring_of_lcam_says():
    pytest.importorskip("flatbuffers")  # without it JAX exports, but does not serialize
    for kind in (lcam_optax.ScaleByLcamState, lcam_optax.EpochMeanState, optax.EmptyState):
        jax.export.register_namedtuple_serialization(kind, serialized_name=f"{kind.__module__}.{kind.__name__}")
    tx = lcam()
    state = tx.init(ONES)
    step = jax.jit(lambda state, value: tx.update(ONES, state, ONES, value=value))
    serialized = jax.export.export(step)(state, jnp.float32(2)).serialize()
    again = jax.export.deserialize(serialized).call(state, jnp.float32(2))
    chex.assert_trees_all_equal(again, step(state, jnp.float32(2)))


def test_a_new_epoch_compiles_nothing_and_takes_states_of_several_seeds():
    tx = lcam()
    (state,) = states(tx, [1.0])
    step = jax.jit(lambda state: tx.update(ONES, state, ONES, value=jnp.float32(2.0))[1])
    step(new_epoch(step(state)))
    assert step._cache_size() == 1
    several = jax.tree.map(lambda x: jnp.stack([x, x]), state)
    jax.vmap(step)(new_epoch(several))


@pytest.mark.parametrize("value", [1 - 1e-9, 0.99999999])
def test_a_number_that_float32_rounds_to_one_is_called_so(value):
    with pytest.raises(ValueError, match=rf"in \[0, 1\), got {value}, which float32 rounds to 1\."):
        lcam_optax.ema(value)
    with pytest.raises(ValueError, match=r"in \[0, 1\), got 1\.5\.$"):
        lcam_optax.ema(1.5)


@pytest.mark.parametrize("make", [np.array, jnp.array])
@pytest.mark.parametrize("number", [0, 2.7])
def test_known_arrays_are_whole_numbers_too(make, number):
    for refused in (lcam_optax.window, lcam_optax.epoch_mean, lambda n: contrib.delayed_feedback(0.1, n)):
        with pytest.raises(ValueError, match=r"must be a whole number of at least 1"):
            refused(make(number))
