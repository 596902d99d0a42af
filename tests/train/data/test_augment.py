"""Crop, flip and normalisation against plain NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from train.data import augment
from train.data.augment import crop_and_flip, draw_crops_and_flips, normalize

IMAGES = np.random.default_rng(0).integers(1, 256, (64, 6, 5, 3), np.uint8)


def augmented(key, images, padding, flip):
    return crop_and_flip(draw_crops_and_flips(key, len(images), padding, flip), images, padding)


def all_results(image, padding, flip):
    padded = np.pad(image, ((padding, padding), (padding, padding), (0, 0)))
    height, width, _ = image.shape
    crops = [padded[i : i + height, j : j + width] for i in range(2 * padding + 1) for j in range(2 * padding + 1)]
    return crops + [crop[:, ::-1] for crop in crops] if flip else crops


def test_every_result_is_one_of_the_possible_and_they_vary():
    out = np.asarray(augmented(jax.random.key(0), IMAGES, 2, True))
    assert out.dtype == np.uint8
    chosen = []
    for image, result in zip(IMAGES, out, strict=True):
        matches = [k for k, possible in enumerate(all_results(image, 2, True)) if np.array_equal(possible, result)]
        assert len(matches) == 1
        chosen += matches
    assert len(set(chosen)) > 25  # of 50 possible, in 64 draws
    assert 16 < sum(k >= 25 for k in chosen) < 48  # mirrored


def test_without_padding_and_flip_nothing_changes():
    np.testing.assert_array_equal(augmented(jax.random.key(0), IMAGES, 0, False), IMAGES)


def test_normalize_is_per_channel():
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    expected = (IMAGES / 255.0 - np.array(mean)) / np.array(std)
    np.testing.assert_allclose(normalize(IMAGES, mean, std), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("padding", [1, 2, 4])
@pytest.mark.parametrize("shape", [(64, 6, 5, 3), (64, 8, 8, 1)])
def test_what_runs_on_tpus_equals_what_runs_elsewhere(padding, shape):
    images = np.random.default_rng(1).integers(1, 256, shape, np.uint8)
    corners = draw_crops_and_flips(jax.random.key(2), 64, padding, flip=False).corners
    assert set(np.unique(corners)) == set(range(2 * padding + 1))
    by_slices, by_selection = augment._by_slices(padding), augment._by_selection(padding)
    expected = np.asarray(by_slices(images, corners))
    for image, corner, result in zip(images, corners, expected, strict=True):
        padded = np.pad(image, ((padding, padding), (padding, padding), (0, 0)))
        np.testing.assert_array_equal(result, padded[corner[0] :, corner[1] :][: shape[1], : shape[2]])
    chosen = jax.jit(by_selection)(images, corners)
    assert chosen.dtype == np.uint8
    np.testing.assert_array_equal(chosen, expected)
    # Seeds that run together.
    both = jax.vmap(by_selection, in_axes=(None, 0))(images, jnp.stack([corners, corners[::-1]]))
    np.testing.assert_array_equal(both, jnp.stack([by_slices(images, corners), by_slices(images, corners[::-1])]))


def test_a_tpu_is_given_no_slice_of_a_single_image():
    traced = jax.jit(lambda key, images: augmented(key, images, 2, True)).trace(jax.random.key(0), IMAGES)
    texts = {name: traced.lower(lowering_platforms=(name,)).as_text() for name in ("tpu", "cpu", "cuda")}
    sliced = {name: "stablehlo.gather" in text or "stablehlo.dynamic_slice" in text for name, text in texts.items()}
    assert sliced == {"tpu": False, "cpu": True, "cuda": True}


def test_draws_of_many_steps_are_those_of_each_step():
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(jax.random.key(0), jnp.arange(5))
    together = jax.vmap(lambda key: draw_crops_and_flips(key, 64, 2, flip=True))(keys)
    for step, key in enumerate(keys):
        images = crop_and_flip(jax.tree.map(lambda x, i=step: x[i], together), IMAGES, 2)
        np.testing.assert_array_equal(images, augmented(key, IMAGES, 2, True))
