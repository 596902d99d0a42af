"""Makes unusable inputs, and passes them to the program as a user would."""

import contextlib
import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from tests.train import synthetic, tiny_data, tiny_run
from train import cli, records
from train.engine import checkpoint_folders, checkpoints, state
from train.engine.placement import SeedSet
from train.experiments import config_of
from train.records import StepMetrics

CIFAR10, CIFAR100 = tiny_data.LAYOUTS
BEGUN = "quickstart/lcam-0.9-0.95"
FIELDS = ("batch_size", "epochs", "learning_rate", "schedule")  # of `tiny_run`, unlike those of the arm


class Told(Exception):  # noqa: N818 - no error: it is what has to be said
    """What the program said on standard error before it returned 2."""


def command(*words: object) -> None:
    """Calls the command line, which has to refuse the words in one sentence.

    Raises:
      Told: holding the sentence.
    """
    error = io.StringIO()
    with contextlib.redirect_stderr(error):
        assert cli.main([str(word) for word in words]) == 2
    assert error.getvalue().startswith("error: ")
    assert "Traceback" not in error.getvalue()
    raise Told(error.getvalue())


def slip(*words: str) -> None:
    """Calls the command line with words that it cannot make sense of.

    Raises:
      Told: holding what it said, in one line and without its frame.
    """
    error = io.StringIO()
    with contextlib.redirect_stderr(error):
        try:
            status = cli.main(words)
        except SystemExit as stop:
            status = stop.code
    assert status == 2
    raise Told(" ".join(error.getvalue().replace("│", " ").split()))


def archive(change: Callable[[dict[str, bytes]], object] = lambda members: None, layout=CIFAR10) -> bytes:
    """A layout's archive, with its members changed first."""
    members = tiny_data.members(layout)
    changed = change(members)
    return tiny_data.tar(changed if isinstance(changed, dict) else members)


def replaced(file: str, change: Callable[[bytes], bytes], layout=CIFAR10) -> bytes:
    """A layout's archive, with one of its files changed."""
    name = f"{layout.folder}/{file}"
    return archive(lambda members: members | {name: change(members[name])}, layout)


def header(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    """The header of a tar member that may claim anything."""
    member = tarfile.TarInfo(name)
    member.size, member.type, member.linkname = size, kind, link
    return member.tobuf(tarfile.GNU_FORMAT)


def packed(*parts: bytes) -> bytes:
    """A compressed archive of raw parts, with the good members after them."""
    return gzip.compress(b"".join(parts) + tiny_data.tar(tiny_data.members(CIFAR10), mode="w"), 1)


def cut_sparse_header() -> bytes:
    """A member that says that a further header follows, and nothing after it."""
    block = bytearray(header("sparse", kind=tarfile.GNUTYPE_SPARSE))
    block[482] = 1
    block[148:156] = b"%06o\0 " % (sum(block[:148]) + 8 * ord(" ") + sum(block[156:]))
    return gzip.compress(bytes(block))


def images(place: Path) -> Path:
    """A folder of images that is in order."""
    for name in ("ant", "bee"):
        tiny_data.write_images(place / "images" / name, 5)
    return place / "images"


def folder(path: Path) -> Path:
    """A new folder."""
    path.mkdir(parents=True)
    return path


def record(place: Path, **changes: object) -> Path:
    """A record that is in order but for some fields of its file."""
    made = synthetic.record("lcam", 0, [8.0, 5.0], momentum_above=0.95)
    path = records.write(place / "runs", made, synthetic.steps(2))
    if changes:
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return path


def with_steps(place: Path, contents: bytes) -> Path:
    """A record whose file of steps is another one, and vouched for."""
    path = record(place, steps_sha256=hashlib.sha256(contents).hexdigest())
    path.with_name("steps.npz").write_bytes(contents)
    return path


def npz(**arrays: np.ndarray) -> bytes:
    """A NumPy archive."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def blank_state(setup: state.Setup) -> state.TrainState:
    """The state of one seed with zeros for all numbers, which needs no compilation."""
    shapes = jax.eval_shape(jax.vmap(lambda seed: state.init_state(setup, 3, seed)), np.zeros(1, np.uint32))
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)


def begun_run(place: Path) -> Path:
    """The checkpoint of a run that was stopped after its first step."""
    experiment = tiny_run.experiment()
    zeros = blank_state(state.make_setup(experiment, tiny_run.dataset()))
    loss = np.ones((1, 1), np.float32)
    saved = checkpoints.Checkpoints(checkpoint_folders.checkpoint_dir(place / "runs", BEGUN, SeedSet([0])))
    saved.save(
        checkpoints.Snapshot(
            zeros._replace(step=np.ones(1, np.int32)),
            StepMetrics(loss, loss, loss > 0),
            [],
            config_of(experiment),
        )
    )
    saved.wait()
    saved.close()
    return saved.folder


def go_on(place: Path, *words: object) -> None:
    """The command that resumes `begun_run`, with further words."""
    arm = tiny_run.experiment()
    same = {f"--{field.replace('_', '-')}": getattr(arm, field) for field in FIELDS}
    same = [word for flag, value in same.items() if flag not in words for word in (flag, value)]
    command("run", BEGUN, "--seeds", 0, "--devices", 1, *same, "--runs", place / "runs", *words)


def contents(place: Path) -> dict[Path, object]:
    """Everything under a folder, to be compared with what is there later."""
    found: dict[Path, object] = {}
    for path in sorted(place.rglob("*")):
        if path.is_symlink():
            found[path] = path.readlink()
        else:
            found[path] = path.read_bytes() if path.is_file() else path.stat().st_mode
    return found
