"""Count what each step of a program costs, and bound its time from below by the peak rates of a target."""

import collections
import dataclasses
import functools
from collections.abc import Iterable, Sequence
from typing import Any

from train.bench.accelerators.hlo import Computation, Module, Shape
from train.bench.accelerators.kernels import Kernel, kernels
from train.bench.accelerators.loops import Loop, flattened, kernels_with_counts, loops
from train.bench.accelerators.targets import Target

_LARGEST = 10
_SMALL = 2**16  # bytes up to which a copy is not worth reporting


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arrays:
    """Sizes that tell weights, activations and data set apart.

    Attributes:
      weights: `Shape.essential` of all arrays in the training state.
      activation: The fewest elements of an array that counts as an activation, if it is not a weight.
      dataset: Number of elements in all images of the data set.
    """

    weights: frozenset[tuple[int, ...]]
    activation: int
    dataset: int

    def kind(self, shape: Shape) -> str:
        """Return "weights", "activations", "data set" or "small"."""
        if shape.essential in self.weights:
            return "weights"
        if shape.elements >= self.dataset:
            return "data set"
        return "activations" if shape.elements >= self.activation else "small"


def count(module: Module, target: Target, arrays: Arrays, turns: int) -> dict[str, Any]:
    """Count the cost of one turn of the outermost loop, and of everything before and after the loop.

    Args:
      module: The program.
      target: The accelerator it was compiled for.
      arrays: Sizes that tell its arrays apart.
      turns: Number of turns of the outermost loop. A program without such a loop counts as a single turn.

    Returns:
      The figures, ready for JSON.
    """
    outer = next((loop for loop in loops(module, module.entry) if loop.turns == turns), None)
    body = module.entry if outer is None else outer.body
    inner = tuple(loops(module, module.entry)) if outer is None else outer.inner
    step = kernels_with_counts(module, body, inner)
    outside = [] if outer is None else _outside(module, outer)
    serial = flattened(inner)
    return {
        "flops_per_step": sum(kernel.flops * times for kernel, times in step),
        "bytes_per_step": sum(kernel.bytes * times for kernel, times in step),
        "bound_ms": bound_ms(step, target),
        "estimated_cycles": _cycles(step, target),
        "estimated_ms": _estimated_ms(step, target),
        "products_floor_ms": sum(_product_seconds(kernel, target) * times for kernel, times in step) * 1e3,
        "kernels": sum(times for _, times in step),
        "products": _products(step),
        "copies": _copies(step, arrays),
        "serial_loops": len(serial),
        "loops": [{"turns": loop.turns, "origin": loop.origin} for loop in serial],
        "collectives": _collectives(step),
        "host_transfers": sum(times for kernel, times in step + outside if kernel.to_host),
        "wrong_dtypes": _wrong_dtypes(step, arrays),
        "largest_kernels": _largest(step, target),
        "outside_the_loop": {
            "bytes": sum(kernel.bytes * times for kernel, times in outside),
            "bound_ms": bound_ms(outside, target),
            "estimated_ms": _estimated_ms(outside, target),
            "copies": _copies(outside, arrays),
            "collectives": _collectives(outside),
            "largest_kernels": _largest(outside, target)[:3],
        },
    }


def bound_ms(run: Iterable[tuple[Kernel, int]], target: Target) -> float:
    """The least time in milliseconds that these kernels can take at the target's peak rates, in any schedule.

    A kernel takes at least the time to compute its products, and at least the time to move its bytes. Asynchronous
    copies run at the same time as other kernels, so their bytes only count towards the total that is moved.
    """
    run = list(run)
    alone = sum(_seconds(kernel, target) * times for kernel, times in run if not kernel.asynchronous_copy)
    moved = sum(kernel.bytes * times for kernel, times in run) / target.bandwidth
    return 1e3 * max(alone, moved)


def optimizer_bytes(module: Module, turns: int, weights: frozenset[tuple[int, ...]], parameters: int) -> float | None:
    """Bytes per parameter that the optimizer moves: those of the kernels that write the new weights and buffers.

    Only arrays in the shape of a weight count, because on TPUs the same kernel also computes the gradient and reads
    activations for it. Scalars and batch statistics are too small to matter.
    """
    outer = next((loop for loop in loops(module, module.entry) if loop.turns == turns), None)
    if outer is None:
        return None
    body = module.computations[outer.body]
    root = next(i for i in body.values() if i.root)
    makers = {_maker(body, name) for name in root.operands}
    total = 0
    for kernel in kernels(module, outer.body):
        if kernel.name in makers and any(shape.dtype == "f32" for shape in kernel.results):
            arrays = [*kernel.operands, *kernel.results]
            total += sum(_logical(shape) for shape in arrays if shape.essential in weights and shape.essential)
    return total / parameters


def _logical(shape: Shape) -> int:
    """Bytes of an array without padding, wherever it is in memory."""
    return dataclasses.replace(shape, tile=()).bytes


def _maker(body: Computation, name: str) -> str:
    """The kernel that computes a value, found through views and copies of it."""
    instruction = body[name]
    while instruction.opcode in ("get-tuple-element", "bitcast", "copy-done", "copy-start", "copy"):
        if not instruction.operands or instruction.operands[0] not in body:
            break
        instruction = body[instruction.operands[0]]
    return instruction.name


def _outside(module: Module, outer: Loop) -> list[tuple[Kernel, int]]:
    others = tuple(loop for loop in loops(module, module.entry) if loop is not outer and loop.body != outer.body)
    return kernels_with_counts(module, module.entry, others)


def _seconds(kernel: Kernel, target: Target) -> float:
    return max(_product_seconds(kernel, target), kernel.bytes / target.bandwidth)


def _product_seconds(kernel: Kernel, target: Target) -> float:
    return sum(product.flops / target.peak(product.dtype) for product in kernel.products)


def _cycles(run: Sequence[tuple[Kernel, int]], target: Target) -> int | None:
    return None if target.clock is None else sum((kernel.cycles or 0) * times for kernel, times in run)


def _estimated_ms(run: Sequence[tuple[Kernel, int]], target: Target) -> float | None:
    cycles = _cycles(run, target)
    return None if cycles is None or target.clock is None else 1e3 * cycles / target.clock


def _products(run: Iterable[tuple[Kernel, int]]) -> list[dict[str, Any]]:
    numbers: collections.Counter = collections.Counter()
    for kernel, times in run:
        for product in kernel.products:
            numbers[product.dtype, product.layout] += times
    return [{"dtype": dtype, "layout": layout, "count": n} for (dtype, layout), n in numbers.most_common()]


def _copies(run: Iterable[tuple[Kernel, int]], arrays: Arrays) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for kernel, times in run:
        if kernel.moves_only and kernel.bytes >= _SMALL:
            kinds = found.setdefault(arrays.kind(kernel.results[0]), {"count": 0, "bytes": 0})
            kinds["count"] += times
            kinds["bytes"] += kernel.bytes * times
    return found


def _collectives(run: Iterable[tuple[Kernel, int]]) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for kernel, times in run:
        if kernel.collective is not None:
            row = found.setdefault(kernel.collective, {"kind": kernel.collective, "count": 0, "bytes": 0})
            row["count"] += times
            row["bytes"] += sum(_logical(shape) for shape in kernel.results) * times
    return list(found.values())


def _wrong_dtypes(run: Iterable[tuple[Kernel, int]], arrays: Arrays) -> list[str]:
    """Name and shape of each activation in float32 or wider. A fault if activations should be bfloat16."""
    return [
        f"{kernel.name}: {shape.dtype}{list(shape.dims)}"
        for kernel, _ in run
        # An asynchronous copy computes nothing, and may read a part of a weight.
        for shape in (() if kernel.asynchronous_copy else kernel.results)
        if shape.dtype in ("f32", "f64") and arrays.kind(shape) == "activations"
    ]


def _largest(run: Iterable[tuple[Kernel, int]], target: Target) -> list[dict[str, Any]]:
    by_bound = functools.partial(_weight, target=target)
    return [
        {
            "kernel": kernel.name,
            "times": times,
            "bound_ms": 1e3 * _seconds(kernel, target) * times,
            "estimated_ms": _estimated_ms([(kernel, times)], target),
            "flops": kernel.flops * times,
            "bytes": kernel.bytes * times,
            "origin": kernel.origin,
        }
        for kernel, times in sorted(run, key=by_bound, reverse=True)[:_LARGEST]
    ]


def _weight(run: tuple[Kernel, int], target: Target) -> float:
    """Seconds that kernels are ranked by: the bound, or the compiler's estimate if it makes one and that is larger."""
    kernel, times = run
    return max(_seconds(kernel, target), (kernel.cycles or 0) / (target.clock or 1.0)) * times
