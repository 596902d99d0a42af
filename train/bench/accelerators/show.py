"""Print the compilers' counts as tables for a terminal, and make a table of them for the documentation."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from train import files
from train.bench.accelerators.targets import TARGETS, Target

WHAT_THEY_ARE = (
    "The accelerators' own compilers made these counts and estimates, without the accelerators. Nothing was run and "
    "no time was measured. The bound is the least time that the counted products and bytes take at the assumed peak "
    "rates. For a TPU, the estimated time comes from its compiler's cost model. A real step takes longer."
)


def print_target(console: Console, target: Target, options: dict[str, Any], found: dict[str, Any]) -> None:
    """Print the figures of one target and its largest kernels."""
    if not console.file.isatty():
        console.width = 140  # a file or a pipe has no width of its own
    network = f"WRN-{options['depth']}-{options['width']}, batch {options['batch_size']}, {options['dtype']}"
    many = f"{options['devices']} device(s), {options['seeds']} seed(s)"
    console.print(f"{target.description}: {network}, {many}; compiled by {found['compiler']}", highlight=False)
    table = Table(target.name, "", box=None)
    for name, value in _rows(found):
        table.add_row(name, value)
    console.print(table)
    console.print(
        f"Assumed: {target.bfloat16 / 1e12:.0f} TFLOP/s in bfloat16, {target.float32 / 1e12:.0f} in float32, "
        f"{target.bandwidth / 1e12:.2f} TB/s ({target.peaks}).",
        highlight=False,
    )
    largest = Table("largest kernels of a step", "times", "bound, ms", "estimated, ms", "from", box=None)
    for row in found["largest_kernels"]:
        estimated = "" if row["estimated_ms"] is None else f"{row['estimated_ms']:.4f}"
        # The end of a long name says most.
        origin = row["origin"][-60:]
        largest.add_row(row["kernel"], str(row["times"]), f"{row['bound_ms']:.4f}", estimated, origin)
    console.print(largest)
    console.print()


def markdown_rows(path: Path) -> list[list[str]]:
    """Make the rows of a Markdown table from one record, one row per target.

    Columns: target, network, GFLOP, GB moved, bound in ms, compiler's estimate in ms, kernels, loops, collectives,
    optimizer's bytes per parameter, LCAM's bytes over SGD's, GB in memory.
    """
    document = files.loads(path.read_bytes())
    (options,) = [r["options"] for r in document["results"] if r["benchmark"] == "compiled"]
    network = f"WRN-{options['depth']}-{options['width']}"
    return [
        [
            name if options["devices"] == 1 else f"{options['devices']} x {name}",
            network if options["seeds"] == 1 else f"{options['seeds']} x {network}",
            f"{found['flops_per_step'] / 1e9:,.0f}",
            f"{found['bytes_per_step'] / 1e9:.3g}",
            f"{found['bound_ms']:.3g}",
            "" if found["estimated_ms"] is None else f"{found['estimated_ms']:.3g}",
            str(found["kernels"]),
            str(found["serial_loops"]),
            str(sum(row["count"] for row in found["collectives"])),
            f"{found['optimizer_bytes_per_parameter']:.1f}",
            f"{found['lcam_over_sgd_bytes']:.5f}",
            f"{found['peak_bytes'] / 1e9:.3g}",
        ]
        for name, found in document["targets"].items()
    ]


def scaling_rows(path: Path) -> list[list[str]]:
    """Make the rows of a Markdown table from one record of several devices: one step on one device per target.

    Columns: target, devices, seeds, GFLOP, bound in ms, compiler's estimate in ms, collectives, MB in them, least ms
    for these MB on the links, GB in memory.
    """
    document = files.loads(path.read_bytes())
    (options,) = [r["options"] for r in document["results"] if r["benchmark"] == "compiled"]
    rows = []
    for name, found in document["targets"].items():
        count = sum(row["count"] for row in found["collectives"])
        size = sum(row["bytes"] for row in found["collectives"])
        sharing = options["devices"] // options["seeds"]
        # In a sum over n devices, each device sends at least 2 (n - 1) / n of the bytes.
        seconds = 2 * (sharing - 1) / sharing * size / TARGETS[name].link
        rows.append(
            [
                name,
                str(options["devices"]),
                str(options["seeds"]),
                f"{found['flops_per_step'] / 1e9:,.0f}",
                f"{found['bound_ms']:.3g}",
                "" if found["estimated_ms"] is None else f"{found['estimated_ms']:.3g}",
                str(count),
                f"{size / 1e6:.1f}",
                f"{1e3 * seconds:.2f}",
                f"{found['peak_bytes'] / 1e9:.3g}",
            ]
        )
    return rows


def _rows(found: dict[str, Any]) -> list[tuple[str, str]]:
    memory, outside = found["memory"], found["outside_the_loop"]
    layouts = [f"{row['count']} {row['dtype']} {row['layout']}" for row in found["products"]]
    estimate = "none by this compiler"
    if found["estimated_ms"] is not None:
        estimate = f"{found['estimated_cycles']:,} cycles, {found['estimated_ms']:.3f} ms"
    return [
        ("GFLOP in products per step", f"{found['flops_per_step'] / 1e9:,.1f}"),
        ("MB moved per step", f"{found['bytes_per_step'] / 1e6:,.1f}"),
        ("bound of a step, ms", f"{found['bound_ms']:.3f} (products alone {found['products_floor_ms']:.3f})"),
        ("compiler's estimate of a step", estimate),
        ("kernels per step", f"{found['kernels']:,}"),
        ("products", "; ".join(layouts)),
        ("copies and transposes per step", _copies(found["copies"])),
        ("loops inside the step", "; ".join(_loop(loop) for loop in found["loops"]) or "none"),
        ("collectives per step", "; ".join(_collective(row) for row in found["collectives"]) or "none"),
        ("transfers to or from the host", str(found["host_transfers"])),
        ("activations in float32 or wider", "; ".join(found["wrong_dtypes"]) or "none"),
        ("optimizer's bytes per parameter", f"{found['optimizer_bytes_per_parameter']:.2f}"),
        ("bytes moved, LCAM / SGD", f"{found['lcam_over_sgd_bytes']:.6f}"),
        ("state updated in place", "yes" if found["state_updated_in_place"] else "no"),
        ("MB on a device", f"{found['peak_bytes'] / 1e6:,.1f} (temporaries {memory['temporaries'] / 1e6:,.1f})"),
        ("outside the steps, per slice", _outside(outside)),
        ("evaluation, per batch of 500", f"bound {found['evaluation']['bound_ms']:.3f} ms"),
        ("compile seconds", f"{found['compile_seconds']:.0f}"),
    ]


def _copies(found: dict[str, dict[str, int]]) -> str:
    return "; ".join(f"{n['count']} of {kind}, {n['bytes'] / 1e6:.1f} MB" for kind, n in found.items()) or "none"


def _loop(loop: dict[str, Any]) -> str:
    return f"{loop['turns'] or 'unknown'} turns from {loop['origin'][-50:]}"


def _collective(row: dict[str, Any]) -> str:
    return f"{row['count']} {row['kind']}, {row['bytes'] / 1e6:.1f} MB"


def _outside(found: dict[str, Any]) -> str:
    estimate = "" if found["estimated_ms"] is None else f", estimated {found['estimated_ms']:.3f} ms"
    return f"bound {found['bound_ms']:.3f} ms{estimate}; copies: {_copies(found['copies'])}"
