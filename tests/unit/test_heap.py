"""Freed memory is used again, and not fetched from the system anew: counted in page faults, and in arenas."""

import subprocess
import sys

import pytest

from assayd.heap import MOST_ARENAS, keep_at_hand

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


_THREADS = """
import ctypes, sys, threading
from assayd.heap import keep_at_hand
if sys.argv[1] == "kept":
    keep_at_hand()
all_there = threading.Barrier(9)
def work():
    held = bytearray(100_000)
    all_there.wait()
    all_there.wait()
for _ in range(8):
    threading.Thread(target=work).start()
all_there.wait()
libc = ctypes.CDLL("libc.so.6")
libc.fopen.restype = ctypes.c_void_p
page = libc.fopen(b"/dev/stdout", b"w")
libc.malloc_info(0, ctypes.c_void_p(page))
libc.fclose(ctypes.c_void_p(page))
all_there.wait()
"""


_MAPPED = """
import ctypes, sys
from assayd.heap import keep_at_hand
from tests.robustness.weighed import mallinfo2
if sys.argv[1] == "kept":
    keep_at_hand()
def mapped(size):
    before = mallinfo2().hblks
    held = bytearray(size)
    return mallinfo2().hblks - before
mapped(20_000_000)
print(mapped(400_000), mapped(1_300_000))
"""


def said(code, how):
    return subprocess.run([sys.executable, "-c", code, how], capture_output=True, check=True, text=True).stdout


def faults(how):
    """Of a hundred times four arrays of 400 kB, the second time."""
    return int(said(_ARRAYS, how))


def arenas(how):
    """Of a process with eight threads that all hold something."""
    return said(_THREADS, how).count("<heap nr=")


@pytest.mark.skipif(sys.platform != "linux", reason="it is glibc's")
def test_arrays_that_come_and_go_take_no_new_pages():
    plain, kept = faults("plain"), faults("kept")
    assert plain > 1000  # else there is nothing to mend
    assert kept < plain / 20


@pytest.mark.skipif(sys.platform != "linux", reason="it is glibc's")
def test_a_models_file_leaves_no_hole():
    assert said(_MAPPED, "plain").split() == ["0", "0"]  # else there is nothing to mend
    assert said(_MAPPED, "kept").split() == ["0", "1"]


@pytest.mark.skipif(sys.platform != "linux", reason="it is glibc's")
def test_threads_share_few_arenas():
    assert arenas("plain") > MOST_ARENAS  # else there is nothing to mend
    assert arenas("kept") <= MOST_ARENAS


def test_another_c_library_is_left_as_it_is(monkeypatch):
    monkeypatch.setattr("ctypes.CDLL", lambda _: object())
    keep_at_hand()
