"""Locally adaptive activations: slopes that are trained with the weights, and the loss term that raises them."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx


class Slope(nnx.Param):
    """The slopes of an `AdaptiveActivation`: a kind of parameter that `is_slope` recognises."""


class AdaptiveActivation(nnx.Module):
    r"""An activation with trained slopes, one per layer (L-LAAF) or one per neuron (N-LAAF).

    .. math::

      y_i = \sigma(n \, a_i \, x_i), \qquad a_i = 1 / n \text{ at the start}

    The fixed scale :math:`n \ge 1` speeds up the slopes: a step of :math:`a` changes the argument by :math:`n` times as
    much. For every :math:`n`, training starts from the plain activation. The final linear layer of a network has no
    activation.

    In a ReLU, which is positively homogeneous, a positive slope is only a gain: :math:`\sigma(n a x) = n a \,
    \sigma(x)`. If a convolution and batch norm follow, the gain of an L-LAAF has no effect in training: batch norm
    divides it out again (up to its epsilon), in the output and in the gradients of the weights. The slope's own
    gradient is then zero, except for slope recovery. Before any other layer, that layer's weights could absorb the
    gain, so it changes the path of training but not the functions that can be learned. The gains of an N-LAAF differ
    from pixel to pixel, which no convolution can imitate. A ReLU whose slope reaches zero is dead until slope recovery
    raises it. Below zero it passes the negative half.

    The authors' pre-activation residual network omits the factor :math:`n`, so its activations start from
    :math:`\sigma(x / n)`. Their other programs, the paper and this code include it.

    Args:
      fn: The activation :math:`\sigma`, elementwise. It is static, a part of the graph definition.
      scale: :math:`n`, a finite number of at least 1. The authors use 10 for functions of one variable, and 1 or 2 for
        images. Above some value, which depends on the problem, training becomes sensitive.
      shape: The shape of the slopes, and of the last axes of the inputs. `()` is the L-LAAF. `(H, W, C)`, one slope per
        pixel and channel, is the authors' N-LAAF in a convolutional network. `(C,)` is the N-LAAF in a dense layer.

    Raises:
      ValueError: If `scale` is out of its range; from a call, if the inputs do not end in `shape`.

    Examples:
      >>> import jax.numpy as jnp
      >>> from models import AdaptiveActivation
      >>> activation = AdaptiveActivation(jnp.tanh, 10.0, (3,))
      >>> activation.slope[...]
      Array([0.1, 0.1, 0.1], dtype=float32)
      >>> activation(jnp.array([[0.0, 0.5, 1.0]])) == jnp.tanh(jnp.array([0.0, 0.5, 1.0]))
      Array([[ True,  True,  True]], dtype=bool)

    References:
      Jagtap, Kawaguchi, Karniadakis, Locally adaptive activation functions with slope recovery for deep and
      physics-informed neural networks, Proc. R. Soc. A 476:20200334, 2020; the authors' programs at github
      AmeyaJagtap/Locally-Adaptive-Activation-Functions-Neural-Networks-.
    """

    def __init__(self, fn: Callable[[jax.Array], jax.Array], scale: float, shape: tuple[int, ...]):
        if not 1 <= scale < math.inf:
            raise ValueError(f"scale must be a finite number of at least 1, got {scale}.")
        self.fn = fn
        self.scale = float(scale)
        self.slope = Slope(jnp.full(shape, 1 / scale, jnp.float32))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map floating [..., *shape] to the same shape and dtype."""
        shape = self.slope.shape
        if x.shape[x.ndim - len(shape) :] != shape:
            raise ValueError(
                f"The slopes have shape {shape} and the inputs {x.shape}, which should end in it; "
                "make the activation for inputs of this shape (of a network: for images of this size)."
            )
        # The gradient of a slope is a sum over a layer, for which the eight bits of bfloat16 are too few.
        precise = x.dtype if x.dtype.itemsize > 4 else jnp.float32
        slope = self.scale * self.slope[...].astype(precise)
        return self.fn((slope * x.astype(precise)).astype(x.dtype))


def slope_recovery(module: nnx.Module) -> jax.Array:
    r"""Slope recovery, a term of the loss of an adaptive network: the higher the slopes, the lower the term.

    .. math::

      S(a) = \left( \frac{1}{K} \sum_{k=1}^K \exp\left( \frac{1}{N_k} \sum_{i=1}^{N_k} a^k_i \right) \right)^{-1}

    over the :math:`K` adaptive layers, which in the paper are the :math:`D - 1` hidden ones; :math:`N_k` is the number
    of slopes in layer :math:`k`. The authors train on `loss + slope_recovery(module)`, with a weight of 1. :math:`S`
    decreases in each slope, so its gradient step raises all slopes.

    The authors' program for functions of one variable omits the :math:`1 / K`, which makes its :math:`S` smaller by
    that factor. The paper, their program for images and this code include it.

    Args:
      module: A network with at least one `AdaptiveActivation`. An activation that is used in several places counts
        once.

    Returns:
      shape=(), float32; `exp(-1 / n)` at the start.

    Raises:
      ValueError: If the module has no `AdaptiveActivation`.

    References:
      As for `AdaptiveActivation`.
    """
    layers = [part for _, part in nnx.iter_modules(module) if isinstance(part, AdaptiveActivation)]
    if not layers:
        raise ValueError(
            f"{type(module).__name__} has no AdaptiveActivation, so there are no slopes to recover; "
            'give it some (a WideResNet: activation="l-laaf") or leave slope recovery out of the loss.'
        )
    means = jnp.stack([jnp.mean(layer.slope[...].astype(jnp.float32)) for layer in layers])
    return 1 / jnp.mean(jnp.exp(means))


def is_slope(params: nnx.State) -> nnx.State:
    """Return a mask for Optax that selects the slopes.

    Weight decay would pull the slopes towards zero, where a ReLU is dead. The authors do not apply it.

    Args:
      params: Parameters, gradients or updates of a network, as `nnx.split` or `nnx.state` return them. Only the kinds
        of the variables matter, so the values may be traced, or only shapes.

    Returns:
      The structure of `params` with a Python bool for each array: True for slopes.

    Raises:
      ValueError: If there are arrays outside of any `nnx.Variable`.

    Examples:
      >>> import operator, jax, optax
      >>> from flax import nnx
      >>> from models import WideResNet, is_slope
      >>> params = nnx.state(WideResNet(10, 1, 3, activation="l-laaf", rngs=nnx.Rngs(0)), nnx.Param)
      >>> tx = optax.add_decayed_weights(5e-4, mask=lambda params: jax.tree.map(operator.not_, is_slope(params)))
      >>> updates, _ = tx.update(jax.tree.map(jax.numpy.zeros_like, params), tx.init(params), params)
      >>> print(updates["activation"]["slope"][...], updates["norm"]["scale"][0])
      0.0 0.0005
    """

    def mark(path: jax.tree_util.KeyPath, leaf: object) -> object:
        if not isinstance(leaf, nnx.Variable):
            raise ValueError(
                f"{jax.tree_util.keystr(path)} is a bare {type(leaf).__name__}, from which nobody can tell whether it "
                "is a slope; pass the state as nnx.split or nnx.state return it, not through nnx.as_pure."
            )
        return jax.tree.map(lambda _: isinstance(leaf, Slope), leaf)

    return jax.tree.map_with_path(mark, params, is_leaf=lambda x: isinstance(x, nnx.Variable))
