"""The PyTorch peers have the same network."""

import numpy as np
import pytest
from flax import nnx

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from models import WideResNet  # noqa: E402
from train.bench import torch_network  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")

LAYOUT = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}  # of our kernels, weights and vectors in PyTorch
NAMES = {"kernel": "weight", "scale": "weight", "bias": "bias"}


def test_equal_weights_give_equal_logits():
    ours = WideResNet(16, 2, 10, rngs=nnx.Rngs(0))
    theirs = torch_network.WideResNet(16, 2, 10, 3)
    params = nnx.to_flat_state(nnx.state(ours, nnx.Param))
    assert sum(x[...].size for _, x in params) == sum(x.numel() for x in theirs.parameters())
    weights = {}
    for path, value in params:
        array = np.array(value[...])
        name = ".".join(map(str, (*path[:-1], NAMES[path[-1]])))
        weights[name] = torch.from_numpy(array.transpose(LAYOUT[array.ndim]).copy())
    buffers = {name for name, _ in theirs.named_buffers()}
    missing = set(theirs.load_state_dict(weights, strict=False).missing_keys)
    assert missing == {name for name in buffers if not name.endswith("num_batches_tracked")}
    x = np.random.default_rng(1).normal(size=(4, 16, 16, 3)).astype(np.float32)
    ours.train()
    expected = np.asarray(nnx.jit(lambda model, x: model(x))(ours, x))
    found = theirs.train()(torch.from_numpy(x).permute(0, 3, 1, 2)).detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
