"""Freed memory is used again, and not fetched from the system anew: counted in page faults."""

import subprocess
import sys

import pytest

from assayd.heap import keep_at_hand

_ARRAYS = """
import resource, sys
import numpy as np
from assayd.heap import keep_at_hand
if sys.argv[1] == "kept":
    keep_at_hand()
def arrays():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(100):
        held = [np.ones(50_000) for _ in range(4)]
        del held
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
arrays()
print(arrays())
"""


def faults(how):
    """Of a hundred times four arrays of 400 kB, the second time."""
    return int(subprocess.run([sys.executable, "-c", _ARRAYS, how], capture_output=True, check=True, text=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="it is glibc's")
def test_arrays_that_come_and_go_take_no_new_pages():
    plain, kept = faults("plain"), faults("kept")
    assert plain > 1000  # else there is nothing to mend
    assert kept < plain / 20


def test_another_c_library_is_left_as_it_is(monkeypatch):
    monkeypatch.setattr("ctypes.CDLL", lambda _: object())
    keep_at_hand()
