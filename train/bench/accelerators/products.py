"""Find the convolutions and matrix products of a scheduled program, in XLA's own code or in library calls."""

import dataclasses
import math
import re
from collections.abc import Iterator

from train.bench.accelerators.hlo import Computation, Instruction, Module


@dataclasses.dataclass(frozen=True, kw_only=True)
class Product:
    """A convolution or a matrix product.

    Attributes:
      dtype: Dtype of its factors.
      layout: Labels of its dimensions, such as b01f_01io->b01f.
      flops: Floating-point operations. A multiplication and an addition are two. Those with zeros of the padding count
        too, because the chip performs them.
    """

    dtype: str
    layout: str
    flops: int


def called(instruction: Instruction) -> list[str]:
    """Names of the computations that an instruction calls."""
    keys = r"(?:calls|to_apply|true_computation|false_computation|called_computations|branch_computations)"
    found = re.findall(rf"{keys}=(\{{[^}}]*\}}|%?[\w.\-]+)", instruction.attributes)
    return [name for text in found for name in re.findall(r"[\w.\-]+", text)]


def products(module: Module, body: Computation, instruction: Instruction) -> Iterator[Product]:
    """Yield the products of an instruction, including those inside a fusion."""
    if instruction.opcode == "convolution":
        yield _convolution(body, instruction)
    elif instruction.opcode == "dot":
        yield _dot(body, instruction)
    elif instruction.opcode == "custom-call":
        yield from _library_call(body, instruction)
    elif instruction.opcode == "fusion":
        for name in called(instruction):
            inside = module.computations[name]
            for inner in inside.values():
                yield from products(module, inside, inner)


def _convolution(body: Computation, instruction: Instruction) -> Product:
    labels = instruction.attribute("dim_labels") or ""
    left, right = (body[name].shapes[0] for name in instruction.operands[:2])
    images, _, rest = labels.partition("_")
    kernel, _, output = rest.partition("->")
    result = instruction.shapes[0]
    holes = _window(instruction, "lhs_dilate")
    flops = 2 * right.dims[kernel.index("i")]
    flops *= math.prod(result.dims[output.index(label)] for label in "bf")
    for axis, hole in enumerate(holes or [1] * (len(images) - 2)):
        size, window = (shape.dims[labels.index(str(axis))] for shape, labels in ((left, images), (right, kernel)))
        # Each element of the result uses the whole window, except for the holes of a dilated input. An image of one
        # pixel, with padding as wide as the window, uses each element of the window once.
        flops *= min(result.dims[output.index(str(axis))] * window // hole, size * window)
    return Product(dtype=left.dtype, layout=labels, flops=flops)


def _window(instruction: Instruction, name: str) -> list[int]:
    found = re.search(rf"[{{ ]{name}=([\dx]+)", instruction.attributes)
    return [int(size) for size in found[1].split("x")] if found else []


def _dot(body: Computation, instruction: Instruction) -> Product:
    left = body[instruction.operands[0]].shapes[0]
    contracted = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", instruction.attributes)
    depth = math.prod(left.dims[int(i)] for i in contracted[1].split(",") if i) if contracted else 1
    return Product(dtype=left.dtype, layout="dot", flops=2 * instruction.shapes[0].elements * depth)


def _library_call(body: Computation, instruction: Instruction) -> Iterator[Product]:
    """Yield the convolution of a cuDNN call or the product of a cuBLAS call."""
    target = library_target(instruction)
    factors = [body[name].shapes[0] for name in instruction.operands[:2] if name in body]
    if target.startswith("__cudnn$conv") and len(factors) == 2:
        labels = instruction.attribute("dim_labels") or ""
        result = instruction.shapes[0]
        image_labels = labels.partition("->")[2]
        # The result is the input, the kernel or the output of the convolution. In any case, each element of the output
        # is multiplied with each element of the kernel that has the same feature.
        output, weights = {
            "__cudnn$convBackwardInput": (factors[0], factors[1]),
            "__cudnn$convBackwardFilter": (factors[1], result),
        }.get(target, (result, factors[1]))
        features = output.dims[image_labels.index("f")]
        yield Product(dtype=factors[0].dtype, layout=labels, flops=2 * output.elements * weights.elements // features)
    elif "cublas" in target and len(factors) == 2:
        # The product of the element counts of the three matrices is (rows * depth * columns) squared.
        volume = math.isqrt(factors[0].elements * factors[1].elements * instruction.shapes[0].elements)
        yield Product(dtype=factors[0].dtype, layout="dot", flops=2 * volume)


def library_target(instruction: Instruction) -> str:
    """The target of a custom call; "" for other instructions."""
    return (instruction.attribute("custom_call_target") or "").strip('"')
