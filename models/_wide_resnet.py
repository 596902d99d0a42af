"""The pre-activation Wide ResNet of the LCAM runs, in Flax NNX."""

import math
from collections.abc import Callable
from typing import Any, Literal, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx

from models._adaptive_activation import AdaptiveActivation
from models._conv import conv_general_dilated
from models._groups import over_pixels, pooled_features

_Arrays = TypeVar("_Arrays", bound=tuple[Any, ...])

# Share of the running batch statistics that each step keeps.
BATCH_NORM_MOMENTUM = 0.9

_CONV_INIT = nnx.initializers.variance_scaling(2.0, "fan_out", "normal")


class Block(nnx.Module):
    """Two 3x3 convolutions, each after batch norm and ReLU, with a shortcut around both."""

    # These defaults are on the class, so they are not part of the graph definition. A block of an adaptive network has
    # its own activations.
    activation1: Callable[[jax.Array], jax.Array] = staticmethod(nnx.relu)
    activation2: Callable[[jax.Array], jax.Array] = staticmethod(nnx.relu)

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int,
        *,
        dropout: float,
        dtype: Any,
        rngs: nnx.Rngs,
    ):
        self.stride = stride
        self.norm1 = _norm(in_channels, dtype, rngs)
        self.conv1 = _conv(in_channels, channels, 3, stride, dtype, rngs)
        self.norm2 = _norm(channels, dtype, rngs)
        self.conv2 = _conv(channels, channels, 3, 1, dtype, rngs)
        widens = stride != 1 or in_channels != channels
        self.shortcut = _conv(in_channels, channels, 1, stride, dtype, rngs) if widens else None
        self.dropout = nnx.Dropout(dropout) if dropout else None

    def __call__(self, x: jax.Array, mask: jax.Array | None, key: jax.Array | None) -> jax.Array:
        """Map [N, H, W, C] to [N, H / stride, W / stride, channels]."""
        y = self.activation1(self.norm1(x, mask=mask))
        # If the width changes, batch norm and ReLU come before both branches.
        shortcut = x if self.shortcut is None else self.shortcut(y)
        y = self.activation2(self.norm2(self.conv1(y), mask=mask))
        if self.dropout is not None:
            y = self.dropout(y, rngs=key)
        return shortcut + self.conv2(y)


class WideResNet(nnx.Module):
    """WRN-depth-width, the network of the LCAM paper.

    A 3x3 stem with 16 channels, three groups of `(depth - 4) / 6` pre-activation blocks with 16, 32 and 64 times
    `width` channels and strides 1, 2 and 2, batch norm, ReLU, global average pooling and a linear layer. Convolutions
    start from Kaiming's normal distribution (fan out, gain of ReLU) and have no bias. The linear layer starts from
    uniform(+-1/sqrt(fan in)) and a bias of zero.

    The state contains only `nnx.Param` and `nnx.BatchStat`, also with dropout: its key is an argument.

    Each ReLU (two per block, and the last) can be an `AdaptiveActivation`, after batch norm, as in the pre-activation
    network of that method's authors. We make every one of them adaptive; that is our interpretation. The network starts
    like the ReLU network with the same `rngs`. WRN-28-10 has 25 slopes with L-LAAF, and 2,310,144 with N-LAAF for
    images of 32x32. With L-LAAF, the first slope of each block with a plain shortcut, 9 of the 25, has no effect in
    training: only a convolution and its batch norm read that layer.

    Args:
      depth: 6n + 4 with n >= 1, such as 10, 16, 28.
      width: Factor of the channels, at least 1.
      num_classes: At least 2.
      in_channels: Channels of the images.
      dropout: Rate between the two convolutions of a block, in [0, 1).
      dtype: Of activations and matrix products; parameters, batch statistics and logits are float32.
      activation: "relu"; "l-laaf", adaptive with one slope per layer; or "n-laaf", with one slope per pixel and
        channel.
      activation_scale: The fixed factor n of adaptive activations, at least 1.
      image_size: Height and width of the images, at least 4; needed by "n-laaf", which accepts only this size.
      rngs: Source of the initial parameters (stream `params`).

    Raises:
      ValueError: If an argument is out of its range above.

    References:
      Zagoruyko and Komodakis 2016, arXiv 1605.07146; parameters and details as in the LCAM authors' scripts.
    """

    activation: Callable[[jax.Array], jax.Array] = staticmethod(nnx.relu)

    def __init__(
        self,
        depth: int,
        width: int,
        num_classes: int,
        *,
        in_channels: int = 3,
        dropout: float = 0.0,
        dtype: Any = jnp.float32,
        activation: Literal["relu", "l-laaf", "n-laaf"] = "relu",
        activation_scale: float = 1.0,
        image_size: tuple[int, int] | None = None,
        rngs: nnx.Rngs,
    ):
        _check(depth, width, num_classes, in_channels, dropout, activation, activation_scale, image_size)
        self.dtype = dtype
        self.stem = _conv(in_channels, 16, 3, 1, dtype, rngs)
        blocks = []
        channels = 16
        for group, stride in enumerate((1, 2, 2)):
            for index in range((depth - 4) // 6):
                wider = 16 * 2**group * width
                step = stride if index == 0 else 1
                blocks.append(Block(channels, wider, step, dropout=dropout, dtype=dtype, rngs=rngs))
                channels = wider
        self.blocks = nnx.List(blocks)
        self.norm = _norm(channels, dtype, rngs)
        self.linear = _linear(channels, num_classes, rngs)
        if activation != "relu":
            _make_adaptive(self, activation_scale, image_size if activation == "n-laaf" else None)

    def __call__(
        self,
        images: jax.Array,
        *,
        mask: jax.Array | None = None,
        dropout_key: jax.Array | None = None,
    ) -> jax.Array:
        """Compute logits.

        Args:
          images: Floating, [N, H, W, C]; H and W at least 4.
          mask: Boolean, [N]: False marks padding, which the batch statistics exclude. None means all True.
          dropout_key: A PRNG key; needed in training if the network has dropout.

        Returns:
          float32, [N, num_classes].
        """
        keys = [None] * len(self.blocks) if dropout_key is None else jax.random.split(dropout_key, len(self.blocks))
        x = self.stem(images.astype(self.dtype))
        for block, key in zip(self.blocks, keys, strict=True):
            x = block(x, over_pixels(mask), key)
        return self.linear(pooled_features(self.norm, x, mask, self.activation))


def flops_per_image(model: WideResNet, height: int, width: int) -> int:
    """Count the floating-point operations of one image's forward pass in convolutions and the linear layer.

    A multiplication and an addition count as two. A training step takes three times as many operations, because each
    product has two gradients. As is usual, this counts the stem's image gradient, which is not needed.
    """
    total = 2 * height * width * model.stem.kernel.size
    for block in model.blocks:
        height, width = -(-height // block.stride), -(-width // block.stride)
        layers = [block.conv1, block.conv2, *([block.shortcut] if block.shortcut is not None else [])]
        total += sum(2 * height * width * layer.kernel.size for layer in layers)
    return total + 2 * model.linear.kernel.size


def _make_adaptive(model: WideResNet, scale: float, size: tuple[int, int] | None) -> None:
    """Give every activation its slopes: one per pixel of images of this size and per channel, or a single one."""

    def after(norm: nnx.BatchNorm, stride: int) -> AdaptiveActivation:
        shape = () if size is None else (-(-size[0] // stride), -(-size[1] // stride), norm.num_features)
        return AdaptiveActivation(nnx.relu, scale, shape)

    stride = 1  # from the images to the block's input
    for block in model.blocks:
        block.activation1 = after(block.norm1, stride)
        stride *= block.stride
        block.activation2 = after(block.norm2, stride)
    model.activation = after(model.norm, stride)


def _norm(channels: int, dtype: Any, rngs: nnx.Rngs) -> nnx.BatchNorm:
    # NNX keeps the biased variance in its running statistics, and PyTorch the unbiased one. With 128 images of at least
    # 8x8 pixels, as in the runs here, the relative difference is below 1.3e-4 in evaluation, and zero in training.
    return nnx.BatchNorm(
        channels, momentum=BATCH_NORM_MOMENTUM, epsilon=1e-5, dtype=dtype, promote_dtype=_as_they_are, rngs=rngs
    )


def _as_they_are(arrays: _Arrays, /, *, dtype: Any = None, inexact: bool = True) -> _Arrays:
    """Keep statistics, scale and bias in float32: only the output of batch norm is rounded to its dtype."""
    del dtype, inexact
    return arrays


def _conv(in_channels: int, channels: int, kernel: int, stride: int, dtype: Any, rngs: nnx.Rngs) -> nnx.Conv:
    return nnx.Conv(
        in_channels,
        channels,
        (kernel, kernel),
        strides=(stride, stride),
        padding=kernel // 2,
        use_bias=False,
        kernel_init=_CONV_INIT,
        dtype=dtype,
        conv_general_dilated=conv_general_dilated,
        rngs=rngs,
    )


def _linear(channels: int, num_classes: int, rngs: nnx.Rngs) -> nnx.Linear:
    return nnx.Linear(
        channels,
        num_classes,
        kernel_init=_uniform(channels**-0.5),
        bias_init=nnx.initializers.zeros,
        dtype=jnp.float32,
        rngs=rngs,
    )


def _uniform(bound: float) -> Callable[..., jax.Array]:
    def init(key: jax.Array, shape: Any, dtype: Any = jnp.float32, **kwargs: Any) -> jax.Array:
        del kwargs
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


def _check(
    depth: int,
    width: int,
    num_classes: int,
    in_channels: int,
    dropout: float,
    activation: str,
    activation_scale: float,
    image_size: tuple[int, int] | None,
) -> None:
    if depth < 10 or (depth - 4) % 6:
        raise ValueError(f"depth must be 6n + 4 with n >= 1, such as 10, 16, 22 or 28; got {depth}.")
    if width < 1:
        raise ValueError(f"width must be at least 1, got {width}.")
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2, got {num_classes}.")
    if in_channels < 1:
        raise ValueError(f"in_channels must be at least 1, got {in_channels}.")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must be in [0, 1), got {dropout}.")
    if activation not in ("relu", "l-laaf", "n-laaf"):
        raise ValueError(f'activation must be "relu", "l-laaf" or "n-laaf", got {activation!r}.')
    if not 1 <= activation_scale < math.inf:
        raise ValueError(f"activation_scale must be a finite number of at least 1, got {activation_scale}.")
    if image_size is not None and (len(image_size) != 2 or min(image_size) < 4):
        raise ValueError(f"image_size must be a height and a width of at least 4, got {image_size}.")
    if activation == "n-laaf" and image_size is None:
        raise ValueError('activation="n-laaf" has a slope for each pixel: pass image_size=(height, width), got None.')
