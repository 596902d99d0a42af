"""The PyTorch peers do the same work."""

import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from tests.train.bench.tiny_bench import CASE, STEPS  # noqa: E402
from train.bench import torch_peer  # noqa: E402
from train.bench.workload import Case, Training, experiment_of  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

IMAGES = np.random.default_rng(0).integers(256, size=(8, 8, 8, 3)).astype(np.uint8)
LABELS = np.arange(8).astype(np.int32)


def peer(**changes):
    experiment = dataclasses.replace(experiment_of(Case(depth=10, batch_size=4)), **changes)
    return torch_peer.TunedPeer(experiment, IMAGES, LABELS, 10, compiled=False)


def test_a_window_of_the_padded_image_is_cut_mirrored_and_normalised():
    tuned = peer(mean=(0.5, 0.25, 0.0), std=(0.5, 1.0, 2.0), crop_padding=2)
    tuned.model = seen = lambda x: setattr(seen, "images", x) or torch.zeros(len(x), 10)
    corners, mirrored = torch.tensor([[2, 0], [2, 4]]), torch.tensor([False, True])
    tuned._loss(tuned._images[:2], tuned._labels[:2], corners, mirrored)
    whole, cut = seen.images.permute(0, 2, 3, 1).numpy()
    expected = (IMAGES[:2] / 255 - [0.5, 0.25, 0.0]) / [0.5, 1.0, 2.0]
    np.testing.assert_allclose(whole, expected[0], atol=1e-6)
    black = -np.array([1, 0.25, 0])
    shifted = np.broadcast_to(black, (8, 8, 3)).copy()
    shifted[2:, :6] = expected[1][:6, 2:]
    np.testing.assert_allclose(cut, shifted[:, ::-1], atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_tuned_peer_learns_and_sees_every_image_once(dtype):
    torch.manual_seed(0)
    tuned = peer(dtype=dtype, learning_rate=0.05, crop_padding=0, flip=False)
    assert tuned.model.stem.weight.is_contiguous(memory_format=torch.channels_last)
    losses = [float(tuned.take(1)) for _ in range(30)]
    assert np.mean(losses[-4:]) < 0.7 * np.mean(losses[:4])
    batches = tuned._forever()
    for _ in range(2):
        labels = torch.cat([next(batches)[1] for _ in range(2)])
        assert sorted(labels.tolist()) == list(range(8))


def test_the_authors_peer_picks_its_momentum_by_the_loss():
    data = Training(CASE, STEPS).dataset
    experiment = experiment_of(CASE)
    authors = torch_peer.AuthorsPeer(experiment, data.train_images, data.train_labels, 10)
    assert np.isfinite(authors.take(2 * STEPS + 1))
    authors._losses.clear()
    for loss, momentum in ((2.0, 0.95), (1.0, 0.9), (1.5, 0.95)):
        authors._pick_momentum(loss)
        assert authors._optimizer.param_groups[0]["momentum"] == momentum
    authors.close()


def test_the_authors_images_are_those_of_the_tuned_peer():
    experiment = dataclasses.replace(experiment_of(CASE), crop_padding=0, mean=(0.5,) * 3, std=(0.25,) * 3)
    image, label = torch_peer.Augmented(experiment, IMAGES, LABELS)[3]
    np.testing.assert_allclose(image.permute(1, 2, 0), (IMAGES[3] / 255 - 0.5) / 0.25, atol=1e-5)
    assert label == 3
