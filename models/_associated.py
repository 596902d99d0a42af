"""Associated Learning of the Wide ResNet: one loss per component, and no end-to-end backward pass."""

from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from models._groups import group_channels, pooled_features, run_group
from models._wide_resnet import WideResNet, _norm

_HIDDEN_FACTOR = 5  # hidden units of a bridge per output


class AssociatedWideResNet(nnx.Module):
    r"""A `WideResNet` trained by Associated Learning, in :math:`L = 4` components: the stem and the three groups.

    The one-hot label :math:`y = t_{-1}` is encoded once per component, and each code is decoded again. A bridge maps
    each component's output :math:`x_i` to the code :math:`t_i` of `target_width` :math:`M` units:

    .. math::

      t_i &= \sigma(V_i \, \mathrm{sg}(t_{i-1}) + c_i), \qquad r_i = \sigma(U_i t_i + d_i) \\
      x_i &= f_i(\mathrm{sg}(x_{i-1})), \qquad
      b_i = \sigma(B'_i \, \sigma(B_i \, p(x_i) + e_i) + e'_i) \\
      L^{as}_i &= \mathrm{MSE}(b_i, \mathrm{sg}(t_i)), \qquad
      L^{ae}_i = \mathrm{MSE}(r_i, \mathrm{sg}(t_{i-1}))

    with the logistic :math:`\sigma`, the stop-gradient sg, a hidden layer of :math:`5 M` units in the bridge, and the
    mean of squares over rows and units. No two losses share a parameter, so each parameter gets the gradient of its own
    loss from the gradient of their sum. To predict, the code of the last bridge is decoded:
    :math:`z \leftarrow \sigma(U_i z + d_i)` for :math:`i = L - 1, \dots, 0`.

    What differs from the authors' code: their residual network is narrow and ends each component in an ELU, and its
    bridges read :math:`x_i` flattened. With images of 32x32, such bridges of WRN-28-10 would have 0.46 billion weights,
    compared with 36 million in the network. So :math:`p` is the head of a `WideResNet` without its linear layer: batch
    norm, ReLU, global average pooling. The bridges then have 3.5 million weights. The last component uses the network's
    own batch norm for :math:`p`. Each of the others gets a batch norm that only its bridge uses. The next component
    reads the raw :math:`x_i`, because its first block begins with batch norm and ReLU. The layers keep `WideResNet`'s
    ReLU and initialisation.
    Bridges, encoders and decoders use the authors' initialisation (He's normal distribution, biases of zero). The
    authors' L2 term, only on the kernels of the layers, is left to the optimizer: their 1e-4 is
    `optax.add_decayed_weights(1e-4)` before Adam, masked.

    The authors use one Adam per loss, batches of 32, a rate of 1e-4, and twice the rate for the autoencoders (see
    `associated_labels`). Adam is elementwise, so one Adam for all losses with the same rate is equivalent.

    The state contains only `nnx.Param` and `nnx.BatchStat`. The layers start like those of a `WideResNet` with the same
    `rngs`.

    Args:
      depth: As for `WideResNet`.
      width: As for `WideResNet`.
      num_classes: As for `WideResNet`; the width of the one-hot labels.
      target_width: :math:`M`, at least 1; the authors use 300 for residual networks.
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
        # The linear layer of the `WideResNet` is not used and is dropped here.
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
        """Predict with the last bridge and then the decoders from last to first.

        Args:
          images: Floating, [N, H, W, C]; H and W at least 4.
          mask: Boolean, [N]: False marks padding, which the batch statistics exclude. None means all True.

        Returns:
          float32, [N, num_classes]: the output of the label decoder before its logistic. The logistic does not change
          the argmax. The logistic of each value estimates its one-hot entry. Do not apply a softmax.
        """
        code = self.bridges[-1](self._features(images, mask)[-1])
        for decoder in reversed(self.decoders[1:]):
            code = nnx.sigmoid(decoder(code))
        return self.decoders[0](code)

    def local_losses(self, images: jax.Array, labels: jax.Array, *, mask: jax.Array | None = None) -> jax.Array:
        """Compute the loss of every component and of every autoencoder. Differentiate their sum.

        Args:
          images: Floating, [N, H, W, C]; H and W at least 4.
          labels: Integers, [N], in 0 to num_classes - 1.
          mask: Boolean, [N]: False marks padding, which is ignored. None means all True.

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
        """Compute the input of each bridge, float32 [N, C_i]. No gradient crosses from one component to another."""
        x = self.stem(images.astype(self.dtype))
        features = [pooled_features(self.norms[0], x, mask)]
        for group, norm in enumerate(self.norms[1:]):
            x = run_group(self.blocks, group, jax.lax.stop_gradient(x), mask)
            features.append(pooled_features(norm, x, mask))
        return features


def associated_labels(params: nnx.State) -> nnx.State:
    """Label the two kinds of parameters of an `AssociatedWideResNet` for `optax.partition`.

    Args:
      params: Parameters, gradients or updates of the network, as `nnx.split` or `nnx.state` return them. Only the names
        matter.

    Returns:
      The structure of `params` with "autoencoder" for each array of the encoders and decoders, and "associated" for the
      arrays of the layers, their batch norms and the bridges.

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
    """Two dense layers with logistic activations, from pooled features to a code."""

    def __init__(self, channels: int, target_width: int, rngs: nnx.Rngs):
        self.hidden = _dense(channels, _HIDDEN_FACTOR * target_width, rngs)
        self.output = _dense(_HIDDEN_FACTOR * target_width, target_width, rngs)

    def __call__(self, features: jax.Array) -> jax.Array:
        """Map float32 [N, channels] to float32 [N, target_width]."""
        return nnx.sigmoid(self.output(nnx.sigmoid(self.hidden(features))))


def _dense(inputs: int, outputs: int, rngs: nnx.Rngs) -> nnx.Linear:
    return nnx.Linear(inputs, outputs, kernel_init=nnx.initializers.he_normal(), dtype=jnp.float32, rngs=rngs)


def _mean_squared_error(outputs: jax.Array, targets: jax.Array, mask: jax.Array | None) -> jax.Array:
    """Average over units, then over the rows that are not padding."""
    return jnp.mean(jnp.mean((outputs - targets) ** 2, axis=-1), where=mask)
