import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from train.studies.surfaces.surfaces import SURFACES, ravine, saddle


def path(*points):
    return np.asarray(points, np.float64)


@pytest.mark.parametrize("wavelength", [1.0, 12.0])
def test_the_floor_of_a_ravine_is_lowest_across_and_falls_along(wavelength):
    surface = ravine("", wavelength, steepness=1.0)
    amplitude = wavelength / (2 * np.pi)
    for x in np.linspace(0, wavelength, 7):
        floor = amplitude * np.sin(2 * np.pi * x / wavelength)
        gradient = jax.grad(surface.loss)(jnp.array([x, floor], jnp.float32))
        np.testing.assert_allclose(gradient, [-1, 0], atol=1e-4)


def test_distance_along_a_ravine_is_the_length_of_its_floor():
    surface = ravine("", 3.0, steepness=2.0)
    # A wave of the sine is a complete elliptic integral of the second kind.
    wave = 4 * 3 / (2 * np.pi) * np.sqrt(5) * scipy.special.ellipe(4 / 5)
    paths = np.stack([path([0, 0], [9, 9], [3, 1]), path([0, 0], [0, 0], [-6, 0])])
    np.testing.assert_allclose(surface.progress(paths), [wave, -2 * wave], rtol=1e-6)


def test_the_saddle_is_flat_at_the_origin_and_falls_to_both_basins():
    surface = saddle("")
    origin = jnp.zeros(2)
    np.testing.assert_array_equal(jax.grad(surface.loss)(origin), 0)
    curvatures = np.linalg.eigvalsh(jax.hessian(surface.loss)(origin))
    assert curvatures[0] < 0 < curvatures[1]
    assert float(surface.loss(jnp.array([0.0, 1.0]))) == float(surface.loss(jnp.array([0.0, -1.0]))) == 0


def test_steps_to_leave_the_saddle():
    surface = saddle("")
    half = float(np.sqrt(1 - np.sqrt(0.5)))
    assert float(surface.loss(jnp.array([0.0, half]))) == pytest.approx(float(surface.loss(jnp.zeros(2))) / 2)
    out = path([0, 0], [0, half - 0.01], [0, -half - 0.01], [0, 0])
    never = np.zeros_like(out)
    at_last = path([0, 0], [0, 0], [0, 0], [0, 1])
    np.testing.assert_array_equal(surface.progress(np.stack([out, never, at_last])), [2, 3, 3])


def test_every_surface_has_a_finite_loss_at_its_start():
    for surface in SURFACES.values():
        assert np.isfinite(float(surface.loss(jnp.asarray(surface.start, jnp.float32))))
