"""The public names of `lcam_optax.contrib`, which `import lcam_optax` alone does not import."""

import subprocess
import sys

from lcam_optax import contrib


def test_all_names_are_there_and_documented():
    assert contrib.__all__ == sorted(contrib.__all__)
    assert all(getattr(contrib, name).__doc__ for name in contrib.__all__)


def test_the_package_does_not_import_it():
    code = "import sys, lcam_optax; sys.exit('lcam_optax.contrib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
