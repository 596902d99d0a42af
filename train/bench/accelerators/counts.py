"""What a program costs in each of its steps: counts, and a bound from the peaks of a target."""

import collections
import dataclasses
import functools
from collections.abc import Iterable, Sequence
from typing import Any

from train.bench.accelerators.hlo import Computation, Module, Shape
from train.bench.accelerators.kernels import Kernel, kernels
from train.bench.accelerators.loops import Loop, flattened, loops, run_kernels
from train.bench.accelerators.targets import Target

_LARGEST = 10
_SMALL = 2**16  # bytes of a copy that nobody needs to look at


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arrays:
    """How to tell the arrays of a program apart.

    Attributes:
      weights: Sizes other than 1, sorted, of all arrays of the state; see `Shape.essential`.
      activation: Elements from which on an array that is no weight counts as an activation.
      dataset: Elements of the data set's images.
    """

    weights: frozenset[tuple[int, ...]]
    activation: int
    dataset: int

    def kind(self, shape: Shape) -> str:
        """One of "weights", "activations", "data set" and "small"."""
        if shape.essential in self.weights:
            return "weights"
        if shape.elements >= self.dataset:
            return "data set"
        return "activations" if shape.elements >= self.activation else "small"


def count(module: Module, target: Target, arrays: Arrays, turns: int) -> dict[str, Any]:
    """Count what one turn of the outermost loop costs, and what is done before and after the loop.

    Args:
      module: The program.
      target: What it was compiled for.
      arrays: How to tell its arrays apart.
      turns: Of the outermost loop; a program without such a loop is taken to be a single turn.

    Returns:
      The figures, ready for JSON.
    """
    outer = next((loop for loop in loops(module, module.entry) if loop.turns == turns), None)
    body = module.entry if outer is None else outer.body
    inner = tuple(loops(module, module.entry)) if outer is None else outer.inner
    step = run_kernels(module, body, inner)
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
    """Milliseconds that no schedule of these kernels can beat at the target's peaks.

    A kernel takes at least the time of its products or that of its bytes. Asynchronous copies run beside the others:
    their bytes count against the bandwidth as a whole.
    """
    run = list(run)
    alone = sum(_seconds(kernel, target) * times for kernel, times in run if not kernel.beside)
    moved = sum(kernel.bytes * times for kernel, times in run) / target.bandwidth
    return 1e3 * max(alone, moved)


def optimizer_bytes(module: Module, turns: int, weights: frozenset[tuple[int, ...]], parameters: int) -> float | None:
    """Bytes per parameter that the kernels move in which new weights and buffers are made.

    Of these kernels the arrays in the shape of a weight count; on TPUs the same kernel computes the gradient, whose
    images belong to the network. Scalars and batch statistics are too small to matter.
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
    """Bytes without padding, in whatever memory."""
    return dataclasses.replace(shape, tile=()).bytes


def _maker(body: Computation, name: str) -> str:
    """The kernel that a name comes from, through views."""
    instruction = body[name]
    while instruction.opcode in ("get-tuple-element", "bitcast", "copy-done", "copy-start", "copy"):
        if not instruction.operands or instruction.operands[0] not in body:
            break
        instruction = body[instruction.operands[0]]
    return instruction.name


def _outside(module: Module, outer: Loop) -> list[tuple[Kernel, int]]:
    others = tuple(loop for loop in loops(module, module.entry) if loop is not outer and loop.body != outer.body)
    return run_kernels(module, module.entry, others)


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
    """Activations in float32 or wider, each as name and shape; to be looked at where activations are bfloat16."""
    return [
        f"{kernel.name}: {shape.dtype}{list(shape.dims)}"
        for kernel, _ in run
        # An asynchronous copy may bring a part of a weight, and makes nothing.
        for shape in (() if kernel.beside else kernel.results)
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
    """By the bound; where the compiler estimates cycles, by the larger of the two."""
    kernel, times = run
    return max(_seconds(kernel, target), (kernel.cycles or 0) / (target.clock or 1.0)) * times
