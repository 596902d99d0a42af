"""Find the loops of a scheduled program and their number of turns."""

import dataclasses
import re

from train.bench.accelerators.hlo import Computation, Instruction, Module
from train.bench.accelerators.kernels import Kernel, kernels
from train.bench.accelerators.products import called


@dataclasses.dataclass(frozen=True, kw_only=True)
class Loop:
    """A `while` loop.

    Attributes:
      body: Name of the computation that it repeats.
      turns: Number of turns, or None if only the running program knows.
      origin: The JAX operation that it comes from.
      inner: Loops within it.
    """

    body: str
    turns: int | None
    origin: str
    inner: tuple["Loop", ...]


def loops(module: Module, computation: str) -> list[Loop]:
    """List the loops of a computation, each with the loops inside it."""
    found = []
    for instruction in module.computations[computation].values():
        if instruction.opcode == "while":
            body = instruction.attribute("body") or ""
            origin = re.search(r'op_name="([^"]*)"', instruction.attributes)
            inner = tuple(loops(module, body))
            turns = _turns(module, instruction)
            found.append(Loop(body=body, turns=turns, origin=origin[1] if origin else "", inner=inner))
        elif instruction.opcode in ("call", "conditional"):
            found += [loop for name in called(instruction) for loop in loops(module, name)]
    return found


def flattened(found: list[Loop] | tuple[Loop, ...]) -> list[Loop]:
    """List loops and all loops inside them."""
    return [deeper for loop in found for deeper in (loop, *flattened(loop.inner))]


def kernels_with_counts(module: Module, computation: str, inner: tuple[Loop, ...]) -> list[tuple[Kernel, int]]:
    """List the kernels of a computation and its loops, each with the number of times it runs.

    A loop with an unknown number of turns counts as a single turn.
    """
    found = [(kernel, 1) for kernel in kernels(module, computation)]
    for loop in inner:
        turns = 1 if loop.turns is None else loop.turns
        found += [(kernel, times * turns) for kernel, times in kernels_with_counts(module, loop.body, loop.inner)]
    return found


def _turns(module: Module, instruction: Instruction) -> int | None:
    """Number of turns: as the compiler notes it, or the limit of a counter that begins at zero."""
    known = re.search(r'"known_trip_count":\{"n":"(\d+)"\}', instruction.attributes)
    if known is not None:
        return int(known[1])
    condition = module.computations.get(instruction.attribute("condition") or "", {})
    root = next((i for i in condition.values() if i.root), None)
    if root is None or root.opcode != "compare" or root.attribute("direction") != "LT":
        return None
    return _constant(condition, root.operands[1])


def _constant(computation: Computation, name: str) -> int | None:
    made = computation.get(name)
    return int(made.inside) if made is not None and made.opcode == "constant" and made.inside.isdigit() else None
