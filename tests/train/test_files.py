"""Local paths and writable folders. The tests of records cover JSON and atomic files."""

import os
from pathlib import Path

import pytest

from train.errors import LocationError
from train.files import files_named, local_path, require_literal, require_writable

REMOTE = [
    "gs://bucket/runs",
    "gs:/bucket/runs",
    "gs:",
    "s3://bucket",
    "http://host/x",
    "https://host/x",
    "file:///home/me/x",
    "hdfs://host:9000/x",
    "az://container/x",
    "GS://bucket",
    "gs:bucket",
    "gdrive:folder",
    "host:/folder",
    "10.0.0.1:/folder",
    "me@host:folder",
]
LOCAL = ["runs", ".", "/data/a:b", "a/b:c", "../runs", "C:/runs", "C:\\runs", "2024-01-01T10:30", "a b", "é", ""]


@pytest.mark.parametrize("form", [str, Path])
@pytest.mark.parametrize("path", REMOTE)
def test_remote_addresses_are_refused(path, form):
    with pytest.raises(LocationError, match=r"--runs is .*not supported.*Expected a path on this machine"):
        local_path(form(path), "--runs")


@pytest.mark.parametrize("path", LOCAL)
def test_local_paths_stay_as_they_are(path):
    assert local_path(path, "--runs") == Path(path)


def test_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/somewhere")
    assert local_path("~/runs", "--runs") == Path("/somewhere/runs")
    with pytest.raises(LocationError, match=r"--runs is ~nobody-here/runs: .*Pass a path without `~`"):
        local_path("~nobody-here/runs", "--runs")


def test_no_home_folder(monkeypatch):
    pwd = pytest.importorskip("pwd")

    def unknown(uid):
        raise KeyError(uid)

    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    with pytest.raises(LocationError, match=r"--runs is ~/runs: .*set HOME"):
        local_path("~/runs", "--runs")


def test_writable_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in (tmp_path, tmp_path / "new/deep", Path("new"), Path()):
        require_writable(folder, "--runs")
    assert not [*tmp_path.iterdir()]


def test_folders_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file/new", Path("/proc/new")):
        with pytest.raises(LocationError, match=f"--runs is {folder}, which cannot be written: .*name another folder"):
            require_writable(folder, "--runs")


def test_folder_on_a_full_disk(tmp_path, monkeypatch):
    if not os.path.exists("/dev/full"):
        pytest.skip("no device here that is always full")
    monkeypatch.setattr("tempfile.TemporaryFile", lambda dir: Path("/dev/full").open("wb"))  # noqa: SIM115
    with pytest.raises(LocationError, match="cannot be written: No space left on device"):
        require_writable(tmp_path, "--runs")


@pytest.mark.parametrize("name", ["[lcam] study", "a*b", "what?", "back\\slash", "open[", "not-utf-8-\udcff"])
def test_folders_from_which_no_checkpoint_could_be_restored_are_refused(name, tmp_path):
    with pytest.raises(LocationError, match=r"--runs is .*Rename the folder"):
        require_literal(tmp_path / name / "runs", "--runs")


def test_the_working_directory_counts_too(tmp_path, monkeypatch):
    folder = tmp_path / "[lcam]"
    folder.mkdir()
    monkeypatch.chdir(folder)
    with pytest.raises(LocationError, match=r"checkpoints cannot be restored from a path with \[ or \] in it"):
        require_literal(Path("runs"), "--runs")


@pytest.mark.parametrize("name", ["a b", "é", "{x}", "a#b", "~x", "(1)"])
def test_other_names_are_taken_literally(name, tmp_path):
    require_literal(tmp_path / name, "--runs")


def test_a_path_that_is_not_utf_8_is_refused():
    with pytest.raises(LocationError, match=r"DATA is .*: not valid UTF-8"):
        local_path("not-utf-8-\udcff", "DATA")


def test_files_are_found_behind_links_and_circles_end(tmp_path):
    elsewhere, root = tmp_path / "elsewhere", tmp_path / "root"
    (elsewhere / "deep").mkdir(parents=True)
    root.mkdir()
    (elsewhere / "deep" / "here").touch()
    (root / "here").touch()
    (root / "link").symlink_to(elsewhere)
    (root / "circle").symlink_to(root)
    assert files_named("here", root) == [root / "here", root / "link" / "deep" / "here"]
    assert files_named("here", tmp_path / "missing") == []


@pytest.mark.parametrize("link", ["a-link", "z-link"])
def test_a_folder_counts_once_and_by_its_own_path(tmp_path, link):
    (tmp_path / "m" / "deep").mkdir(parents=True)
    (tmp_path / "m" / "deep" / "here").touch()
    (tmp_path / link).symlink_to(tmp_path / "m")
    (tmp_path / "m" / link).symlink_to(tmp_path / "m" / "deep")
    assert files_named("here", tmp_path) == [tmp_path / "m" / "deep" / "here"]
