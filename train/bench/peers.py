"""Set up the PyTorch programs to compare with, if PyTorch is installed."""

import contextlib
import functools
import importlib.util
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax

from train.bench.workload import Training, on_gpu

MISSING = "left out: PyTorch is not installed; install it with `pip install -e '.[torch]'`"
TUNED, AUTHORS = "PyTorch, tuned", "PyTorch, authors' style"


@contextlib.contextmanager
def peers(training: Training, steps: int) -> Iterator[tuple[dict[str, Callable[[], Any]], dict[str, float | str]]]:
    """Set up PyTorch on the same data.

    Args:
      training: The training in JAX, whose network, data and settings PyTorch uses.
      steps: Steps per call of a program.

    Yields:
      Two dictionaries. The first maps a name to a program. It contains the tuned program, which is compiled only on a
      GPU. On a GPU, it also contains a program in the authors' style. The second contains facts about the programs,
      such as why there is none.
    """
    if importlib.util.find_spec("torch") is None:
        yield {}, {"PyTorch": MISSING}
        return
    import torch

    from train.bench import torch_peer

    facts: dict[str, float | str] = {
        "PyTorch": f"{torch.__version__} on {torch_peer.device().type}, {torch.get_num_threads()} threads",
    }
    if torch_peer.device().type != {"gpu": "cuda"}.get(jax.default_backend(), "cpu"):
        facts["PyTorch"] = f"left out: PyTorch runs on {torch_peer.device().type}, but JAX on {jax.default_backend()}"
        yield {}, facts
        return
    dataset = training.dataset
    data = training.experiment, dataset.train_images, dataset.train_labels, dataset.num_classes
    tuned = torch_peer.TunedPeer(*data, compiled=on_gpu())
    programs: dict[str, Callable[[], Any]] = {TUNED: functools.partial(tuned.take, steps)}
    with contextlib.ExitStack() as stack:
        if on_gpu():
            authors = torch_peer.AuthorsPeer(*data)
            stack.callback(authors.close)
            programs[AUTHORS] = functools.partial(authors.take, steps)
        for name, program in programs.items():
            started = time.perf_counter()
            program()
            facts[f"{name}: seconds of the first call, compilation included"] = time.perf_counter() - started
        yield programs, facts
