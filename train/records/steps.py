"""Every training step of a run, as arrays and as the bytes of their file."""

import dataclasses
import io
import zipfile
import zlib
from pathlib import Path

import numpy as np

from train.records import schema
from train.records.schema import RecordError

# What NumPy and zipfile raise for what is no archive of three plain vectors.
_DAMAGED = (
    *(OSError, EOFError, ValueError, TypeError, LookupError, RuntimeError, MemoryError, SyntaxError),
    *(zipfile.BadZipFile, zlib.error),
)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Steps:
    """Every training step of a run, in order.

    Attributes:
      loss: of each step's batch, float32 `[steps]`: the mean cross-entropy in nats, or what else the run minimises.
      momentum: the momentum that each step used, float32 `[steps]`; of optimizers other than `sgd` the one that was
        set, whatever they make of it.
      below: whether each step's loss fell below the mean, bool `[steps]`.
    """

    loss: np.ndarray
    momentum: np.ndarray
    below: np.ndarray

    def __post_init__(self) -> None:
        shapes = {np.shape(self.loss), np.shape(self.momentum), np.shape(self.below)}
        if len(shapes) != 1 or len(shapes.pop()) != 1:
            raise ValueError(
                "loss, momentum and below must be vectors of one length, got shapes "
                f"{np.shape(self.loss)}, {np.shape(self.momentum)}, {np.shape(self.below)}"
            )

    def encode(self) -> bytes:
        """The bytes of a compressed `.npz` file of the three."""
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            loss=np.asarray(self.loss, np.float32),
            momentum=np.asarray(self.momentum, np.float32),
            below=np.asarray(self.below, np.bool_),
        )
        return buffer.getvalue()


def decode(data: bytes, path: Path, epochs: int, prefix: str = "") -> Steps:
    """The steps that a file's bytes hold, equally many for each epoch.

    Args:
      data: the bytes.
      path: of the file, for messages.
      epochs: of the run.
      prefix: of the names of the run's arrays, where the file holds those of several runs.

    Raises:
      RecordError: if they are anything else; nothing in them is unpickled.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            own = [name for name in arrays if name.startswith(prefix)]
            steps = Steps(**{name.removeprefix(prefix): arrays[name] for name in own})
    except _DAMAGED as error:
        raise RecordError(f"{path}: not the steps of a run: {error!s:.100}; {schema.ADVICE}") from error
    kinds = tuple(str(getattr(steps, field.name).dtype) for field in dataclasses.fields(steps))
    if kinds != ("float32", "float32", "bool") or len(steps.loss) % epochs:
        raise RecordError(
            f"{path}: {len(steps.loss)} steps of {', '.join(kinds)} in {epochs} epochs, expected float32, float32, "
            f"bool, equally many in each; {schema.ADVICE}"
        )
    return steps
