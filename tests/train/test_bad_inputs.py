"""Every kind of unusable input, and the message about it: one row each.

A row is (kind, fault, action, fragments of the message). The action gets an empty folder. On the command line it must
end with one sentence on standard error, and must not change its inputs.
"""

import gzip
import io
import lzma
import os
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pytest
import requests
from PIL import Image

from tests.train import bad_inputs, tiny_data, tiny_run
from tests.train.bad_inputs import CIFAR10, CIFAR100, Told, archive, command, header, npz, packed, record, replaced
from train import data, records
from train.data import cifar_records
from train.engine.devices import replicated
from train.errors import RecordError

FLOATS, BOOLS = np.zeros(12, np.float32), np.zeros(12, bool)
FETCH = f"Fetch {CIFAR10.url} again"
AGAIN = "run the arm again"


class Row(NamedTuple):
    kind: str
    wrong: str
    done: Callable[[Path], None]
    told: tuple[str, ...]


def run(*words: object, told: tuple[str, ...]) -> Row:
    """A setting that is refused before anything is read; the data set would be a tiny one."""
    wrong = " ".join(map(str, words))
    kind = "seeds" if "--seeds" in words else "devices" if words[1] in DEVICE_WORDS else "fields"
    return Row(kind, wrong, lambda place: command("run", *words, "--runs", place / "runs"), told)


DEVICE_WORDS = ("--devices", "--processes", "--process", "--coordinator")
LCAM, SGD = "quickstart/lcam-0.9-0.95", "quickstart/sgd-0.9"

FIELDS = [
    run(SGD, "--depth", 17, told=("depth is 17", "allowed: 6n + 4")),
    run(SGD, "--depth", -2, told=("depth is -2", "allowed: 6n + 4")),
    run(SGD, "--depth", 600004, told=("depth is 600004", "n from 1 to 166")),
    run(SGD, "--width", 100000, told=("width is 100000", "from 1 to 1000")),
    run(SGD, "--learning-rate", "1e308", told=("learning_rate is 1e+308", "a float32 number")),
    run(LCAM, "--window-size", 10**12, told=("window_size is 1000000000000", "from 1 to 1000000")),
    run(SGD, "--mean", "nan", told=("mean is (nan,)", "finite numbers")),
    run(SGD, "--std", "inf", told=("std is (inf,)", "finite numbers above 0")),
    run(SGD, "--width", 0, told=("width is 0", "allowed: a whole number from 1 to 1000")),
    run(SGD, "--epochs", 0, told=("epochs is 0", "from 1")),
    run(SGD, "--batch-size", -8, told=("batch_size is -8", "from 1")),
    run(SGD, "--batch-size", 55, told=("batch_size is 55", "only 54 training images")),
    run(SGD, "--learning-rate", "nan", told=("learning_rate is nan", "a float32 number above 0")),
    run(SGD, "--learning-rate", "1e999", told=("learning_rate is inf", "a float32 number above 0")),
    run(SGD, "--learning-rate", "-0", told=("learning_rate is -0.0", "a float32 number above 0")),
    run(SGD, "--weight-decay", "-1e-4", told=("weight_decay is -0.0001", "a float32 number of at least 0")),
    run(SGD, "--dropout", 1, told=("dropout is 1", "in [0, 1)")),
    run(LCAM, "--momentum-above", 1, told=("momentum_above is 1", "in [0, 1)")),
    run(SGD, "--momentum-below", 0.8, told=("momentum_above is 0.9", "equal to momentum_below, 0.8", "choose a phase")),
    run(LCAM, "--ema-decay", "nan", told=("ema_decay is nan", "in [0, 1)")),
    run(LCAM, "--window-size", 0, told=("window_size is 0", "from 1")),
    run(LCAM, "--random-probability", 1.5, told=("random_probability is (1.5,)", "in [0, 1]")),
    run(LCAM, "--random-probability", 0.1, 0.2, told=("random_probability is (0.1, 0.2)", "for each of the 20 epochs")),
    run(LCAM, "--follows", "sgd-0.9", told=("follows is 'sgd-0.9'", "empty, as control is none")),
    run(LCAM, "--control", "yoked", told=("follows is ''", "the name of an LCAM arm of the group")),
    run(
        SGD,
        "--control",
        "constant",
        "--follows",
        "nobody",
        "--batch-size",
        16,
        told=("follows quickstart/nobody", "no finished run", "Run it first"),
    ),
    run(SGD, "--resolution", -1, told=("resolution is -1", "from 0 to 10000")),
    run(SGD, "--resolution", 3, told=("resolution is 3", "8 x 8 pixels")),
    run(SGD, "--train-size", 55, told=("train_size is 55", "0 to 54")),
    run(SGD, "--model", "16-4", "--depth", 10, told=("--model 16-4 and --depth both", "pass --model, or")),
    run(SGD, "--ema-decay", 0.5, told=("--ema-decay would change nothing", "--phase ema", "leave --ema-decay out")),
    run(SGD, "--stream", "--vmap-seeds", told=("leave out --stream or --vmap-seeds",)),
    run(SGD, "--model", "big", told=("model is 'big'", "depth-width, such as 28-10")),
    run(SGD, "--crop-padding", -1, told=("crop_padding is -1", "from 0 to 1000")),
    run(SGD, "--std", 0, told=("std is (0.0,)", "above 0")),
    run(SGD, "--mean", told=("mean is ()", "as many numbers as std, which has 1")),
    run(SGD, "--mean", 0, 0, 0, "--std", 1, 1, 1, told=("mean and std have 3 numbers", "1 channels", "--mean 0.5")),
    run(SGD, "--checkpoint-epochs", 0, told=("checkpoint-epochs is 0", "at least 1")),
    run(SGD, "--checkpoint-minutes", "nan", told=("checkpoint-minutes is nan", "above 0")),
    run(SGD, "--seeds", told=("seeds is ()", "at least one seed")),
    run(SGD, "--seeds", -1, told=("seeds is (-1,)", "from 0 to 2147483647")),
    run(SGD, "--seeds", 2**31, told=("seeds is (2147483648,)", "from 0 to 2147483647")),
    run(SGD, "--seeds", 1, 1, told=("seeds is (1, 1)", "differ from each other")),
    run(SGD, "--devices", 9, "--batch-size", 16, told=("devices is 9", "1 to 8")),
    run(SGD, "--devices", 0, "--batch-size", 16, told=("devices is 0", "1 to 8")),
    run(SGD, "--devices", -1, "--batch-size", 16, told=("devices is -1", "1 to 8")),
    run(SGD, "--processes", 2, told=("processes 2, process None", "expected all three", "--coordinator auto")),
    run(SGD, "--coordinator", "host:port", "--processes", 1, "--process", 0, told=("host:port", "expected host:port")),
    run(SGD, "--process", 2, "--processes", 2, "--coordinator", "host:1", told=("process 2", "0 to processes - 1")),
]


def words(*typed: str, told: tuple[str, ...]) -> Row:
    """Words that cannot be understood."""
    return Row("words", " ".join(typed), lambda place: bad_inputs.slip(*typed), told)


WHOLE = "allowed: a whole number, such as 3."

WORDS = [
    words("traim", told=("No command is called 'traim'", "run, list, report, data, bench")),
    words("fig3/sgd-0.9", told=("No command", "`python -m train run fig3/sgd-0.9`")),
    words("run", SGD, "--epoch", "3", told=("no option is called '--epoch'", "Did you mean --epochs?")),
    words("run", SGD, "--EPOCHS", "3", told=("no option is called '--EPOCHS'", "Did you mean --epochs?")),
    words("run", SGD, "\u2014epochs", "3", told=("no option is called '\u2014epochs'", "Did you mean --epochs?")),
    words("report", "--pack", "x", "--out", "y", told=("--out (y) has no effect with --pack", "Leave it out")),
    words("report", "x", "--publish", told=("FOLDER (x) has no effect with --publish",)),
    words("bench", "step", "--epoch", "3", told=("bench: no option", "Did you mean --depth?")),
    words("run", SGD, "--epochs", told=("Missing value for argument '--epochs'",)),
    words("run", SGD, "--epochs", "2.5", told=(f"--epochs is '2.5', {WHOLE}",)),
    words("run", SGD, "--epochs", "1e9", told=(f"--epochs is '1e9', {WHOLE}",)),
    words("run", SGD, "--learning-rate", "0,1", told=("--learning-rate is '0,1', allowed: a number, such as 0.1.",)),
    words("run", SGD, "--flip", "maybe", told=("--flip is 'maybe'. Type --flip or --no-flip",)),
    words("run", SGD, "--flip=maybe", told=("--flip is 'maybe'. Type --flip or --no-flip.",)),
    words("run", SGD, "--flip", "--no-flip", told=("--flip is given twice",)),
    words("run", SGD, "--schedule", "linear", told=("--schedule is 'linear'. Allowed: step, smooth,",)),
    words("run", SGD, "--optimizer", "SDG", told=("--optimizer is 'SDG'. Did you mean sgd? Allowed: sgd, adam",)),
    words("bench", "compiled", "--target", "h20", told=("--target is 'h20'. Did you mean h200? Allowed: h200, h100",)),
    words("bench", "--repeats", "9", "stepp", told=("NAMES is 'stepp'. Did you mean step? Allowed: optimizer",)),
    words("run", SGD, "--runs", "", told=("--runs is '', allowed: a path, such as runs", "type a dot")),
    words("data", " ", told=("SOURCE is ' ', allowed: a path", "type a dot")),
    words("run", SGD, "--seeds", "0", "x", told=(f"--seeds is 'x', {WHOLE}",)),
    words("run", SGD, "--seeds", "0", "--seeds", "1", told=("--seeds is given twice", "with all its values")),
    words("run", SGD, "and", "more", told=("'and' is one word too many", "python -m train run --help")),
    words("list", "fig9", told=("No arm has 'fig9' in its name", "Did you mean fig")),
    words("data", told=("Missing from python -m train data", "SOURCE")),
]


def elsewhere(*typed: str, told: str) -> Row:
    """A folder or a file that is on another machine; nothing may be made of its name here."""

    def done(place: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(place)
            try:
                command(*typed)
            finally:
                assert not list(place.iterdir())

    return Row("elsewhere", " ".join(typed), done, (told, "not supported", "a path on this machine"))


ELSEWHERE = [
    elsewhere("run", SGD, "--runs", "gs://bucket/runs", told="--runs is gs:"),
    elsewhere("run", SGD, "--data-dir", "gs://bucket", told="--data-dir is gs:"),
    elsewhere("run", SGD, "--runs", "me@host:runs", told="--runs is me@host:runs"),
    elsewhere("report", "s3://bucket/runs", told="RUNS is s3:"),
    elsewhere("report", "--out", "hdfs://runs", told="--out is hdfs:"),
    elsewhere("data", "https://host/x.tar.gz", told="SOURCE is https:"),
    elsewhere("data", "x", "--data-dir", "gs://bucket", told="--data-dir is gs:"),
    elsewhere("bench", "step", "--json", "file:///x.json", told="--json is file:"),
    elsewhere("mechanism", "--out", "gs://x", told="--out is gs:"),
    elsewhere("directions", "--out", "gs://x", told="--out is gs:"),
    elsewhere("games", "--out", "gs://x", told="--out is gs:"),
]


def unwritable(option: str, *typed: str) -> Row:
    """A folder within a file: refused before anything is computed."""

    def done(place: Path) -> None:
        command(*typed, option, made(place / "file") / "x")

    return Row("unwritable", typed[0], done, (f"{option} is ", "file/x", "cannot be written", "name another folder"))


UNWRITABLE = [
    unwritable("--runs", "run", SGD),
    unwritable("--out", "report"),
    unwritable("--out", "mechanism"),
    unwritable("--out", "directions"),
    unwritable("--out", "games"),
]


def load(name: str) -> Callable[[Path], None]:
    """Loads a data set of the given name, without a network."""
    return lambda place: command_load(name, place / "store")


def command_load(name: str, store: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "load", LOAD)
        command("run", SGD, "--dataset", name, "--data-dir", store, "--runs", store.parent / "runs")


LOAD = data.load  # what the fixture below puts a tiny data set in place of


def import_as(name: str) -> Callable[[Path], None]:
    """Imports a good folder of images under a name."""
    return lambda place: prepare(bad_inputs.images(place), "--name", name)


def folder_called(name: str) -> Callable[[Path], None]:
    """Imports a folder of a bad name; its images are damaged too, but are not looked at."""

    def done(place: Path) -> None:
        images = bad_inputs.images(place).rename(place / name)
        made(images / "ant/00.png", b"damaged")
        prepare(images)

    return done


def prepare(source: Path, *more: object) -> None:
    """Imports a source through the command line, which must change nothing."""
    before = bad_inputs.contents(source.parent)
    try:
        store = () if "--data-dir" in more else ("--data-dir", source.parent / "store")
        command("data", source, *store, *more)
    finally:
        after = bad_inputs.contents(source.parent)
        assert {path: after.get(path) for path in before} == before
        assert not [path for path in after if path.name == "dataset_info.json" and path not in before]


NAMES = [
    Row("names", "a mistyped arm", lambda place: command("run", "fig3/sgd0.9"), ("'fig3/sgd0.9'", "mean fig3/sgd-0.9")),
    Row("names", "an empty arm", lambda place: command("run", ""), ("No arm or group is called ''", "train list")),
    Row("names", "an arm in another case", lambda place: command("run", "FIG3"), ("'FIG3'", "train list` shows all")),
    Row("names", "a mistyped data set", load("cifar_10"), ("cifar_10: no such data set", "cifar10", "train data ")),
    Row("names", "a data set in capitals", load("CIFAR10"), ("CIFAR10: no such data set", "Did you mean cifar10?")),
    Row("names", "a data set with a hyphen", load("cifar-10"), ("'cifar-10'", "Did you mean cifar10?")),
    Row("names", "a data set in camel case", load("Cifar100"), ("Cifar100: no such", "Did you mean cifar100?")),
    Row("names", "a data set as its paper writes it", load("Fashion-MNIST"), ("Did you mean fashion_mnist?",)),
    Row("names", "a data set that climbs", load("../up"), ("'../up'", "Expected the name of a data set")),
    Row("names", "a data set of no name", load(""), ("''", "Expected the name of a data set")),
    Row(
        "names", "a data set that is not there", load("cifar10"), ("not prepared in", "cannot be reached", "import it")
    ),
    Row("names", "an import called as a known set", import_as("digits"), ("digits", "known data set", "another")),
    Row("names", "a folder of two words", folder_called("2024-Flowers (1)"), ("'2024_f", "such as --name flowers_1")),
    Row("names", "a folder with accents", folder_called("Été"), ("'été'", "Choose another", "such as --name ete")),
    Row("names", "a folder called as a known set", folder_called("mnist"), ("mnist: a known", "--name my_mnist")),
    Row("names", "an import called as an archive", import_as("cifar10_local"), ("--dataset cifar10 would", "my_cif")),
    Row("names", "an import of a private name", import_as("_x"), ("'_x'", "a letter first", "such as --name x")),
    Row("names", "an import of no name", import_as(""), ("''", "expected lower-case", "Choose another")),
    Row("names", "an import of two words", import_as("Two Words"), ("'Two Words'", "expected lower-case", "another")),
    Row("names", "an import that climbs", import_as("../up"), ("'../up'", "expected lower-case", "Choose another")),
]


def made(path: Path, contents: bytes = b"") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(contents)
    return path


def store_is_a_file(place: Path) -> None:
    made(place / "store")
    prepare(bad_inputs.images(place), "--name", "insects")


def store_holds_other_files(place: Path) -> None:
    made(place / "store/insects/thesis.txt", b"the only copy")
    prepare(bad_inputs.images(place), "--name", "insects")


def pipe_among_images(place: Path) -> None:
    os.mkfifo(bad_inputs.images(place) / "ant/zz.png")
    prepare(place / "images")


def folder_for_a_file(place: Path) -> None:
    folder = tiny_data.write_folder(place, CIFAR10, tiny_data.files(CIFAR10))
    (folder / "test_batch.bin").unlink()
    (folder / "test_batch.bin").mkdir()
    prepare(folder)


def store_among_images(place: Path) -> None:
    images = bad_inputs.images(place)
    prepare(images, "--data-dir", images / "store")


def linked_nowhere(option: str, *typed: object) -> Row:
    """A folder that is a link to one that isn't there, such as a disk that isn't mounted."""

    def done(place: Path) -> None:
        (place / "link").symlink_to(place / "unmounted/folder")
        command(*typed, *((bad_inputs.images(place),) if typed == ("data",) else ()), option, place / "link")

    return Row("unwritable", f"{typed[0]} {option} on a link", done, (f"{option} is ", "/link", "cannot be written"))


def file_that_cannot_be_read(place: Path) -> None:
    unreadable = Path("/proc/self/mem")  # for root as well
    if not unreadable.exists():
        pytest.skip("no file here that root cannot read")
    folder = tiny_data.write_folder(place, CIFAR10, tiny_data.files(CIFAR10))
    (folder / "batches.meta.txt").unlink()
    (folder / "batches.meta.txt").symlink_to(unreadable)
    prepare(folder)


def loop_of_links(place: Path) -> None:
    (bad_inputs.images(place) / "ant/zz.png").symlink_to("zz.png")
    prepare(place / "images")


def remote(option: str, address: str) -> Row:
    """An address that is not on this machine, for an option that takes a path; nothing is created."""

    def done(place: Path) -> None:
        images = bad_inputs.images(place)
        arguments = {
            "SOURCE": ("data", address, "--data-dir", place / "store"),
            "--data-dir": ("data", images, "--data-dir", address),
            "run --data-dir": ("run", SGD, "--runs", place / "runs", "--data-dir", address),
        }[option]
        before = {*Path().iterdir()}, bad_inputs.contents(place)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(data, "load", LOAD)
            try:
                command(*arguments)
            finally:
                assert ({*Path().iterdir()}, bad_inputs.contents(place)) == before

    return Row("addresses", f"{address} for {option}", done, (option.split()[-1], "not supported", "on this machine"))


ADDRESSES = [
    remote(option, address)
    for option in ("SOURCE", "--data-dir", "run --data-dir")
    for address in ("gs://bucket/data", "s3:/bucket/data", "file:///data", "me@host:data")
]


def no_home(place: Path, *arguments: object) -> None:
    """A command by a user of no name, without HOME."""

    def unknown(uid: int) -> None:
        raise KeyError(uid)

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("HOME", raising=False)
        patch.delenv("TFDS_DATA_DIR", raising=False)
        patch.setattr("pwd.getpwuid", unknown)
        patch.setattr(data, "load", LOAD)
        command(*arguments)


def data_in_a_bucket(place: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TFDS_DATA_DIR", "gs://bucket/data")
        command("data", bad_inputs.images(place))


ADDRESSES += [
    Row("addresses", "TFDS_DATA_DIR in a bucket", data_in_a_bucket, ("TFDS_DATA_DIR is gs://bucket", "not supported")),
    Row(
        "addresses",
        "no home to import into",
        lambda p: no_home(p, "data", bad_inputs.images(p)),
        ("default of --data-dir is ~/tensorflow_datasets", "set HOME"),
    ),
    Row(
        "addresses",
        "no home to load from",
        lambda p: no_home(p, "run", SGD, "--dataset", "mnist", "--runs", p / "runs"),
        ("default of --data-dir is ~/tensorflow_datasets", "set HOME"),
    ),
]


def report_into(name: str) -> Callable[[Path], None]:
    def done(place: Path) -> None:
        record(place)
        made(place / "file")
        command("report", place / "runs", "--out", place / name)

    return done


FILES = [
    Row("files", "a source that is not there", lambda p: prepare(p / "no"), ("no: no such file or folder", "Check")),
    Row("files", "a source of a long name", lambda p: command("data", "a" * 5000), ("aaa: cannot be read", "Check")),
    Row("files", "an unknown home", lambda p: command("data", "~nobody-here/x"), ("~nobody-here", "without `~`")),
    Row(
        "files",
        "an unknown home of data",
        lambda p: prepare(bad_inputs.images(p), "--data-dir", "~nobody-here"),
        ("--data-dir is ~nobody-here", "without `~`"),
    ),
    Row(
        "files",
        "an empty folder",
        lambda p: prepare(made(p / "x/.hidden").parent),
        ("x: fewer than 2 class folders", "Expected CLASS/IMAGE", "found nothing"),
    ),
    Row(
        "files",
        "a device",
        lambda p: command("data", os.devnull),
        ("null: a folder, a pipe or a device", "expected a plain file", "Check the path"),
    ),
    Row(
        "files",
        "a store that is a file",
        store_is_a_file,
        ("--data-dir is", "store, which cannot be written: Not a", "another folder"),
    ),
    Row(
        "files",
        "a store with other files",
        store_holds_other_files,
        ("thesis.txt: not an import", "Choose another", "--name"),
    ),
    Row(
        "files",
        "a pipe among images",
        pipe_among_images,
        ("zz.png: a folder, a pipe", "a plain file", "move it elsewhere"),
    ),
    Row(
        "files",
        "a store among images",
        store_among_images,
        ("--data-dir is ", "within the folder of images", "elsewhere"),
    ),
    linked_nowhere("--runs", "run", SGD),
    linked_nowhere("--out", "report"),
    linked_nowhere("--data-dir", "data"),
    Row("files", "a link to itself", loop_of_links, ("zz.png: cannot be read", "check the path")),
    Row("files", "a folder for a file", folder_for_a_file, ("test_batch.bin: no such file", "expected", FETCH)),
    Row("files", "a file that cannot be read", file_that_cannot_be_read, ("batches.meta.txt: cannot be read", FETCH)),
    Row("files", "no records", lambda p: command("report", p), ("no result.json or runs.jsonl in it", "train an arm")),
    Row(
        "files",
        "a file for records",
        lambda p: command("report", made(p / "f")),
        ("f: a file; expected a folder of runs", "another folder"),
    ),
    Row("files", "no folder", lambda p: command("report", p / "no"), ("no: no such folder", "name another folder")),
    Row("files", "a report where a file is", report_into("file"), ("--out is ", "file, which cannot be written")),
    Row("files", "a report within a file", report_into("file/x"), ("--out is ", "file/x, which cannot be written")),
]


def packing(wrong: str, contents: Callable[[], bytes], *told: str) -> Row:
    """An archive that is refused."""
    return Row("archives", wrong, lambda place: prepare(made(place / "archive.tar.gz", contents())), told)


def npy() -> bytes:
    """The file of an array."""
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((2, 8, 8)))
    return buffer.getvalue()


NOT_WHOLE = "not a whole .tar.gz archive"
TEST_BATCH = f"{CIFAR10.folder}/test_batch.bin"

ARCHIVES = [
    packing("an empty file", bytes, "it is empty", "Expected https", "archives, fetch it again"),
    packing("a zip", lambda: b"PK\x03\x04" + bytes(99), "a .zip archive", "expected a .tar.gz", "Unpack it"),
    packing("a tar.xz", lambda: lzma.compress(bytes(99)), "a .xz archive", "expected a .tar.gz", "Unpack it"),
    packing("an array", npy, "begins with b'\\x93NUMPY", "or a folder of images", "save each as a file"),
    packing("a web page", lambda: b"<!DOCTYPE html>", "begins with b'<!DOCTYP'", "Expected https", "Check the path"),
    packing("a cut tar", lambda: tiny_data.tar({TEST_BATCH: b"1"}, "w")[:600], "test_batch.bin: 1 bytes", FETCH),
    packing("a tar of images", lambda: tiny_data.tar({"a": b""}, "w"), "no known data set", "unpack it and pass the"),
    packing("a cut compression", lambda: archive()[:-100], NOT_WHOLE, "fetch it again"),
    packing("a changed checksum", lambda: archive()[:-8] + bytes(8), NOT_WHOLE, "CRC check failed"),
    packing(
        "a cut tar, compressed",
        lambda: gzip.compress(tiny_data.tar(tiny_data.members(CIFAR10), "w")[:50_000], 1),
        NOT_WHOLE,
        "unexpected end of data",
    ),
    packing(
        "members of other names",
        lambda: archive(lambda m: {f"x/{n}": d for n, d in m.items()}),
        "no known data set",
        "expected https",
    ),
    packing(
        "two data sets", lambda: archive(lambda m: m | tiny_data.members(CIFAR100)), "two data sets", "expected https"
    ),
    packing("a missing member", lambda: archive(lambda m: m.pop(TEST_BATCH)), "test_batch.bin missing", FETCH),
    packing(
        "a path that climbs",
        lambda: archive(lambda m: m | {f"../{TEST_BATCH}": m.pop(TEST_BATCH)}),
        "test_batch.bin missing",
        FETCH,
    ),
    packing(
        "a whole path",
        lambda: archive(lambda m: m | {f"/{TEST_BATCH}": m.pop(TEST_BATCH)}),
        "test_batch.bin missing",
        FETCH,
    ),
    packing(
        "a symbolic link",
        lambda: packed(header(TEST_BATCH, kind=tarfile.SYMTYPE, link="/etc/passwd")),
        "test_batch.bin: a link",
        "expected one plain file",
        FETCH,
    ),
    packing(
        "a hard link",
        lambda: packed(header(TEST_BATCH, kind=tarfile.LNKTYPE, link="/etc/passwd")),
        "test_batch.bin: a link",
        "expected one plain file",
    ),
    packing(
        "a second copy",
        lambda: archive(lambda m: m | {f"./{n}": d for n, d in m.items()}),
        "a second copy",
        "expected one plain file",
    ),
    packing(
        "a huge size of a record file",
        lambda: packed(header(TEST_BATCH, 1 << 80)),
        "test_batch.bin: 1,208,925,819,614",
        "expected 18,438 bytes",
    ),
    packing(
        "a huge size of another file",
        lambda: packed(header("readme", 1 << 80)),
        "declares, more than",
        "which are smaller",
        "fetch it again",
    ),
    packing("a header without end", bad_inputs.cut_sparse_header, NOT_WHOLE, "fetch it again"),
    packing(
        "headers of headers",
        lambda: packed((header("x", 1, tarfile.GNUTYPE_LONGNAME) + bytes(512)) * 2000),
        NOT_WHOLE,
        "recursion",
    ),
    packing(
        "a record file cut short",
        lambda: replaced("data_batch_2.bin", lambda d: d[:-1]),
        "data_batch_2.bin: 12,291 bytes",
        "expected 12,292 bytes",
        FETCH,
    ),
    packing(
        "a record too many",
        lambda: replaced("test_batch.bin", lambda d: d + d[:3073]),
        "7 records and 0 bytes",
        "expected 18,438 bytes",
        FETCH,
    ),
    packing(
        "a label out of range",
        lambda: replaced("test_batch.bin", lambda d: b"\x0a" + d[1:]),
        "label 10",
        "expected 0 to 9",
        FETCH,
    ),
    packing(
        "a class in two superclasses",
        lambda: replaced("test.bin", lambda d: d[:3074] + bytes([(d[0] + 1) % 20, d[1]]) + d[3076:], CIFAR100),
        "superclasses",
        "expected one",
    ),
    packing(
        "a name too many",
        lambda: replaced("batches.meta.txt", lambda d: d + b"more\n"),
        "batches.meta.txt: 11 different names",
        "expected 10",
        FETCH,
    ),
    packing(
        "names that are no text",
        lambda: replaced("batches.meta.txt", lambda d: b"\xff" + d),
        "batches.meta.txt: not text",
        FETCH,
    ),
    packing(
        "a huge list of names",
        lambda: replaced("batches.meta.txt", lambda d: d * 9999),
        "expected a short list of names",
        FETCH,
    ),
    packing(
        "the pickled version",
        lambda: tiny_data.tar({"cifar-10-batches-py/data_batch_1": b""}),
        "pickled data",
        "expected the binary version",
        "Fetch",
    ),
]


def pictures(wrong: str, change: Callable[[Path], object], *told: str) -> Row:
    """A folder of images in which something was changed."""

    def done(place: Path) -> None:
        change(bad_inputs.images(place))
        prepare(place / "images")

    return Row("image folders", wrong, done, told)


def picture(path: Path, mode: str = "RGB", size: tuple[int, int] = (5, 4)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size).save(path)


def divided(wrong: str, train: str, test: str, *told: str) -> Row:
    """A folder of images with a split, whose classes have names of one letter."""

    def done(place: Path) -> None:
        for name, classes in (("train", train), ("test", test)):
            for letter in classes:
                picture(place / "images" / name / letter / "0.png")
        prepare(place / "images")

    return Row("image folders", wrong, done, told)


def beside_train(images: Path, name: str) -> None:
    """Makes a train folder of the classes, and an image outside it."""
    images.rename(images.parent / "train")
    images.mkdir()
    (images.parent / "train").rename(images / "train")
    picture(images / name)


IMAGES = [
    pictures("another size", lambda f: picture(f / "bee/02.png", size=(4, 5)), "02.png: 4x5 RGB", "expected one size"),
    pictures("another mode", lambda f: picture(f / "bee/02.png", "L"), "02.png: 5x4 L", "expected one size and mode"),
    pictures("transparency", lambda f: picture(f / "bee/02.png", "RGBA"), "02.png: mode RGBA", "expected L or RGB"),
    pictures(
        "a broken PNG",
        lambda f: made(f / "bee/02.png", (f / "bee/02.png").read_bytes()[:60]),
        "02.png: not a whole image",
        "Replace the file",
    ),
    pictures("an empty PNG", lambda f: made(f / "bee/02.png"), "02.png: not an image", "Convert or replace the file"),
    pictures(
        "another format",
        lambda f: picture(f / "bee/02.gif"),
        "02.gif: not an image, or an image of another format",
        "in the class folder bee, each one of BMP, JPEG",
        "Convert",
    ),
    pictures(
        "a huge image",
        lambda f: made(f / "bee/x.ppm", b"P6 99999 99999 255\n"),
        "x.ppm: too large an image",
        "exceeds limit",
    ),
    pictures(
        "one class", lambda f: (f / "bee").rename(f / ".bee"), "images: fewer than 2 class", "found folders 'ant'"
    ),
    pictures(
        "a class of few images",
        lambda f: [(f / f"bee/0{i}.png").unlink() for i in range(2)],
        "class bee has fewer than 5 images",
        "Add images",
    ),
    pictures(
        "folders in the classes",
        lambda f: (f / "bee/00.png").rename(bad_inputs.folder(f / "bee/queens") / "00.png"),
        "bee: contains folders",
        "Expected CLASS/IMAGE",
        "'bee' (1 folder, 4 files)",
        "Pass the folder that contains the classes",
    ),
    pictures(
        "splits without classes",
        lambda f: [(f / "ant").rename(f / "Training"), (f / "bee").rename(f / "Testing")],
        "no class folders in Testing and Training",
        "Sort the images",
    ),
    pictures(
        "a class in two forms of Unicode",
        lambda f: [(f / "ant").rename(f / "caf\xe9"), (f / "bee").rename(f / "cafe\u0301")],
        r"'cafe\u0301' and 'caf\xe9' are the same name",
        "one folder per class",
    ),
    pictures(
        "an empty class", lambda f: (f / "cat").mkdir(), "cat: a class folder without images", "Add images, or move it"
    ),
    pictures(
        "a class that is no text", lambda f: (f / "bee").rename(f / "be\udcff"), "outer spaces or bytes", "Rename it"
    ),
    pictures("a class of two lines", lambda f: (f / "bee").rename(f / "be\ne"), r"be\ne", "line breaks", "Rename it"),
    divided("no test images", "ab", "", "no test folder", "found folders 'train'", "rename their folder, or pass"),
    pictures(
        "a test folder of an unknown name",
        lambda f: beside_train(f, "dev/ant/0.png"),
        "no test folder",
        "found folders 'dev' (1 folder), 'train' (2 folders)",
        "rename their folder",
    ),
    pictures(
        "test images without classes",
        lambda f: beside_train(f, "test/0.png"),
        "no class folders in test",
        "found folders 'test' (1 file), 'train' (2 folders)",
        "Sort the test images",
    ),
    divided("a class only to train on", "abc", "ab", "test: classes differ", "(c)", "Add the missing ones"),
    pictures(
        "a file among classes",
        lambda f: made(f / "notes.txt", b"notes"),
        "notes.txt: a file among the classes",
        "Move it",
    ),
    pictures(
        "a pickle", lambda f: made(f / "data_batch_1", pickle.dumps({}, 2)), "data_batch_1: pickled data", "Fetch"
    ),
]


def damaged(wrong: str, change: Callable[[Path], object], *told: str) -> Row:
    """The only record of a folder, changed; the report says why it has nothing to report."""

    def done(place: Path) -> None:
        change(place)
        command("report", place / "runs")

    return Row("records", wrong, done, (*told, AGAIN))


def rewritten(old: str, new: str) -> Callable[[Path], None]:
    def change(place: Path) -> None:
        path = record(place)
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    return change


RECORDS = [
    damaged("a cut record", lambda p: record(p).write_text('{"schema": 1,'), "not strict JSON"),
    damaged("an empty record", lambda p: record(p).write_text(""), "not strict JSON"),
    damaged("bytes that are no text", lambda p: record(p).write_bytes(b"\xff\xfe"), "not strict JSON"),
    damaged("NaN for a number", rewritten('"seconds": 30.0', '"seconds": NaN'), "NaN is not JSON"),
    damaged("another schema", lambda p: record(p, schema=2), "not a record of schema 1"),
    damaged("another program's file", lambda p: record(p).write_text("[]"), "not a record of schema 1"),
    damaged("a missing field", rewritten('"command"', '"comand"'), "`command` is None", "expected str"),
    damaged("a field of another kind", lambda p: record(p, seed="0"), "`seed` is '0'", "expected int"),
    damaged("a name that climbs", lambda p: record(p, name="../x"), "`name` is '../x'", "expected words and slashes"),
    damaged("no settings", lambda p: record(p, config={}), "`config` has no whole number of `epochs`"),
    damaged("no history", lambda p: record(p, history=[]), "`history` is empty", "expected an entry"),
    damaged("a history of other epochs", lambda p: record(p, history=[{"epoch": 1}]), "`history[0]`", "of epoch 0"),
    damaged(
        "an error that was edited", lambda p: record(p, final_test_error=1.0), "`final_test_error` is 1.0", "gives 5.0"
    ),
]


def steps(wrong: str, contents: Callable[[], bytes], *told: str) -> Row:
    """A file of steps that its record vouches for, but that is none."""

    def done(place: Path) -> None:
        path = bad_inputs.with_steps(place, contents())
        with pytest.raises(RecordError) as error:
            _ = records.read(path).steps
        raise Told(str(error.value))

    return Row("steps", wrong, done, ("steps.npz: ", *told, AGAIN))


def foreign_steps(place: Path) -> None:
    made(record(place).with_name("steps.npz"), npz(loss=FLOATS, momentum=FLOATS, below=BOOLS))
    with pytest.raises(RecordError) as error:
        _ = records.read(place / "runs/demo/lcam/seed-0/result.json").steps
    raise Told(str(error.value))


def duplicated_run(place: Path) -> None:
    made(place / "runs/old/result.json", record(place).read_bytes())
    with pytest.raises(RecordError) as error:
        records.read_all(place / "runs")
    raise Told(str(error.value))


RECORDS += [
    Row("steps", "steps of another run", foreign_steps, ("steps.npz: does not belong to result.json", AGAIN)),
    Row("records", "a run twice", duplicated_run, ("the same arm and seed as", "keep one")),
    steps("an empty file", bytes, "not the steps of a run"),
    steps("a pickle", lambda: pickle.dumps({"loss": 0}), "not the steps of a run"),
    steps(
        "pickled objects",
        lambda: npz(loss=np.array([{}] * 12), momentum=FLOATS, below=BOOLS),
        "not the steps of a run",
        "allow_pickle=False",
    ),
    steps("arrays of other names", lambda: npz(losses=FLOATS), "not the steps of a run", "losses"),
    steps("arrays of two lengths", lambda: npz(loss=FLOATS, momentum=FLOATS[1:], below=BOOLS), "vectors of one length"),
    steps(
        "arrays of other types",
        lambda: npz(loss=FLOATS, momentum=FLOATS, below=FLOATS),
        "expected float32, float32, bool",
    ),
    steps(
        "steps that do not fill the epochs",
        lambda: npz(loss=FLOATS[1:], momentum=FLOATS[1:], below=BOOLS[1:]),
        "11 steps",
        "equally many in each",
    ),
]


def begun(wrong: str, change: Callable[[Path], object], *more: object, told: tuple[str, ...]) -> Row:
    """A checkpoint that the run cannot go on from; it has to stay as it is."""

    def done(place: Path) -> None:
        change(place)
        before = bad_inputs.contents(place)
        try:
            bad_inputs.go_on(place, *more)
        finally:
            after = bad_inputs.contents(place)
            assert {path: after.get(path) for path in before} == before

    return Row("checkpoints", wrong, done, told)


SETTINGS = ("made with other settings", "Choose another --runs folder", "--fresh")

CHECKPOINTS = [
    begun(
        "another learning rate",
        bad_inputs.begun_run,
        "--learning-rate",
        0.5,
        told=("learning_rate (0.05 there, 0.5 now)", *SETTINGS),
    ),
    begun("another network", bad_inputs.begun_run, "--width", 2, told=("width (1 there, 2 now)", *SETTINGS)),
    begun("a file for the folder of runs", lambda p: made(p / "runs"), told=("runs", "cannot be written")),
    begun(
        "a file for the folder of checkpoints",
        lambda p: made(p / "runs" / LCAM / "checkpoints"),
        told=("cannot be written", "no checkpoint yet"),
    ),
    begun(
        "a damaged record of the run",
        lambda p: made(p / "runs" / LCAM / "seed-0/result.json", b"{"),
        told=("not strict JSON", AGAIN),
    ),
]

ROWS = [
    *FIELDS,
    *WORDS,
    *ELSEWHERE,
    *UNWRITABLE,
    *NAMES,
    *FILES,
    *ADDRESSES,
    *ARCHIVES,
    *IMAGES,
    *RECORDS,
    *CHECKPOINTS,
]


@pytest.fixture(autouse=True)
def tiny_and_alone(monkeypatch):
    """Small data sets, no network, and no compilation of what nobody looks at."""

    def fail(url, **kwargs):
        raise requests.ConnectionError(url)

    def blank(setup, num_classes, seeds, mesh, momenta=None):
        return jax.device_put(bad_inputs.blank_state(setup), replicated(mesh))

    monkeypatch.setattr("train.engine.job.init_stacked_state", blank)
    monkeypatch.setattr(cifar_records, "LAYOUTS", tiny_data.LAYOUTS)
    monkeypatch.setattr(data, "load", lambda name, data_dir: tiny_run.dataset())
    monkeypatch.setattr(requests, "head", fail)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.kind}: {row.wrong}")
def test_bad_input_is_refused_in_words_that_help(row, tmp_path):
    with pytest.raises(Told) as told:
        row.done(tmp_path)
    missing = [fragment for fragment in row.told if fragment not in str(told.value)]
    assert not missing, str(told.value)


def test_each_row_is_one_of_its_own():
    names = [(row.kind, row.wrong) for row in ROWS]
    assert len(names) == len(set(names))
