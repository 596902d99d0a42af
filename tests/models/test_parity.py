"""The network against two independent implementations with the same weights: literal NumPy, and PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from models import WideResNet

SIZE, CLASSES = 8, 5
IMAGES = np.random.default_rng(0).normal(size=(6, SIZE, SIZE, 3)).astype(np.float32)
LABELS = np.array([0, 1, 2, 3, 4, 0])


def make_model():
    """A network whose scales and biases are not the trivial ones that it starts from."""
    model = WideResNet(16, 1, CLASSES, rngs=nnx.Rngs(0))
    graphdef, params, stats = nnx.split(model, nnx.Param, nnx.BatchStat)
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    moved = [x + 0.1 * jax.random.normal(k, x.shape) if x.ndim == 1 else x for x, k in zip(leaves, keys, strict=True)]
    return nnx.merge(graphdef, jax.tree.unflatten(tree, moved), stats)


def loss_and_gradients(model):
    graphdef, params, stats = nnx.split(model, nnx.Param, nnx.BatchStat)

    def loss_fn(params):
        m = nnx.merge(graphdef, params, stats, copy=True)
        m.train()
        logits = m(jnp.asarray(IMAGES))
        return -jax.nn.log_softmax(logits)[jnp.arange(6), LABELS].mean(), logits

    (loss, logits), grads = jax.jit(jax.value_and_grad(loss_fn, has_aux=True))(params)
    return float(loss), np.asarray(logits), nnx.to_flat_state(grads)


def numpy_forward(model, x):
    """The network in training mode, in float64, written for reading."""

    def norm_relu(layer, x):
        mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
        y = (x - mean) / np.sqrt(variance + 1e-5) * np.float64(layer.scale[...]) + np.float64(layer.bias[...])
        return np.maximum(y, 0)

    def convolve(layer, x):
        kernel, stride = np.float64(layer.kernel[...]), layer.strides[0]
        k = kernel.shape[0]
        padded = np.pad(x, ((0, 0), (k // 2, k // 2), (k // 2, k // 2), (0, 0)))
        out = 0
        for i in range(k):
            for j in range(k):
                rows = padded[:, i : i + x.shape[1] : stride, j : j + x.shape[2] : stride]
                out = out + rows @ kernel[i, j]
        return out

    x = convolve(model.stem, x.astype(np.float64))
    for block in model.blocks:
        y = norm_relu(block.norm1, x)
        shortcut = x if block.shortcut is None else convolve(block.shortcut, y)
        x = shortcut + convolve(block.conv2, norm_relu(block.norm2, convolve(block.conv1, y)))
    pooled = norm_relu(model.norm, x).mean((1, 2))
    return pooled @ np.float64(model.linear.kernel[...]) + np.float64(model.linear.bias[...])


def test_numpy():
    model = make_model()
    np.testing.assert_allclose(loss_and_gradients(model)[1], numpy_forward(model, IMAGES), rtol=1e-3, atol=1e-3)


def test_pytorch():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    model = make_model()
    loss, logits, grads = loss_and_gradients(model)
    tensors = {}  # our path -> the PyTorch tensor

    def tensor(path, value):
        value = np.array(value[...])
        layout = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}[value.ndim]
        tensors[path] = torch.tensor(value.transpose(layout).copy(), requires_grad=True)
        return tensors[path]

    def norm_relu(path, layer, x):
        weight, bias = tensor((*path, "scale"), layer.scale), tensor((*path, "bias"), layer.bias)
        return torch.relu(torch.nn.functional.batch_norm(x, None, None, weight, bias, training=True, eps=1e-5))

    def convolve(path, layer, x):
        kernel = tensor((*path, "kernel"), layer.kernel)
        return torch.nn.functional.conv2d(x, kernel, stride=layer.strides[0], padding=kernel.shape[-1] // 2)

    x = convolve(("stem",), model.stem, torch.tensor(IMAGES.transpose(0, 3, 1, 2)))
    for i, block in enumerate(model.blocks):
        at = ("blocks", i)
        y = norm_relu((*at, "norm1"), block.norm1, x)
        shortcut = x if block.shortcut is None else convolve((*at, "shortcut"), block.shortcut, y)
        y = convolve((*at, "conv1"), block.conv1, y)
        x = shortcut + convolve((*at, "conv2"), block.conv2, norm_relu((*at, "norm2"), block.norm2, y))
    pooled = norm_relu(("norm",), model.norm, x).mean((2, 3))
    weight, bias = tensor(("linear", "kernel"), model.linear.kernel), tensor(("linear", "bias"), model.linear.bias)
    theirs = torch.nn.functional.linear(pooled, weight, bias)
    their_loss = torch.nn.functional.cross_entropy(theirs, torch.tensor(LABELS))
    their_loss.backward()

    np.testing.assert_allclose(logits, theirs.detach().numpy(), rtol=1e-3, atol=1e-3)
    assert loss == pytest.approx(their_loss.item(), rel=1e-4)
    assert len(grads) == len(tensors)
    for path, grad in grads:
        there = tensors[path].grad.numpy()
        here = np.asarray(grad[...]).transpose({4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}[there.ndim])
        np.testing.assert_allclose(here, there, rtol=1e-2, atol=2e-4, err_msg=str(path))
