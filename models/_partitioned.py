"""Partitioned training of the Wide ResNet: one part at a time, each with a proxy head."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from models._groups import NUM_GROUPS, group_channels, pooled_features, run_group
from models._wide_resnet import WideResNet, _linear, _norm


class PartitionedWideResNet(nnx.Module):
    r"""A `WideResNet` that is trained partition by partition, without an end-to-end backward pass.

    The partitions are the stem with group 1; group 2; and group 3 with the last batch norm and the linear layer. Each
    of the first two has a proxy head like the network's own: batch norm, ReLU, global average pooling and a linear
    layer. With the body :math:`f_k` and the head :math:`h_k` of partition :math:`k`, stage :math:`k = 0, 1, 2`
    minimises the cross-entropy of

    .. math::

      h_k(f_k(\mathrm{sg}(f_{k-1}(\dots f_0(\text{images})))))

    only in the parameters of :math:`f_k` and :math:`h_k`, where sg stops gradients. Earlier partitions are frozen and
    use their running batch statistics. Later partitions are not computed. The proxies are discarded in the end. A last
    stage can train the whole network end to end, with an ordinary call.

    Bidart and Wong report in their abstract "a partitioned training strategy, where proxy layers are connected to
    different partitions" to train each "to convergence". Their text was not available. Everything else above is our
    interpretation: the partitions, the form of the proxies, the order, what is frozen and in which mode.

    The state contains only `nnx.Param` and `nnx.BatchStat`. `network` starts like a `WideResNet` with the same `rngs`.

    Args:
      depth: As for `WideResNet`.
      width: As for `WideResNet`.
      num_classes: As for `WideResNet`.
      in_channels: As for `WideResNet`.
      dtype: Of activations and matrix products; parameters, batch statistics, the linear layers and logits are float32.
      rngs: Source of the initial parameters (stream `params`).

    Raises:
      ValueError: If `WideResNet` refuses an argument.

    References:
      Bidart and Wong, MonolithNet: Training monolithic deep neural networks via a partitioned training strategy,
      Journal of Computational Vision and Imaging Systems, 2018.
    """

    num_partitions = NUM_GROUPS

    def __init__(
        self,
        depth: int,
        width: int,
        num_classes: int,
        *,
        in_channels: int = 3,
        dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.network = WideResNet(depth, width, num_classes, in_channels=in_channels, dtype=dtype, rngs=rngs)
        behind_groups = group_channels(width)[1:]
        self.proxies = nnx.List([_ProxyHead(c, num_classes, dtype, rngs) for c in behind_groups[:-1]])

    def __call__(self, images: jax.Array, *, mask: jax.Array | None = None) -> jax.Array:
        """Compute the logits of the whole network, as `WideResNet` does; float32, [N, num_classes]."""
        return self.network(images, mask=mask)

    def partition_logits(self, images: jax.Array, partition: int, *, mask: jax.Array | None = None) -> jax.Array:
        """Compute the logits of one partition's head.

        The partition and its head are in the mode of the module. After `eval()`, use these logits to test the stage.
        The logits of the last partition are those of the whole network. Earlier partitions are always in evaluation
        mode, and gradients stop after them.

        Args:
          images: Floating, [N, H, W, C]; H and W at least 4.
          partition: 0, 1 or 2; static.
          mask: Boolean, [N]: False marks padding, which the batch statistics exclude. None means all True.

        Returns:
          float32, [N, num_classes].

        Raises:
          ValueError: If there is no such partition, or its number is traced.
        """
        if not isinstance(partition, int) or not 0 <= partition < self.num_partitions:
            raise ValueError(
                f"partition must be a Python int, 0 to {self.num_partitions - 1}, for what is computed depends on it; "
                f"got {partition!r}."
            )
        # A view shares the variables but has its own mode.
        frozen = nnx.view(self.network, use_running_average=True)
        x = images
        for earlier in range(partition):
            x = _run_partition(frozen, earlier, x, None)
        x = _run_partition(self.network, partition, jax.lax.stop_gradient(x), mask)
        if partition < len(self.proxies):
            return self.proxies[partition](x, mask)
        return self.network.linear(pooled_features(self.network.norm, x, mask))


def partition_of(params: nnx.State) -> nnx.State:
    """Label each parameter of a `PartitionedWideResNet` with its partition, for `optax.partition`.

    A gradient of zero does not freeze a parameter: weight decay and momentum still move it. To freeze the other
    partitions, set the updates of their labels to zero.

    Args:
      params: Parameters, gradients or updates of the network, as `nnx.split` or `nnx.state` return them. Only the names
        matter.

    Returns:
      The structure of `params` with 0, 1 or 2 for each array. A proxy head has the number of its partition.

    Examples:
      >>> import jax, optax
      >>> from flax import nnx
      >>> from models import PartitionedWideResNet, partition_of
      >>> params = nnx.state(PartitionedWideResNet(10, 1, 3, rngs=nnx.Rngs(0)), nnx.Param)
      >>> stage = 1
      >>> rules = {k: optax.sgd(0.1) if k == stage else optax.set_to_zero() for k in range(3)}
      >>> tx = optax.partition(rules, partition_of)
      >>> updates, _ = tx.update(jax.tree.map(jax.numpy.ones_like, params), tx.init(params), params)
      >>> print(*(updates["network"]["blocks"][k]["norm1"]["scale"][0] for k in range(3)))
      0.0 -0.1 0.0
    """
    blocks_per_partition = len(params["network"]["blocks"]) // NUM_GROUPS

    def label(path: Any, _: object) -> int:
        branch, part, index = (entry.key for entry in path[:3])
        if branch == "proxies":
            return part
        if part == "blocks":
            return index // blocks_per_partition
        return 0 if part == "stem" else NUM_GROUPS - 1

    return jax.tree.map_with_path(label, params)


class _ProxyHead(nnx.Module):
    """The head of a `WideResNet`, for the features after an earlier group."""

    def __init__(self, channels: int, num_classes: int, dtype: Any, rngs: nnx.Rngs):
        self.norm = _norm(channels, dtype, rngs)
        self.linear = _linear(channels, num_classes, rngs)

    def __call__(self, x: jax.Array, mask: jax.Array | None) -> jax.Array:
        """Map [N, H, W, channels] to float32 logits [N, num_classes]."""
        return self.linear(pooled_features(self.norm, x, mask))


def _run_partition(network: WideResNet, partition: int, x: jax.Array, mask: jax.Array | None) -> jax.Array:
    """Pass the images, or the output of the previous partition, through one partition without its head."""
    if partition == 0:
        x = network.stem(x.astype(network.dtype))
    return run_group(network.blocks, partition, x, mask)
