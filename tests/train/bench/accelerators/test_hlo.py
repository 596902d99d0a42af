"""Parsing the text of scheduled programs."""

import pytest

from tests.train.bench.accelerators.programs_text import GPU, TPU
from train.bench.accelerators import hlo


def test_computations_instructions_and_donated_outputs():
    module = hlo.parse(GPU)
    assert module.entry == "main"
    assert module.donated == 2
    assert hlo.parse(TPU).donated == 0
    update = module.computations["fused_update"]
    assert list(update) == ["p.0", "p.1", "wide", "sum"]
    assert update["sum"].root
    assert update["sum"].operands == ("p.0", "wide")
    loop = module.computations["main"]["loop"]
    assert (loop.opcode, loop.attribute("body")) == ("while", "body")
    assert [shape.dtype for shape in loop.shapes] == ["s32", "f32", "u8", "s32", "f32"]
    conv = module.computations["body"]["conv"]
    assert conv.attribute("dim_labels") == "b01f_o01i->b01f"
    assert conv.attribute("custom_call_target") == '"__cudnn$convForward"'
    assert conv.shapes[0] == hlo.Shape("bf16", (128, 16, 16, 16), (3, 2, 1, 0))


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("f32[]", 4),
        ("pred[7]{0}", 7),
        ("s4[6]{0}", 3),
        ("bf16[128,32,32,16]{0,3,2,1:T(8,128)(2,1)S(1)}", 2 * 128 * 32 * 32 * 16),
        # The fastest two are padded to the tile: 3 to 8 and 32 to 128; 40 to 128 and 3 to 8.
        ("u8[5,32,32,3]{2,1,3,0:T(8,128)(4,1)}", 5 * 3 * 32 * 128),
        ("u8[5,32,32,3]{3,2,1,0:T(8,128)(4,1)}", 5 * 32 * 32 * 128),
        ("f32[100]{0:T(128)}", 4 * 128),
        ("s32[128,4]{1,0:T(8,128)}", 4 * 128 * 128),
    ],
)
def test_bytes_with_the_padding_of_tiles(text, size):
    (shape,) = hlo.shapes(text)
    assert shape.bytes == size


def test_memory_spaces_and_transpositions():
    near, far = hlo.shapes("(f32[3,1,5]{2,1,0:T(8,128)S(1)}, f32[5,3]{1,0})")
    assert (near.space, far.space) == (1, 0)
    assert near.essential == far.essential == (3, 5)


def test_text_without_a_program_is_refused():
    with pytest.raises(ValueError, match="no entry computation"):
        hlo.parse("HloModule nothing")
