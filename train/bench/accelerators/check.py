"""Check records of `python -m train bench compiled` for things that a training step must not do.

Run `python -m train.bench.accelerators.check FILE...`. It exits with 1 if it finds a fault.
"""

import sys
from pathlib import Path
from typing import Any

from train import files

_BYTES_TOLERANCE = 0.001  # the bytes that LCAM moves may differ from SGD's by this share


def faults(found: dict[str, Any], dtype: str, devices_per_seed: int) -> list[str]:
    """List the faults in the figures of one target.

    Args:
      found: The figures of the target, from `targets` in the record.
      dtype: Dtype of the activations.
      devices_per_seed: Number of devices that split a batch. If it is 1, the step must not communicate.
    """
    outside = found["outside_the_loop"]
    wrong = []
    if found["serial_loops"]:
        wrong.append(f"serial loops in the step: {found['loops']}")
    if found["host_transfers"]:
        wrong.append(f"{found['host_transfers']} transfers from or to the host")
    if dtype == "bfloat16" and found["wrong_dtypes"]:
        wrong.append(f"activations that are not bfloat16: {found['wrong_dtypes']}")
    for where, copies in (("in the step", found["copies"]), ("around the steps", outside["copies"])):
        # Weights may be transposed once per slice, outside the steps. Any other large copy is a fault.
        unexpected = {k: v for k, v in copies.items() if k != "weights" or where == "in the step"}
        if unexpected:
            wrong.append(f"copies {where}: {unexpected}")
    if devices_per_seed == 1 and (found["collectives"] or outside["collectives"]):
        wrong.append(f"unnecessary collectives: {found['collectives'] + outside['collectives']}")
    if abs(found["lcam_over_sgd_bytes"] - 1) > _BYTES_TOLERANCE:
        wrong.append(f"LCAM moves {found['lcam_over_sgd_bytes']:.5f} times the bytes of SGD")
    if not found["state_updated_in_place"]:
        wrong.append("the state is not updated in place")
    return wrong


def _devices_per_seed(options: dict[str, Any]) -> int:
    return max(1, options["devices"] // options["seeds"])


def main(paths: list[str]) -> int:
    """Print the faults of all records. Returns 1 if there are any, otherwise 0."""
    number = 0
    for path in map(Path, paths):
        document = files.loads(path.read_bytes())
        (options,) = [r["options"] for r in document["results"] if r["benchmark"] == "compiled"]
        for target, found in document["targets"].items():
            for fault in faults(found, options["dtype"], _devices_per_seed(options)):
                number += 1
                print(f"{path.name}, {target}: {fault}")
    return 1 if number else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
