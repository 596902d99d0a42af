"""The program answers any input in words: random command lines, archives, records and caches."""

import contextlib
import functools
import gzip
import hashlib
import io
import json
import math
import shutil
import tarfile
from pathlib import Path
from typing import get_args

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.train import synthetic, tiny_data
from train import cli, data, experiments, records
from train.bench import command, result
from train.bench.command import Bench
from train.data import archives, array_cache, cifar_records
from train.errors import DataError, RecordError
from train.experiments.overrides import Overrides
from train.report import report
from train.studies.command import Directions, Games, Mechanism, Perceptrons
from train.studies.games import report as games_report
from train.studies.perceptrons import report as perceptrons_report
from train.studies.perceptrons import study as perceptrons_study
from train.studies.perceptrons import task as perceptrons_task
from train.studies.surfaces import report as mechanism_report
from train.studies.updates import directions
from train.studies.updates import report as directions_report

LAYOUT = tiny_data.CIFAR10
FILES = {f"{LAYOUT.folder}/{name}": contents for name, contents in tiny_data.files(LAYOUT).items()}
ARRAYS = [np.arange(24, dtype=np.uint8).reshape(2, 3, 4), np.array([1, -2], np.int32)]

stable = functools.partial(settings, deadline=None, derandomize=True)


class Nothing:
    """A report of nothing."""

    groups = ()

    def show(self, console):
        del console


BENCHMARKS = get_args(command.Name)


@pytest.fixture(scope="module", autouse=True)
def no_work(tmp_path_factory):
    """Nothing is trained, timed, imported, reported, written or connected to; data sets are tiny."""

    def alone(*arguments, **keywords):
        raise RuntimeError("nobody there")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("train.engine.run.run_experiment", lambda *arguments, **keywords: [])
        patch.setattr(report, "report", lambda *arguments, **keywords: Nothing())
        patch.setattr(data, "prepare", lambda *arguments, **keywords: "name")
        patch.setattr(data, "load", lambda *arguments: None)
        patch.setattr(directions, "measure", lambda *arguments, **keywords: iter(()))
        patch.setattr(perceptrons_study, "run", lambda *arguments: {})
        patch.setattr(perceptrons_task, "load_digits", lambda: perceptrons_task.Digits(np.zeros(2), np.zeros(2)))
        reports = (directions_report, "write"), (games_report, "study"), (mechanism_report, "study")
        for module, name in (*reports, (perceptrons_report, "write")):
            patch.setattr(module, name, lambda out, *arguments, **keywords: ([], [out]))
        for name in BENCHMARKS:
            patch.setattr(f"train.bench.{name}.run", lambda options: result.Result(benchmark="none", options={}))
        patch.setattr(result, "write", lambda *arguments: None)
        # A benchmark switches the compile cache off for its process, which is that of the other tests here.
        patch.setattr(jax.config, "update", lambda *arguments: None)
        patch.setattr(jax.distributed, "initialize", alone)
        patch.setattr(cifar_records, "LAYOUTS", tiny_data.LAYOUTS)
        # To find out whether a file can be written, one is made in its folder for a moment.
        patch.chdir(tmp_path_factory.mktemp("here"))
        yield


ARMS = sorted({*experiments.EXPERIMENTS, *(arm.group for arm in experiments.EXPERIMENTS.values())})
NUMBERS = [
    "0",
    "1",
    "2",
    "10",
    "-1",
    "-0",
    "0.9",
    "1e999",
    "-1e999",
    "nan",
    "inf",
    "2147483648",
    "9" * 5000,
    "1_0",
    "٣",
    "0x10",
]
ODD = [
    "",
    " ",
    "-",
    "--",
    "---",
    "=",
    "@",
    "*",
    "~",
    "[bold]",
    "[/]",
    "{}",
    "%s",
    "\0",
    "\n",
    "\udcff",
    "é",
    "None",
    "True",
]


@st.composite
def near(draw, names: list[str]) -> str:
    """A real name, or one with a letter more or less."""
    name = draw(st.sampled_from(names))
    at = draw(st.integers(0, len(name)))
    return draw(st.sampled_from([name, name, name[:at] + name[at + 1 :], name[:at] + "x" + name[at:], name.upper()]))


VALUES = st.one_of(st.sampled_from(NUMBERS), st.sampled_from(ODD), near(ARMS), st.text(max_size=8))
# Those that most options would take, right or wrong.
PLAIN_VALUES = st.sampled_from(["-1", "0", "1", "2", "10", "100", "1001", "2147483648", "digits", "float32", "é [/]"])


def lines(starts: st.SearchStrategy, *commands: type) -> st.SearchStrategy[list[str]]:
    """First words, and after them options of commands and their values."""
    names = ["--" + field.replace("_", "-") for command in commands for field in command.__dataclass_fields__]
    options = near(names)
    option = st.one_of(options, st.builds("{}={}".format, options, VALUES))
    # Mostly an option with its value, which reaches further than words in any order.
    chunks = st.one_of(st.tuples(options, VALUES), st.tuples(option), st.tuples(VALUES))
    likely = st.tuples(st.sampled_from(names), PLAIN_VALUES)
    return st.builds(
        lambda start, chunks: [*start, *(word for chunk in chunks for word in chunk)],
        starts,
        st.one_of(st.lists(likely, max_size=3), st.lists(chunks, max_size=4)),
    )


RUNS = lines(st.one_of(st.just(["run"]), st.tuples(st.just("run"), near(ARMS))), cli.Run, Overrides)
READERS = lines(st.tuples(near(["list", "report", "data"])), cli.List, cli.Report, cli.Data)
BENCHES = lines(
    st.lists(st.sampled_from(BENCHMARKS), min_size=1, max_size=2).map(lambda names: ["bench", *names]), Bench
)
STUDIES = st.one_of(
    lines(st.just(["mechanism"]), Mechanism),
    lines(st.just(["directions"]), Directions),
    lines(st.just(["games"]), Games),
    lines(st.just(["perceptrons"]), Perceptrons),
)


@stable(max_examples=240)
@given(st.one_of(RUNS, READERS, BENCHES, STUDIES))
def test_any_command_line_is_carried_out_or_refused(line):
    out, error = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        try:
            status = cli.main(line)
        except SystemExit as stop:
            status = stop.code
            assert status == 0 or error.getvalue()
        else:
            assert (status == 2) == error.getvalue().startswith("error: ")
    assert status in (0, 2)


def read(contents: bytes, folder: Path) -> cifar_records.Records | None:
    """The records in an archive, or None if it is refused."""
    path = folder / "archive.tar.gz"
    path.write_bytes(contents)
    with contextlib.suppress(DataError):
        return archives.read_archive(path)
    return None


def assert_holds(found: cifar_records.Records, files: dict[str, bytes]) -> None:
    """Asserts that records are those of an archive's members."""
    inside = {name.rpartition("/")[2]: contents for name, contents in files.items()}
    assert found.train.tobytes() == b"".join(inside[name] for name in found.layout.train_files)
    assert found.test.tobytes() == b"".join(inside[name] for name in found.layout.test_files)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


@st.composite
def damaged(draw, contents: bytes) -> bytes:
    """Contents with a few of: bits flipped, an end cut off, bytes put in or taken out."""
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(len(contents) - 1, 0)))
        kind = draw(st.sampled_from(["flip", "cut", "insert", "remove"]))
        if kind == "cut":
            contents = contents[:at]
        elif kind == "insert":
            contents = contents[:at] + draw(st.binary(min_size=1, max_size=600)) + contents[at:]
        elif kind == "remove":
            contents = contents[:at] + contents[at + draw(st.integers(1, 600)) :]
        elif contents:
            contents = contents[:at] + bytes([contents[at] ^ 1 << draw(st.integers(0, 7))]) + contents[at + 1 :]
    return contents


@stable(max_examples=100)
@given(st.one_of(st.binary(max_size=2000), damaged(tiny_data.tar(FILES))))
def test_a_damaged_archive_is_refused_or_unharmed(folder, contents):
    found = read(contents, folder)
    if found is not None:
        assert_holds(found, FILES)


NAMES = st.sampled_from(
    [*FILES, *(f"./{name}" for name in FILES), "../up", "/etc/x", "cifar-10-batches-bin", "", "x" * 300]
)


@stable(max_examples=100)
@given(
    st.permutations(sorted(FILES)),
    st.lists(st.tuples(st.integers(0, 6), NAMES), max_size=2),
    st.lists(st.tuples(st.integers(0, 6), st.integers(-2, 2)), max_size=2),
)
def test_renamed_and_resized_members_are_refused_or_read_as_named(folder, order, renamed, resized):
    members = [[name, FILES[name]] for name in order]
    for index, name in renamed:
        members[index][0] = name
    for index, records_more in resized:
        own = members[index][1]
        members[index][1] = own + own[: 3073 * records_more] if records_more >= 0 else own[:records_more]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as archive:
        for name, contents in members:
            header = tarfile.TarInfo(name)
            header.size = len(contents)
            archive.addfile(header, io.BytesIO(contents))
    found = read(buffer.getvalue(), folder)
    if found is not None:
        assert_holds(found, dict(members))


PLAIN = tiny_data.tar(FILES, mode="w")
with tarfile.open(fileobj=io.BytesIO(PLAIN)) as _archive:
    HEADERS = [member.offset for member in _archive]
# The fields that a reader believes: name, size, type, link, magic, and what GNU and POSIX put after them.
FIELDS = [(0, 100), (124, 136), (156, 157), (157, 257), (257, 265), (345, 500)]


@stable(max_examples=150)
@given(st.sampled_from(HEADERS), st.sampled_from(FIELDS), st.data())
def test_headers_that_claim_anything_are_refused_or_harmless(folder, start, field, data):
    block = bytearray(PLAIN[start : start + 512])
    size = field[1] - field[0]
    # A base-256 number may be huge or negative; a type, one of those with a meaning of its own.
    values = [
        st.binary(max_size=size),
        st.sampled_from([b"\x80" + b"\xff" * 11, b"\xff" * 12, b"7777777777\0", b"-1\0"]),
    ]
    types = st.sampled_from([bytes([kind]) for kind in b"\x000123456789LKSVNXxgD"])
    value = data.draw(types if size == 1 else st.one_of(values))[:size]
    block[field[0] : field[0] + len(value)] = value
    block[148:156] = b"%06o\0 " % (sum(block[:148]) + 8 * ord(" ") + sum(block[156:]))
    found = read(gzip.compress(PLAIN[:start] + block + PLAIN[start + 512 :], 1), folder)
    if found is not None:
        assert_holds(found, FILES)


@pytest.fixture(scope="module")
def written(folder):
    """A record that is in order."""
    return records.write(folder / "runs", synthetic.record("lcam", 0, [8.0, 5.0]), synthetic.steps(2))


RECORD = synthetic.record("lcam", 0, [8.0, 5.0])


@stable(max_examples=100)
@given(st.data())
def test_a_damaged_record_is_refused_or_a_record(written, data):
    path = shutil.copytree(written.parent, written.parent.with_name("damaged"), dirs_exist_ok=True) / "result.json"
    path.write_bytes(data.draw(damaged(written.read_bytes())))
    with contextlib.suppress(RecordError):
        found = records.read(path)
        assert found.history[-1].test_error == found.final_test_error or math.isnan(found.final_test_error)
        assert found.seed == json.loads(path.read_bytes())["seed"]
        _ = found.steps


def arrays(dtypes: list[str]) -> st.SearchStrategy[np.ndarray]:
    """Short vectors of many kinds, most of them of the right length."""
    return st.builds(
        lambda dtype, length: np.zeros(length, dtype), st.sampled_from(dtypes), st.sampled_from([0, 1, 11, 12, 12, 24])
    )


KINDS = ["float32", "float64", "bool", "int8", "U3", "object", "M8[s]"]
STEPS = st.fixed_dictionaries(
    {"loss": arrays(KINDS), "momentum": arrays(["float32"]), "below": arrays(["bool", "float32"])},
    optional={"more": arrays(KINDS)},
)


def packed(named: dict[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **named)
    return buffer.getvalue()


@stable(max_examples=100)
@given(st.one_of(st.builds(packed, STEPS), st.builds(packed, STEPS).flatmap(damaged), st.binary(max_size=200)))
def test_any_file_of_steps_is_refused_or_holds_steps(written, contents):
    folder = shutil.copytree(written.parent, written.parent.with_name("foreign"), dirs_exist_ok=True)
    (folder / "steps.npz").write_bytes(contents)
    vouched = json.loads(written.read_text()) | {"steps_sha256": hashlib.sha256(contents).hexdigest()}
    (folder / "result.json").write_text(json.dumps(vouched))
    with contextlib.suppress(RecordError):
        found = records.read(folder / "result.json").steps
        assert (found.loss.dtype, found.momentum.dtype, found.below.dtype) == (np.float32, np.float32, np.bool_)
        assert len(found.loss) == len(found.momentum) == len(found.below)
        assert len(found.loss) % 2 == 0


@stable(max_examples=100)
@given(data=st.data())
def test_a_damaged_cache_is_not_believed(folder, data):
    path = folder / "arrays.bin"
    array_cache.write(path, b"key", ARRAYS)
    whole = path.read_bytes()
    path.write_bytes(data.draw(damaged(whole)))
    found = array_cache.read(path, b"key", len(ARRAYS))
    assert (found is not None) == (path.read_bytes() == whole)
