"""The mutual information of the label and the output of a network or a layer, from counts."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def contingency_table(
    labels: jax.typing.ArrayLike, codes: jax.typing.ArrayLike, label_count: int, code_count: int
) -> jax.Array:
    """Count how often each label occurs with each code. Tables of batches add up to the table of the epoch.

    Args:
      labels: The true classes, ints of any shape, from 0.
      codes: The output for each label, ints of the same shape, from 0. For a network: the predicted class,
        `logits.argmax(-1)`, which gives a confusion matrix. For a layer: the index of its strongest unit,
        `activations.argmax(-1)`, after an average over positions, if it has any.
      label_count: Number of classes.
      code_count: Number of codes.

    Returns:
      Counts, shape=(label_count, code_count), int32. A pair with a label or code below zero or past its count is
      ignored; use this to ignore padding.

    Raises:
      ValueError: If `labels` and `codes` differ in shape.
      TypeError: If one of them does not have an integer dtype.

    Examples:
      >>> from lcam_optax import contrib
      >>> print(contrib.contingency_table([0, 0, 1, 1], [0, 1, 1, 1], label_count=2, code_count=2))
      [[1 1]
       [0 2]]
    """
    rows, columns = jnp.asarray(labels), jnp.asarray(codes)
    if rows.shape != columns.shape:
        raise ValueError(f"labels and codes must have one shape, got {rows.shape} and {columns.shape}.")
    for name, numbers in (("labels", rows), ("codes", columns)):
        if not jnp.issubdtype(numbers.dtype, jnp.integer):
            raise TypeError(f"{name} must be ints such as argmax gives, got dtype {numbers.dtype}.")
    rows, columns = _index(rows, label_count), _index(columns, code_count)
    return jnp.zeros((label_count, code_count), jnp.int32).at[rows, columns].add(1, mode="drop")


def _index(numbers: jax.Array, count: int) -> jax.Array:
    """Numbers as int32, and `count` for all that are outside [0, count): negative ones would count from the end."""
    wide = numbers if numbers.dtype.itemsize >= 4 else numbers.astype(jnp.int32)
    return jnp.where((wide >= 0) & (wide < count), wide, count).astype(jnp.int32)


def label_information(table: jax.typing.ArrayLike) -> jax.Array:
    r"""The share of the label's entropy that the code explains.

    .. math::

      \frac{I(L; C)}{H(L)} = \frac{H(L) + H(C) - H(L, C)}{H(L)}

    of the relative frequencies. It is 0 if label and code are independent, and 1 if the code determines the label
    (under any name). With few samples, the estimate is too large.

    We could not find how the paper behind `mutual_information_decay` estimates mutual information. This plain estimate
    from discrete codes is ours.

    Args:
      table: Counts, not negative, shape=(labels, codes), such as `contingency_table` gives.

    Returns:
      A float32 scalar of shape (), in [0, 1]; NaN if the table is empty or has only one label.

    Raises:
      ValueError: If the table does not have two axes.

    Examples:
      >>> from lcam_optax import contrib
      >>> for table in ([[5, 0], [0, 5]], [[4, 1], [1, 4]], [[2, 3], [2, 3]]):
      ...     print(f"{contrib.label_information(table):.2f}")
      1.00
      0.28
      0.00
    """
    counts = jnp.asarray(table).astype(float)
    if counts.ndim != 2:
        raise ValueError(f"table must have the two axes labels and codes, got shape {counts.shape}.")
    joint = counts / counts.sum()
    of_labels, of_codes, of_both = (
        jax.scipy.special.entr(frequencies).sum() for frequencies in (joint.sum(1), joint.sum(0), joint)
    )
    # With a single label all entropies are rounding errors.
    several = jnp.count_nonzero(counts.sum(1)) > 1
    return jnp.where(several, jnp.clip((of_labels + of_codes - of_both) / of_labels, 0, 1), jnp.nan)
