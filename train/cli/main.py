"""The commands by name, and how each ends: exit statuses and errors."""

import signal
import sys
from collections.abc import Sequence

from rich.console import Console

from train.bench.command import Bench
from train.cli.data import Data
from train.cli.list import List
from train.cli.report import Report
from train.cli.run import Run
from train.errors import UserError
from train.experiments import usage
from train.records.provenance import carrying_out
from train.studies.command import Directions, Games, Mechanism, Perceptrons

# EX_TEMPFAIL of sysexits.h: try again. A script can distinguish it from success and from errors.
_TIME_UP_STATUS = 75

COMMANDS: dict[str, type] = {
    "run": Run,
    "list": List,
    "report": Report,
    "data": Data,
    "bench": Bench,
    "mechanism": Mechanism,
    "directions": Directions,
    "games": Games,
    "perceptrons": Perceptrons,
}
"""The commands of `python -m train`."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line.

    Args:
      arguments: The words after the program's name; None means those of the process.

    Returns:
      The exit status: 0 after success; 2 after an error, which is printed on standard error; 75 if the time of
        `--minutes` was up before all runs were finished; 128 + signal if a signal stopped a run after saving. An option
        without its value raises SystemExit(2).
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    from train.engine.signals import Stopped, TimeUp

    try:
        with carrying_out(words):
            usage.read(words, COMMANDS)(Console())
            sys.stdout.flush()  # A failed write must be reported here, not at the end of Python.
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {error}. Check the path, its permissions and the space left.", file=sys.stderr)
        return 2
    except Stopped as stop:
        print(stop, file=sys.stderr)
        return 128 + stop.signum
    except TimeUp as end:
        print(end, file=sys.stderr)
        return _TIME_UP_STATUS
    except KeyboardInterrupt:  # while nothing was being trained
        print("Interrupted.", file=sys.stderr)
        return 128 + signal.SIGINT
    except RuntimeError as error:
        return _after_device_error(error)
    return 0


def _after_device_error(error: RuntimeError) -> int:
    """Report that the device's memory is full; raise everything else again."""
    import jax

    from train.engine.processes import leave_after_loss

    if not isinstance(error, jax.errors.JaxRuntimeError):
        raise error
    if "RESOURCE_EXHAUSTED" not in str(error):
        if jax.process_count() > 1:
            leave_after_loss(error)
        raise error
    reason = str(error).splitlines()[0]
    print(f"error: The device's memory is full ({reason}). Try a smaller --batch-size or --width.", file=sys.stderr)
    return 2
