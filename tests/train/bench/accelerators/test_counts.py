"""The cost of a step, against counts by hand for short programs."""

import pytest

from tests.train.bench.accelerators.programs_text import GPU, TPU
from train.bench.accelerators import counts, hlo
from train.bench.accelerators.kernels import kernels
from train.bench.accelerators.loops import loops
from train.bench.accelerators.targets import TARGETS

H200, V5E = TARGETS["h200"], TARGETS["v5e"]
WEIGHT = 3 * 3 * 16 * 16
DEEP = 128 * 16 * 16 * 16
ARRAYS = counts.Arrays(weights=frozenset({(3, 3, 16, 16)}), activation=128 * 8 * 8 * 3, dataset=50_000 * 3072)


@pytest.fixture(scope="module")
def gpu():
    return counts.count(hlo.parse(GPU), H200, ARRAYS, 30)


@pytest.fixture(scope="module")
def tpu():
    return counts.count(hlo.parse(TPU), V5E, ARRAYS, 30)


def test_products_of_forward_and_backward_convolutions(gpu):
    assert gpu["flops_per_step"] == 2 * (2 * DEEP * 9 * 16)
    assert gpu["products"] == [{"dtype": "bf16", "layout": "b01f_o01i->b01f", "count": 2}]
    assert gpu["products_floor_ms"] == pytest.approx(1e3 * 4 * DEEP * 9 * 16 / H200.bfloat16)


def test_bytes_of_every_kernel_and_of_slices_only_the_slice():
    moved = {kernel.name: kernel.bytes for kernel in kernels(hlo.parse(GPU), "body")}
    image = 128 * 16 * 16 * 3
    assert moved == {
        "images": image + 4 * 128 + 2 * image,  # the rows, not the data set
        "deep": 2 * image + 2 * DEEP,
        "conv": 2 * DEEP + 2 * WEIGHT + 2 * DEEP,
        "half": 4 * WEIGHT + 2 * WEIGHT,
        "backward": 2 * DEEP + 2 * DEEP + 2 * WEIGHT,
        "updated": 4 * WEIGHT + 2 * WEIGHT + 4 * WEIGHT,
        "loss": 2 * DEEP + 4,
        "kept": 4 + 4 + 4,  # in place: one number of thirty
    }


def test_the_bound_is_the_sum_of_each_kernel_at_its_peak(gpu):
    run = [(kernel, 1) for kernel in kernels(hlo.parse(GPU), "body")]
    assert gpu["bound_ms"] == pytest.approx(
        1e3 * sum(max(kernel.flops / H200.bfloat16, kernel.bytes / H200.bandwidth) for kernel, _ in run)
    )
    assert gpu["bytes_per_step"] == sum(kernel.bytes for kernel, _ in run)
    assert gpu["largest_kernels"][0]["kernel"] in ("conv", "backward")
    assert gpu["estimated_ms"] is None


def test_the_optimizer_moves_weights_and_gradients(gpu):
    found = counts.optimizer_bytes(hlo.parse(GPU), 30, ARRAYS.weights, WEIGHT)
    assert found == 4 + 2 + 4


def test_copies_before_the_loop_are_not_those_of_a_step(gpu, monkeypatch):
    assert gpu["copies"] == {}
    monkeypatch.setattr(counts, "_SMALL", 1000)
    outside = counts.count(hlo.parse(GPU), H200, ARRAYS, 30)["outside_the_loop"]
    assert outside["copies"] == {"weights": {"count": 1, "bytes": 8 * WEIGHT}}


def test_a_step_without_faults_has_none(gpu):
    none = {key: gpu[key] for key in ("serial_loops", "loops", "collectives", "host_transfers", "wrong_dtypes")}
    assert none == {"serial_loops": 0, "loops": [], "collectives": [], "host_transfers": 0, "wrong_dtypes": []}


def test_loops_and_their_turns():
    (outer,) = loops(hlo.parse(TPU), "main")
    assert (outer.turns, outer.body) == (30, "body")
    (inner,) = outer.inner
    assert (inner.turns, inner.origin) == (128, "step/vmap()/gather")
    assert [loop.turns for loop in loops(hlo.parse(GPU), "main")] == [30]


def test_the_faults_of_a_step_are_found(tpu):
    assert tpu["serial_loops"] == 1
    assert tpu["loops"] == [{"turns": 128, "origin": "step/vmap()/gather"}]
    assert tpu["collectives"] == [{"kind": "all-reduce", "count": 1, "bytes": 1280}]
    assert tpu["host_transfers"] == 1
    assert tpu["wrong_dtypes"] == ["wide: f32[128, 8, 8, 320]"]
    # 160 channels are padded to 256 lanes, and no longer lie behind the batch.
    assert tpu["copies"] == {"activations": {"count": 1, "bytes": 2 * 128 * 64 * (160 + 256)}}
    assert tpu["outside_the_loop"]["copies"] == {"data set": {"count": 1, "bytes": 50_000 * 128 * (32 * 32 + 3 * 32)}}


def test_cycles_count_with_the_turns_of_their_loop(tpu):
    assert tpu["estimated_cycles"] == 128 * 1800 + 20_000
    assert tpu["estimated_ms"] == pytest.approx(1e3 * tpu["estimated_cycles"] / 1.5e9)
    assert tpu["outside_the_loop"]["estimated_ms"] == pytest.approx(5.0)


def test_what_lies_on_the_chip_moves_nothing_and_copies_to_it_run_beside():
    found = {kernel.name: kernel for kernel in kernels(hlo.parse(TPU), "body")}
    assert found["begun"].asynchronous_copy
    assert found["begun"].bytes == 2 * 9 * 160 * 384  # 320 padded to 384
    assert found["wide"].bytes == 2 * 128 * 64 * 160 + 4 * 128 * 64 * 320
    assert found["wide"].flops == 2 * 128 * 64 * 320 * 9 * 160


def test_a_part_of_a_weight_on_its_way_to_the_chip_is_no_activation():
    begun = "(f32[1,3,640,640]{3,2,1,0:T(8,128)S(1)}, f32[1,3,640,640]{3,2,1,0:T(8,128)}, u32[]{:S(2)})"
    program = f"ENTRY %e (x: f32[]) -> f32[] {{\n  ROOT %part = {begun} copy-start(%x)\n}}"
    found = counts.count(hlo.parse(program), V5E, ARRAYS, 30)
    assert found["kernels"] == 1
    assert found["wrong_dtypes"] == []


def product(dims, result, labels, window):
    left, right = (f"f32[{','.join(map(str, size))}]" for size in dims)
    (kernel,) = kernels(
        hlo.parse(
            "ENTRY %e (x: f32[]) -> f32[] {\n"
            f"  %l = {left} parameter(0)\n  %r = {right} parameter(1)\n"
            f"  ROOT %c = f32[{','.join(map(str, result))}] convolution(%l, %r), {window} dim_labels={labels}\n}}"
        ),
        "e",
    )
    return kernel.flops


@pytest.mark.parametrize(
    ("dims", "result", "labels", "window"),
    [
        # Forward with strides, its two gradients, and a gradient in which kernel and images have changed places.
        (
            ((8, 32, 32, 16), (3, 3, 16, 24)),
            (8, 16, 16, 24),
            "b01f_01io->b01f",
            "window={size=3x3 stride=2x2 pad=1_1x1_1},",
        ),
        (
            ((8, 16, 16, 24), (3, 3, 16, 24)),
            (8, 32, 32, 16),
            "b01f_01oi->b01f",
            "window={size=3x3 pad=1_2x1_2 lhs_dilate=2x2},",
        ),
        (
            ((8, 32, 32, 16), (8, 16, 16, 24)),
            (3, 3, 16, 24),
            "f01b_i01o->01bf",
            "window={size=16x16 pad=1_0x1_0 rhs_dilate=2x2},",
        ),
    ],
)
def test_a_convolution_and_its_gradients_have_the_same_products(dims, result, labels, window):
    assert product(dims, result, labels, window) == 2 * 8 * 16 * 16 * 24 * 9 * 16


def test_padding_as_wide_as_the_window_is_no_product():
    window = "window={size=32x32 pad=31_31x31_31 rhs_reversal=1x1},"
    found = product(((1, 1, 16, 24), (8, 32, 32, 24)), (8, 32, 32, 16), "01bf_o01i->f01b", window)
    assert found == 2 * 8 * 32 * 32 * 24 * 16


def test_a_matrix_product_as_a_convolution():
    assert product(((128, 640), (640, 10)), (128, 10), "bf_io->bf", "") == 2 * 128 * 640 * 10
