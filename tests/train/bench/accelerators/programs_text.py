"""Short scheduled programs, written by hand in the form that XLA prints: one step each, in a loop of 30 turns.

The GPU program has two cuDNN convolutions, an update in place, and the transpose of a weight before the loop. The TPU
program has padded tiles, arrays on the chip, a serial loop of 128 turns, an all-reduce and a copy to the host.
"""

from pathlib import Path

GPU = Path(__file__).with_name("gpu.hlo").read_text()
TPU = Path(__file__).with_name("tpu.hlo").read_text()
