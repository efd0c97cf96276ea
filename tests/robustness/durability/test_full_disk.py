"""A file system that is really full, at another point of the upload each time."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

_ALONE = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
_MOUNT = 'mount -t tmpfs -o size=1m none "$0"'


def test_a_disk_that_is_full_refuses_and_keeps_what_it_has(tmp_path):
    """In a namespace of its own, which not every system lets us make."""
    try:
        subprocess.run([*_ALONE, _MOUNT, str(tmp_path)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no namespace for a file system of our own")
    run = [*_ALONE, f'{_MOUNT} && exec "$@" "$0"', str(tmp_path), sys.executable]
    run += ["-m", "tests.robustness.durability.filled"]
    env = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(run, cwd=Path(__file__).parents[3], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
