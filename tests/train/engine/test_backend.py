"""What is set before JAX starts: XLA flags, unless the user chose them, and the compilation cache."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from train.engine import backend


@pytest.fixture(autouse=True)
def settings(monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "")  # so that the earlier value comes back after the test
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    monkeypatch.setenv("XLA_FLAGS", "")


def configured():
    backend.configure()
    return os.environ.get("JAX_COMPILATION_CACHE_DIR")


def no_home():
    raise RuntimeError("Could not determine home directory.")


def test_the_cache_lies_where_xdg_says(monkeypatch, tmp_path):
    monkeypatch.setattr(Path, "home", no_home)  # a container with an unknown user
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "new"))
    assert configured() == str(tmp_path / "new" / "lcam-optax")


@pytest.mark.parametrize("value", [None, "", "relative/cache"])
def test_the_cache_lies_in_the_home_directory(monkeypatch, tmp_path, value):
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    if value is None:
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    else:
        monkeypatch.setenv("XDG_CACHE_HOME", value)
    assert configured() == str(tmp_path / ".cache" / "lcam-optax")


def test_without_a_home_there_is_no_cache(monkeypatch):
    monkeypatch.setattr(Path, "home", no_home)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert configured() is None


def test_a_place_that_is_no_folder_or_cannot_be_written_is_no_cache(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert configured() is None
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    assert configured() is None


@pytest.mark.parametrize("value", ["", "/elsewhere"])
def test_the_user_s_cache_stays(monkeypatch, value):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", value)
    assert configured() == value


def test_the_user_s_flags_stay(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_experimental_ynn_fusion_type=dot")
    configured()
    assert os.environ["XLA_FLAGS"] == "--xla_cpu_experimental_ynn_fusion_type=dot"


SEEN = "import jax; from train.engine.devices import cores_are_devices as c; print(jax.device_count(), c())"


@pytest.mark.parametrize(
    ("cores", "variables", "seen"),
    [
        (1, {}, "1 False"),
        (3, {}, "3 True"),
        (3, {"JAX_NUM_CPU_DEVICES": "2"}, "2 False"),
        (3, {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}, "2 False"),
    ],
)
def test_each_core_is_a_device_unless_the_user_chose(cores, variables, seen):
    program = f"from train.engine import backend; backend.cores = lambda: {cores}; backend.make_cores_devices(); {SEEN}"
    found = subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        cwd=Path(__file__).parents[3],
        env=os.environ | variables,
        capture_output=True,
        text=True,
    )
    assert found.stdout.strip() == seen


def test_xla_knows_the_flags():
    # It ends a process that sets an unknown one.
    program = "from train.engine.backend import configure; configure(); import jax; jax.devices()"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[3])
