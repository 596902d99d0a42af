"""Arrays in one file, which is used only if it is complete and has the right key."""

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from train.files import write_atomically

_DIGEST_BYTES = hashlib.sha256().digest_size


def write(path: Path, key: bytes, arrays: Sequence[np.ndarray]) -> None:
    """Stores arrays under a key, and replaces the file atomically.

    Raises:
      OSError: if the file cannot be written.
    """
    payload = io.BytesIO()
    for array in arrays:
        np.save(payload, array, allow_pickle=False)
    write_atomically(path, _digest(key, payload.getbuffer()) + payload.getbuffer())


def read(path: Path, key: bytes, count: int) -> list[np.ndarray] | None:
    """The arrays that were stored under the key, or None if there are none.

    Args:
      path: the file, which need not exist.
      key: what the arrays were made from. Under another key they are stale.
      count: number of stored arrays.
    """
    try:
        data = path.read_bytes()
    except OSError:  # missing, or another user's
        return None
    payload = memoryview(data)[_DIGEST_BYTES:]
    # One digest over key and contents detects both another key and damaged contents.
    if data[:_DIGEST_BYTES] != _digest(key, payload):
        return None
    stream = io.BytesIO(payload)
    return [np.load(stream, allow_pickle=False) for _ in range(count)]


def _digest(key: bytes, payload: memoryview) -> bytes:
    digest = hashlib.sha256(hashlib.sha256(key).digest())
    digest.update(payload)
    return digest.digest()
