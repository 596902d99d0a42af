"""`consensus_gradient` against its matrix form, and where it differs from SGA."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lcam_optax import contrib


@pytest.mark.parametrize("align", [True, False])
@pytest.mark.parametrize("scale", [0.3, -0.3])
@pytest.mark.parametrize("seed", range(3))
def test_equals_the_matrix_form(seed, scale, align):
    jacobian, w = np.split(np.random.default_rng(seed).normal(size=(4, 3)).astype(np.float32), [3])
    w = w[0]
    xi = jacobian @ w
    strength = abs(scale) * np.sign(xi @ jacobian.T @ xi) if align else scale
    expected = xi + strength * jacobian.T @ xi
    adjusted_fn = contrib.consensus_gradient(lambda p: jnp.asarray(jacobian) @ p, align=align, scale=scale)
    for fn in (adjusted_fn, jax.jit(adjusted_fn)):
        np.testing.assert_allclose(fn(jnp.asarray(w)), expected, rtol=2e-5, atol=1e-6)


def test_is_drawn_to_a_maximum_unless_aligned():
    def field_fn(w):  # gradient of -w'w: the origin repels
        return -2 * w

    w = jnp.array([1.0, 2.0])
    np.testing.assert_allclose(contrib.consensus_gradient(field_fn, align=False)(w), 2 * w)
    np.testing.assert_allclose(contrib.consensus_gradient(field_fn)(w), -6 * w)


def test_aligned_it_does_nothing_to_a_pure_rotation():
    rotation = jnp.array([[0.0, 1.0], [-1.0, 0.0]])
    w = jnp.array([1.0, 2.0])
    np.testing.assert_allclose(contrib.consensus_gradient(lambda p: rotation @ p)(w), rotation @ w)
    assert not np.allclose(contrib.symplectic_gradient(lambda p: rotation @ p)(w), rotation @ w)


def test_keeps_dtypes():
    field = contrib.consensus_gradient(lambda p: 2 * p)(jnp.ones(2, jnp.bfloat16))
    assert field.dtype == jnp.bfloat16
