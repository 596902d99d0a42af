"""Contingency tables of labels and codes, and their mutual information."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lcam_optax import contrib


def twin(table):
    """I / H from the definition, sum of p log(p / (row * column)), in float64."""
    p = np.float64(table) / np.sum(table)
    rows, columns = p.sum(1), p.sum(0)
    expected = np.outer(rows, columns)
    met = p > 0
    return np.sum(p[met] * np.log(p[met] / expected[met])) / -sum(r * np.log(r) for r in rows if r)


@given(seed=st.integers(0, 2**32 - 1))
def test_equals_the_definition(seed):
    rng = np.random.default_rng(seed)
    table = rng.integers(0, 20, size=(4, 5)) * rng.integers(0, 2, size=(4, 5))
    table[:2, 0] += 1  # at least two labels
    np.testing.assert_allclose(contrib.label_information(table), twin(table), atol=2e-6)


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (np.eye(10) * 7, 1.0),
        (np.eye(10)[::-1] * 7, 1.0),  # names of the codes do not matter
        (np.outer([3, 4, 5], [1, 2]), 0.0),
        ([[2, 2, 0, 0], [0, 0, 1, 3]], 1.0),  # several codes for one label
        ([[4, 0], [2, 2]], 0.31127812),
    ],
)
def test_known_tables(table, expected):
    assert contrib.label_information(table) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("table", [np.zeros((3, 3)), [[1, 2, 3], [0, 0, 0]]], ids=["empty", "one label"])
def test_with_nothing_to_tell_it_is_nan(table):
    assert jnp.isnan(contrib.label_information(table))


@given(st.lists(st.integers(0, 100), min_size=2, max_size=12), st.integers(0, 3))
def test_one_label_alone_tells_nothing_whatever_the_rounding(counts, row):
    table = np.zeros((4, len(counts)), np.int32)
    table[row] = counts
    assert np.isnan(contrib.label_information(table))


def test_is_a_float32_scalar_under_jit_and_vmap():
    tables = jnp.arange(24).reshape(2, 3, 4)
    together = jax.jit(jax.vmap(contrib.label_information))(tables)
    assert together.dtype == jnp.float32
    np.testing.assert_allclose(together, [contrib.label_information(t) for t in tables], atol=1e-6)


def test_counts_every_pair_once():
    rng = np.random.default_rng(0)
    labels, codes = rng.integers(0, 4, (5, 20)), rng.integers(0, 3, (5, 20))
    table = jax.jit(contrib.contingency_table, static_argnums=(2, 3))(labels, codes, 4, 3)
    assert table.dtype == jnp.int32
    np.testing.assert_array_equal(table, [[np.sum((labels == i) & (codes == j)) for j in range(3)] for i in range(4)])
    by_batches = sum(contrib.contingency_table(*pair, 4, 3) for pair in zip(labels, codes, strict=True))
    np.testing.assert_array_equal(table, by_batches)


def test_leaves_out_what_is_below_zero_or_past_the_counts():
    table = contrib.contingency_table([0, 1, 2, 0, -1, 1], [0, 1, 0, 5, 1, -1], label_count=2, code_count=2)
    np.testing.assert_array_equal(table, np.eye(2))


def test_large_unsigned_labels_are_past_the_counts():
    padding = np.uint32([0, 2**32 - 1])
    np.testing.assert_array_equal(contrib.contingency_table(padding, np.int32([0, 0]), 2, 2), [[1, 0], [0, 0]])


def test_narrow_integers_are_counted_past_what_they_hold():
    table = contrib.contingency_table(np.array([0, 127], np.int8), np.array([0, 1], np.int8), 128, 2)
    assert (int(table[0, 0]), int(table[127, 1]), int(table.sum())) == (1, 1, 2)


def test_arguments_that_do_not_fit():
    with pytest.raises(ValueError, match=r"one shape, got \(2,\) and \(3,\)"):
        contrib.contingency_table([0, 1], [0, 1, 1], 2, 2)
    with pytest.raises(TypeError, match="codes must be ints"):
        contrib.contingency_table([0, 1], [0.0, 1.0], 2, 2)
    with pytest.raises(ValueError, match=r"two axes labels and codes, got shape \(3,\)"):
        contrib.label_information([1, 2, 3])
