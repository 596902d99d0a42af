"""The file of a run's steps: its bytes, and the checks of its content."""

import functools
import io
import zipfile
import zlib
from pathlib import Path

import numpy as np

from train.errors import RecordError
from train.records import schema
from train.records.metrics import STEP_DTYPES, StepMetrics

# The errors of NumPy and zipfile for anything but an archive of three plain vectors.
_DAMAGED = (
    *(OSError, EOFError, ValueError, TypeError, LookupError, RuntimeError, MemoryError, SyntaxError),
    *(zipfile.BadZipFile, zlib.error),
)


def encode(steps: StepMetrics) -> bytes:
    """The bytes of a compressed `.npz` file of a run's steps.

    Args:
      steps: Three vectors [steps] of one length.

    Raises:
      ValueError: If they are not.
    """
    _require_vectors(steps)
    buffer = io.BytesIO()
    arrays = (np.asarray(values, dtype) for values, dtype in zip(steps, STEP_DTYPES, strict=True))
    np.savez_compressed(buffer, **StepMetrics(*arrays)._asdict())
    return buffer.getvalue()


def decode(data: bytes, path: Path, epochs: int, prefix: str = "") -> StepMetrics:
    """Reads the steps of a run from the bytes of a file.

    Args:
      data: The bytes. Nothing in them is unpickled.
      path: The path of the file, for messages.
      epochs: Number of epochs of the run. Each has the same number of steps.
      prefix: The prefix of the names of the run's arrays, if the file contains several runs.

    Raises:
      RecordError: If the bytes are anything else than the steps of such a run.
    """
    try:
        arrays = _archive(data)
        own = [name for name in arrays if name.startswith(prefix)]
        steps = StepMetrics(**{name.removeprefix(prefix): arrays[name] for name in own})
        _require_vectors(steps)
    except _DAMAGED as error:
        raise RecordError(f"{path}: not the steps of a run: {error!s:.100}; {schema.ADVICE}") from error
    kinds = tuple(str(values.dtype) for values in steps)
    if kinds != tuple(STEP_DTYPES) or len(steps.loss) % epochs:
        raise RecordError(
            f"{path}: {len(steps.loss)} steps of {', '.join(kinds)} in {epochs} epochs, expected "
            f"{', '.join(STEP_DTYPES)}, equally many in each; {schema.ADVICE}"
        )
    return steps


@functools.lru_cache(maxsize=1)
def _archive(data: bytes) -> np.lib.npyio.NpzFile:
    """The opened archive in the bytes of a file. A packed group has thousands of arrays, and opening it is slow."""
    archive = np.load(io.BytesIO(data), allow_pickle=False)
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise ValueError("a single array")
    return archive


def _require_vectors(steps: StepMetrics) -> None:
    shapes = [np.shape(values) for values in steps]
    if len(set(shapes)) != 1 or len(shapes[0]) != 1:
        raise ValueError(f"loss, momentum and below must be vectors of one length, got shapes {shapes}")
