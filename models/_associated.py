"""Associated Learning of the Wide ResNet: a loss for each component, and no backward pass from end to end."""

from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from models._groups import group_channels, pooled_features, run_group
from models._wide_resnet import WideResNet, _norm

_HIDDEN_FACTOR = 5  # units of a bridge's hidden layer for each of its outputs


class AssociatedWideResNet(nnx.Module):
    r"""A `WideResNet` trained by Associated Learning, in :math:`L = 4` components: the stem and the three groups.

    The one-hot label :math:`y = t_{-1}` is encoded once for each component, and each code decoded again; each
    component's output :math:`x_i` is led over a bridge to the code :math:`t_i`, of `target_width` :math:`M` units:

    .. math::

      t_i &= \sigma(V_i \, \mathrm{sg}(t_{i-1}) + c_i), \qquad r_i = \sigma(U_i t_i + d_i) \\
      x_i &= f_i(\mathrm{sg}(x_{i-1})), \qquad
      b_i = \sigma(B'_i \, \sigma(B_i \, p(x_i) + e_i) + e'_i) \\
      L^{as}_i &= \mathrm{MSE}(b_i, \mathrm{sg}(t_i)), \qquad
      L^{ae}_i = \mathrm{MSE}(r_i, \mathrm{sg}(t_{i-1}))

    with the logistic :math:`\sigma`, sg the stop of gradients, a hidden layer of :math:`5 M` units in the bridge, and
    the mean of squares over rows and units. No two losses share a parameter, so that the gradient of their sum is
    each one's own. To predict, the last bridge's code is decoded: :math:`z \leftarrow \sigma(U_i z + d_i)` for
    :math:`i = L - 1, \dots, 0`.

    Where it is ours. The authors' residual network is a narrow one that ends each component in an ELU; its bridges read
    :math:`x_i` flattened. For images of 32x32 those of WRN-28-10 would have 0.46 billion weights and dwarf its 36
    million. So :math:`p` is what a `WideResNet` reads its last group by: batch norm, ReLU, global average pooling; that
    leaves the bridges 3.5 million. The last component has the network's own batch norm for it. The others get one that
    stands beside the path: the next component takes the raw :math:`x_i`, as its first block begins with batch norm and
    ReLU. The layers keep `WideResNet`'s ReLU and initialisation; bridges, encoders and decoders have the authors' (He's
    normal one, biases of zero). The authors' L2 term, on the layers' kernels alone, is left to the optimizer: theirs of
    1e-4 is `optax.add_decayed_weights(1e-4)` before Adam, masked.

    The authors give each loss an Adam of its own, batch 32, a rate of 1e-4, and twice the rate for the autoencoders
    (see `associated_labels`). As Adam is elementwise, one for all losses of a rate is the same.

    State is `nnx.Param` and `nnx.BatchStat` alone. The layers start as those of the `WideResNet` of the same `rngs`.

    Args:
      depth: As for `WideResNet`.
      width: As for `WideResNet`.
      num_classes: As for `WideResNet`; the width of the one-hot labels.
      target_width: :math:`M`, at least 1; the authors take 300 for residual networks.
      in_channels: As for `WideResNet`.
      dtype: Of the layers' activations and products; parameters, batch statistics, codes and losses are float32.
      rngs: Source of the initial parameters (stream `params`).

    Raises:
      ValueError: If `target_width` is below 1, or `WideResNet` refuses an argument.

    References:
      Kao and Chen, Associated Learning: Decomposing End-to-End Backpropagation Based on Autoencoders and Target
      Propagation, Neural Computation 33(1), 2021, arXiv 1906.05560; the authors' code at github
      SamYWK/Associated_Learning, which these equations follow.
    """

    def __init__(
        self,
        depth: int,
        width: int,
        num_classes: int,
        *,
        target_width: int = 300,
        in_channels: int = 3,
        dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        if target_width < 1:
            raise ValueError(f"target_width must be at least 1, got {target_width}.")
        # Its linear layer has no part in this; what is not taken over is gone.
        network = WideResNet(depth, width, num_classes, in_channels=in_channels, dtype=dtype, rngs=rngs)
        channels = group_channels(width)
        code_widths = [num_classes, *[target_width] * len(channels)]
        self.num_classes = num_classes
        self.dtype = dtype
        self.stem = network.stem
        self.blocks = network.blocks
        self.norms = nnx.List([*(_norm(c, dtype, rngs) for c in channels[:-1]), network.norm])
        self.bridges = nnx.List([_Bridge(c, target_width, rngs) for c in channels])
        self.encoders = nnx.List([_dense(before, after, rngs) for before, after in pairwise(code_widths)])
        self.decoders = nnx.List([_dense(after, before, rngs) for before, after in pairwise(code_widths)])

    def __call__(self, images: jax.Array, *, mask: jax.Array | None = None) -> jax.Array:
        """Predict: the last bridge, then the decoders from last to first.

        Args:
          images: Floating, [N, H, W, C]; H and W at least 4.
          mask: Boolean, [N]: False marks padding, which then has no part in the batch statistics. None is all True.

        Returns:
          float32, [N, num_classes]: what the decoder of the labels gives before its logistic, which leaves the largest
          where it is; the logistic of each is the estimate of its one-hot entry. No softmax belongs here.
        """
        code = self.bridges[-1](self._features(images, mask)[-1])
        for decoder in reversed(self.decoders[1:]):
            code = nnx.sigmoid(decoder(code))
        return self.decoders[0](code)

    def local_losses(self, images: jax.Array, labels: jax.Array, *, mask: jax.Array | None = None) -> jax.Array:
        """Compute the loss of every component and of every autoencoder; their sum is what to differentiate.

        Args:
          images: Floating, [N, H, W, C]; H and W at least 4.
          labels: Integers, [N], in 0 to num_classes - 1.
          mask: Boolean, [N]: False marks padding, which counts nowhere. None is all True.

        Returns:
          float32, [2 L]: the associated losses from the stem on, then the autoencoders' from the labels on.
        """
        codes = [jax.nn.one_hot(labels, self.num_classes, dtype=jnp.float32)]
        autoencoder = []
        for encoder, decoder in zip(self.encoders, self.decoders, strict=True):
            previous = jax.lax.stop_gradient(codes[-1])
            codes.append(nnx.sigmoid(encoder(previous)))
            autoencoder.append(_mean_squared_error(nnx.sigmoid(decoder(codes[-1])), previous, mask))
        associated = [
            _mean_squared_error(bridge(features), jax.lax.stop_gradient(code), mask)
            for bridge, features, code in zip(self.bridges, self._features(images, mask), codes[1:], strict=True)
        ]
        return jnp.stack(associated + autoencoder)

    def _features(self, images: jax.Array, mask: jax.Array | None) -> list[jax.Array]:
        """Compute what each bridge reads, float32 [N, C_i]; no gradient crosses from one component to another."""
        x = self.stem(images.astype(self.dtype))
        features = [pooled_features(self.norms[0], x, mask)]
        for group, norm in enumerate(self.norms[1:]):
            x = run_group(self.blocks, group, jax.lax.stop_gradient(x), mask)
            features.append(pooled_features(norm, x, mask))
        return features


def associated_labels(params: nnx.State) -> nnx.State:
    """Tell the two kinds of parameters of an `AssociatedWideResNet` apart, as labels for `optax.partition`.

    Args:
      params: Parameters, gradients or updates of the network, as `nnx.split` or `nnx.state` return them; only the
        names in it are looked at.

    Returns:
      The structure of `params` with "autoencoder" in place of each array of the encoders and decoders, and
      "associated" in place of those of the layers, their batch norms and the bridges.

    Examples:
      >>> import optax
      >>> from flax import nnx
      >>> from models import AssociatedWideResNet, associated_labels
      >>> params = nnx.state(AssociatedWideResNet(10, 1, 3, target_width=4, rngs=nnx.Rngs(0)), nnx.Param)
      >>> tx = optax.partition({"associated": optax.adam(0.1), "autoencoder": optax.adam(0.2)}, associated_labels)
      >>> updates, _ = tx.update(params, tx.init(params), params)
      >>> print(abs(updates["norms"][0]["scale"][0]).round(3), abs(updates["decoders"][0]["kernel"][0, 0]).round(3))
      0.1 0.2
    """

    def label(path: Any, _: object) -> str:
        return "autoencoder" if path[0].key in ("encoders", "decoders") else "associated"

    return jax.tree.map_with_path(label, params)


class _Bridge(nnx.Module):
    """Two dense layers, logistic both, from pooled features to a code."""

    def __init__(self, channels: int, target_width: int, rngs: nnx.Rngs):
        self.hidden = _dense(channels, _HIDDEN_FACTOR * target_width, rngs)
        self.output = _dense(_HIDDEN_FACTOR * target_width, target_width, rngs)

    def __call__(self, features: jax.Array) -> jax.Array:
        """Map float32 [N, channels] to float32 [N, target_width]."""
        return nnx.sigmoid(self.output(nnx.sigmoid(self.hidden(features))))


def _dense(inputs: int, outputs: int, rngs: nnx.Rngs) -> nnx.Linear:
    return nnx.Linear(inputs, outputs, kernel_init=nnx.initializers.he_normal(), dtype=jnp.float32, rngs=rngs)


def _mean_squared_error(outputs: jax.Array, targets: jax.Array, mask: jax.Array | None) -> jax.Array:
    """Average over units, then over the rows that count."""
    return jnp.mean(jnp.mean((outputs - targets) ** 2, axis=-1), where=mask)
