"""The convolution's gradients against XLA's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from models._conv import conv_general_dilated

NHWC = ("NHWC", "HWIO", "NHWC")


def problem(size, kernel, stride, channels, batch=3):
    keys = jax.random.split(jax.random.key(0), 2)
    x = jax.random.normal(keys[0], (batch, *size, channels[0]))
    w = jax.random.normal(keys[1], (kernel, kernel, *channels))
    padding = ((kernel // 2, kernel // 2),) * 2
    return x, w, (stride, stride), padding


def gradients(conv, x, w, strides, padding):
    return jax.grad(lambda x, w: jnp.sum(jnp.sin(conv(x, w, strides, padding, dimension_numbers=NHWC))), (0, 1))(x, w)


@settings(max_examples=6)
@given(
    size=st.tuples(st.integers(3, 9), st.integers(3, 9)),
    kernel=st.sampled_from([1, 3]),
    stride=st.sampled_from([1, 2, 3]),
    channels=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    batch=st.sampled_from([3, 32, 37]),  # below, equal to and beside a multiple of a piece
)
def test_equals_xla(size, kernel, stride, channels, batch):
    args = problem(size, kernel, stride, channels, batch)
    ours, theirs = (gradients(conv, *args) for conv in (conv_general_dilated, lax.conv_general_dilated))
    for left, right in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-3, atol=1e-3)


def test_half_precision_does_not_get_worse_with_the_batch():
    args = problem((5, 5), 3, 1, (4, 4), batch=256)
    x, w = (a.astype(jnp.bfloat16) for a in args[:2])
    exact = gradients(lax.conv_general_dilated, x.astype(jnp.float32), w.astype(jnp.float32), *args[2:])[1]
    errors = [
        jnp.sqrt(jnp.mean((gradients(conv, x, w, *args[2:])[1].astype(jnp.float32) - exact) ** 2))
        for conv in (conv_general_dilated, lax.conv_general_dilated)
    ]
    assert errors[0] < 1.5 * errors[1]


def test_vmap_over_kernels_equals_separate_ones():
    x, w, *rest = problem((6, 6), 3, 2, (2, 4))
    xs, ws = jnp.stack([x, 2 * x]), jnp.stack([w, -w])
    both = jax.vmap(lambda x, w: gradients(conv_general_dilated, x, w, *rest))(xs, ws)
    for i in range(2):
        for left, right in zip(both, gradients(conv_general_dilated, xs[i], ws[i], *rest), strict=True):
            np.testing.assert_allclose(left[i], right, rtol=1e-4, atol=1e-4)


def test_a_batch_that_is_split_over_devices_needs_one_sum_and_no_loop():
    x, w, *rest = problem((6, 6), 3, 2, (2, 4), batch=64)
    mesh = jax.make_mesh((4,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))

    def on_mesh(x, w):
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            return gradients(conv_general_dilated, x, w, *rest)

    split = jax.device_put(x, jax.NamedSharding(mesh, jax.P("batch")))
    whole = jax.device_put(w, jax.NamedSharding(mesh, jax.P()))
    program = jax.jit(on_mesh).lower(split, whole).compile()
    assert program.as_text().count(" all-reduce(") == 1
    assert "while" not in program.as_text()
    for left, right in zip(program(split, whole), gradients(lax.conv_general_dilated, x, w, *rest), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-3, atol=1e-3)


def lowered(conv, platform):
    x, w, *rest = problem((8, 8), 3, 1, (2, 4))
    return (
        jax.jit(lambda x, w: gradients(conv, x, w, *rest)).trace(x, w).lower(lowering_platforms=(platform,)).as_text()
    )


def convolutions(text):
    return sorted(
        line.split("dim_numbers = ")[1].split(",  window")[0] for line in text.splitlines() if "dim_numbers" in line
    )


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_other_platforms_get_xla_s_own_gradient(platform):
    ours, theirs = (convolutions(lowered(conv, platform)) for conv in (conv_general_dilated, lax.conv_general_dilated))
    assert ours == theirs
    assert convolutions(lowered(conv_general_dilated, "cpu")) != theirs


@pytest.mark.parametrize(
    "kind",
    [{"rhs_dilation": (2, 2)}, {"lhs_dilation": (2, 2)}, {"feature_group_count": 2}],
)
def test_other_convolutions_are_refused(kind):
    x, w, *rest = problem((6, 6), 3, 1, (2, 4))
    with pytest.raises(NotImplementedError, match="plain NHWC"):
        conv_general_dilated(x, w, *rest, **({"dimension_numbers": NHWC} | kind))
