import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from train.studies.updates.gradient_noise import gradient_noise

RNG = np.random.default_rng(0)
PARAMS = {
    "bias": jnp.asarray(RNG.normal(size=3), jnp.float32),
    "kernel": jnp.asarray(RNG.normal(size=(4, 3)), jnp.float32),
}


def loss_fn(params, example):
    features, target = example
    return jnp.sum((jnp.tanh(features @ params["kernel"] + params["bias"]) - target) ** 2)


def batch(number):
    return jnp.asarray(RNG.normal(size=(number, 4)), jnp.float32), jnp.asarray(
        RNG.normal(size=(number, 3)), jnp.float32
    )


def dense(examples):
    """The same numbers from the whole matrix, in float64."""
    gradients = [jax.grad(loss_fn)(PARAMS, example) for example in zip(*examples, strict=True)]
    rows = np.stack([np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(g)]) for g in gradients])
    rows = rows.astype(np.float64)
    covariance = np.cov(rows, rowvar=False)
    eigenvalues = np.sort(np.linalg.eigvalsh(covariance))[::-1]
    squared = np.sum(rows.mean(0) ** 2) - np.trace(covariance) / len(rows)
    return eigenvalues, np.trace(covariance), squared, np.trace(covariance) ** 2 / np.sum(covariance**2)


@pytest.mark.parametrize(("number", "chunk"), [(9, 4), (9, 9), (9, 1), (9, 50), (40, 16)])
def test_equals_the_dense_covariance(number, chunk):
    examples = batch(number)
    found = jax.jit(functools.partial(gradient_noise, loss_fn, chunk=chunk))(PARAMS, examples)
    eigenvalues, trace, squared, rank = dense(examples)
    assert found.eigenvalues.shape == (number - 1,)
    both = min(number - 1, 15)
    np.testing.assert_allclose(found.eigenvalues[:both], eigenvalues[:both], rtol=1e-4, atol=1e-5 * trace)
    np.testing.assert_allclose(found.eigenvalues[both:], 0, atol=1e-5 * trace)
    np.testing.assert_allclose(
        [found.trace, found.squared_gradient, found.effective_rank], [trace, squared, rank], rtol=1e-4
    )
    np.testing.assert_allclose(found.noise_scale, trace / squared if squared > 0 else np.nan, rtol=1e-3)


def linear(params, example):
    """A loss whose gradient is the example itself."""
    return jnp.vdot(params, example)


def test_two_orthogonal_gradients():
    found = gradient_noise(linear, jnp.zeros(3), jnp.array([[1.0, 0, 0], [0, 1.0, 0]]))
    # The mean is (1/2, 1/2, 0); both deviations have a square of 1/2.
    assert found.eigenvalues.tolist() == pytest.approx([1.0])
    assert (float(found.trace), float(found.effective_rank)) == pytest.approx((1, 1))
    assert float(found.squared_gradient) == pytest.approx(0, abs=1e-6)


def test_equal_spread_in_every_direction_has_full_rank():
    found = gradient_noise(linear, jnp.zeros(5), jnp.concatenate([3 + jnp.eye(5), 3 - jnp.eye(5)]))
    np.testing.assert_allclose(found.eigenvalues, [2 / 9] * 5 + [0] * 4, atol=1e-6)
    assert float(found.effective_rank) == pytest.approx(5, rel=1e-5)
    assert float(found.noise_scale) == pytest.approx((10 / 9) / (45 - 1 / 9), rel=1e-5)


def test_estimates_are_unbiased():
    # Of examples with covariance diag(4, 1) and mean (1, 2).
    examples = jnp.asarray(RNG.normal(size=(4000, 3, 2)) * [2, 1] + [1, 2], jnp.float32)
    found = jax.vmap(functools.partial(gradient_noise, linear, jnp.zeros(2)))(examples)
    assert float(found.trace.mean()) == pytest.approx(5, rel=0.05)
    assert float(found.squared_gradient.mean()) == pytest.approx(5, rel=0.05)


def test_a_large_common_gradient_does_not_drown_the_noise():
    examples = jnp.asarray([[1000.0, 0.0], [1000.0, 0.5], [1000.0, -0.5]])
    found = gradient_noise(linear, jnp.zeros(2), examples)
    np.testing.assert_allclose(found.eigenvalues, [0.25, 0], atol=1e-6)


def test_no_noise_scale_where_noise_drowns_the_gradient():
    found = gradient_noise(linear, jnp.zeros(1), jnp.array([[1.0], [-1.0]]))
    assert float(found.squared_gradient) == pytest.approx(-1)
    assert np.isnan(found.noise_scale)


@pytest.mark.parametrize(("number", "chunk", "message"), [(1, 32, "batch has 1 examples"), (4, 0, "chunk is 0")])
def test_too_little_is_refused(number, chunk, message):
    with pytest.raises(ValueError, match=message):
        gradient_noise(loss_fn, PARAMS, batch(number), chunk=chunk)
