"""Time a fresh process until its first training steps: `python -m train.bench.first_step`.

Prints one JSON object with the seconds of each part.
"""

import argparse
import json
import time


def main(arguments: list[str] | None = None) -> None:
    """Import, set up, and take two steps as `python -m train` does, or only compile them."""
    started = time.perf_counter()
    parser = argparse.ArgumentParser()
    parser.add_argument("--depth", type=int, required=True)
    parser.add_argument("--width", type=int, required=True)
    parser.add_argument("--batch-size", type=int, required=True)
    parser.add_argument("--dtype", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--compile-only", action="store_true")
    options = parser.parse_args(arguments)
    from train.engine.backend import configure

    configure()
    import jax

    from train.bench.timing import Donated
    from train.bench.workload import Case, Training

    seconds = {"import": time.perf_counter() - started}
    fields = vars(options)
    compile_only = fields.pop("compile_only")
    training = Training(Case(**fields), steps=2)
    # Two steps, because the compiler unrolls a loop of one.
    program, seconds["trace, lower and compile a step"] = training.slice(steps=2)
    if not compile_only:
        jax.block_until_ready(Donated(program, training.state(), training.data)())
        seconds["first step done"] = time.perf_counter() - started
    print(json.dumps(seconds))


if __name__ == "__main__":
    main()
