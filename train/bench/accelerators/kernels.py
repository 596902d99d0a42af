"""Find out what each kernel of a scheduled program computes and moves."""

import dataclasses
import re

from train.bench.accelerators.hlo import Computation, Instruction, Module, Shape
from train.bench.accelerators.products import Product, called, library_target, products

# Opcodes that cost nothing: names, views, and the ends of asynchronous operations.
_FREE = {
    "parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "partition-id", "replica-id",
    "opt-barrier", "copy-done", "async-done", "async-update", "slice-done", "all-reduce-done", "all-gather-done",
    "collective-permute-done", "send-done", "recv-done",
}  # fmt: skip
_BUFFERS = ("AllocateBuffer", "AssumeGatherIndicesInBound", "Sharding", "GatherScatterIndicesBitpacked")
COLLECTIVES = (
    "all-reduce", "all-gather", "reduce-scatter", "all-to-all", "ragged-all-to-all", "collective-permute",
    "collective-broadcast",
)  # fmt: skip
_MOVES = {"copy", "transpose", "parameter", "bitcast", "reshape", "tuple", "get-tuple-element"}
_HOST_OPCODES = {"infeed", "outfeed", "send", "recv"}
_HOST_SPACE = 5
_STARTS = ("copy-start", "slice-start", "async-start")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kernel:
    """One kernel of the schedule.

    Attributes:
      name: Name of the instruction.
      opcode: Opcode of the instruction.
      operands: The arrays it reads.
      results: The arrays it writes.
      bytes: Bytes read from and written to the device's memory. If only a slice of an array is read, only the slice.
      products: The convolutions and matrix products inside.
      cycles: The compiler's estimate, or None if it makes none.
      asynchronous_copy: Whether it is an asynchronous copy, which runs at the same time as other kernels.
      moves_only: Whether it only copies or transposes.
      collective: The kind of collective, or None if it is not one.
      to_host: Whether it moves data from or to the host.
      origin: The JAX operation that it comes from.
    """

    name: str
    opcode: str
    operands: tuple[Shape, ...]
    results: tuple[Shape, ...]
    bytes: int
    products: tuple[Product, ...] = ()
    cycles: int | None = None
    asynchronous_copy: bool = False
    moves_only: bool = False
    collective: str | None = None
    to_host: bool = False
    origin: str = ""

    @property
    def flops(self) -> int:
        """Floating-point operations in all products."""
        return sum(product.flops for product in self.products)


def kernels(module: Module, computation: str) -> list[Kernel]:
    """List the kernels of a computation, with those of all calls and all branches, but without those of its loops."""
    found = []
    body = module.computations[computation]
    for instruction in body.values():
        if instruction.opcode in ("call", "conditional"):
            found += [k for name in called(instruction) for k in kernels(module, name)]
        elif _is_kernel(instruction):
            found.append(_kernel(module, body, instruction))
    return found


def _is_kernel(instruction: Instruction) -> bool:
    if instruction.opcode in _FREE or instruction.opcode == "while":
        return False
    return not (instruction.opcode == "custom-call" and library_target(instruction) in _BUFFERS)


def _kernel(module: Module, body: Computation, instruction: Instruction) -> Kernel:
    operands = _operands(body, instruction)
    begun = instruction.opcode.endswith("-start")
    results = instruction.shapes
    if instruction.opcode in _STARTS or instruction.opcode == "collective-permute-start":
        results = results[:1] if instruction.opcode == "copy-start" else results[len(operands) : len(operands) + 1]
    kind = instruction.opcode.removesuffix("-start")
    inner = [inner.opcode for name in called(instruction) for inner in module.computations.get(name, {}).values()]
    collective = next((name for name in COLLECTIVES if name == kind or name in inner), None)
    cycles = re.search(r'"estimated_cycles":"(\d+)"', instruction.attributes)
    origin = re.search(r'op_name="([^"]*)"', instruction.attributes)
    return Kernel(
        name=instruction.name,
        opcode=instruction.opcode,
        operands=tuple(operands),
        results=results,
        bytes=_read(module, body, instruction) + _written(module, instruction, results),
        products=tuple(products(module, body, instruction)),
        cycles=int(cycles[1]) if cycles else None,
        asynchronous_copy=begun and collective is None,
        moves_only=_moves_only(module, instruction, operands, results),
        collective=collective,
        to_host=_to_host(instruction, operands, results),
        origin=origin[1] if origin else "",
    )


def _operands(body: Computation, instruction: Instruction) -> list[Shape]:
    return [shape for name in dict.fromkeys(instruction.operands) if name in body for shape in body[name].shapes]


def _read(module: Module, body: Computation, instruction: Instruction) -> int:
    """Bytes that an instruction reads from the device's memory."""
    total = 0
    for index, name in enumerate(instruction.operands):
        if name not in body or name in instruction.operands[:index]:
            continue
        whole = sum(shape.bytes for shape in body[name].shapes if shape.space == 0)
        if whole:
            total += _read_of(module, instruction, index, whole)
    return total


def _read_of(module: Module, instruction: Instruction, index: int, whole: int) -> int:
    """Bytes that an instruction reads from one operand of `whole` bytes."""
    if instruction.opcode in ("dynamic-slice", "gather", "slice"):
        return min(whole, sum(shape.bytes for shape in instruction.shapes)) if index == 0 else whole
    if instruction.opcode in ("dynamic-update-slice", "scatter") and index == 0:
        return 0
    if instruction.opcode not in ("fusion", "async-start"):
        return whole
    return max((_read_inside(module, name, index, whole) for name in called(instruction)), default=whole)


def _read_inside(module: Module, computation: str, index: int, whole: int) -> int:
    """Bytes that a fused computation reads from one of its parameters, which has `whole` bytes."""
    body = module.computations[computation]
    names = {i.name for i in body.values() if i.opcode == "parameter" and i.inside.strip() == str(index)}
    total = 0
    for user in body.values():
        used = [i for i, name in enumerate(user.operands) if name in names]
        if not used:
            continue
        if user.opcode in ("bitcast", "reshape") and not user.root:
            names.add(user.name)  # a view
        elif user.opcode in ("tuple", "get-tuple-element"):
            total += whole
        else:
            total += max(_read_of(module, user, i, whole) for i in used)
    return min(total, whole)


def _written(module: Module, instruction: Instruction, results: tuple[Shape, ...]) -> int:
    """Bytes that an instruction writes to the device's memory. An update in place writes only the update."""
    root = instruction
    if instruction.opcode == "fusion":
        (name,) = called(instruction)[:1]
        inside = module.computations[name]
        root = next(i for i in inside.values() if i.root)
        roots = [inside[o] for o in root.operands] if root.opcode == "tuple" else [root]
    else:
        inside, roots = {}, [root]
    if len(roots) != len(results):
        return sum(shape.bytes for shape in results if shape.space == 0)
    total = 0
    for made, shape in zip(roots, results, strict=True):
        if shape.space == 0:
            updates = inside.get(made.operands[1]) if made.opcode == "dynamic-update-slice" else None
            total += shape.bytes if updates is None else updates.shapes[0].bytes
    return total


def _moves_only(module: Module, instruction: Instruction, operands: list[Shape], results: tuple[Shape, ...]) -> bool:
    """Whether an instruction copies or transposes within the device's memory, and nothing else."""
    if any(shape.space != 0 for shape in (*operands, *results)):
        return False  # between the chip and its memory: a kernel that used the data would do the same
    if instruction.opcode in ("copy", "transpose", "copy-start"):
        return True
    inside = [inner.opcode for name in called(instruction) for inner in module.computations[name].values()]
    return instruction.opcode == "fusion" and set(inside) <= _MOVES and {"copy", "transpose"} & set(inside) != set()


def _to_host(instruction: Instruction, operands: list[Shape], results: tuple[Shape, ...]) -> bool:
    if instruction.opcode.removesuffix("-start") in _HOST_OPCODES or "callback" in library_target(instruction):
        return True
    return any(shape.space == _HOST_SPACE for shape in (*operands, *results))
