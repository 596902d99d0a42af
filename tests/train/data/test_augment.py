"""Crop, flip and normalisation against plain NumPy."""

import jax
import numpy as np

from train.data.augment import crop_and_flip, normalize

IMAGES = np.random.default_rng(0).integers(1, 256, (64, 6, 5, 3), np.uint8)


def all_views(image, padding, flip):
    padded = np.pad(image, ((padding, padding), (padding, padding), (0, 0)))
    height, width, _ = image.shape
    crops = [padded[i : i + height, j : j + width] for i in range(2 * padding + 1) for j in range(2 * padding + 1)]
    return crops + [crop[:, ::-1] for crop in crops] if flip else crops


def test_every_result_is_one_of_the_views_and_they_vary():
    out = np.asarray(crop_and_flip(jax.random.key(0), IMAGES, 2, True))
    assert out.dtype == np.uint8
    chosen = []
    for image, result in zip(IMAGES, out, strict=True):
        matches = [k for k, view in enumerate(all_views(image, 2, True)) if np.array_equal(view, result)]
        assert len(matches) == 1
        chosen += matches
    assert len(set(chosen)) > 25  # of 50 views, in 64 draws
    assert 16 < sum(k >= 25 for k in chosen) < 48  # mirrored


def test_without_padding_and_flip_nothing_changes():
    np.testing.assert_array_equal(crop_and_flip(jax.random.key(0), IMAGES, 0, False), IMAGES)


def test_normalize_is_per_channel():
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    expected = (IMAGES / 255.0 - np.array(mean)) / np.array(std)
    np.testing.assert_allclose(normalize(IMAGES, mean, std), expected, rtol=1e-5, atol=1e-5)
