"""A server that tells on its page of metrics what it has in use, counted from within. What a process holds says little
of a small leak: freed memory stays with it, and comes and goes by megabytes.

`python -m tests.robustness.weighed serve …`, with flags as for assayd.
"""

import ctypes
import gc
import sys

from prometheus_client import Gauge

from assayd.__main__ import main
from assayd.metrics import Metrics

BLOCKS, BYTES = "python_blocks", "malloc_bytes"
_KEPT, _INTERNED = 20_000, 200_000


class _Mallinfo2(ctypes.Structure):
    """Of glibc's malloc.h."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"
        )
    )  # fmt: skip


def _blocks():
    gc.collect()
    return sys.getallocatedblocks()


def mallinfo2():
    """What glibc says of its heaps."""
    function = ctypes.CDLL(None).mallinfo2
    function.restype = _Mallinfo2
    return function()


def _malloc_bytes():
    gc.collect()
    told = mallinfo2()
    return told.uordblks + told.hblkhd


def weigh():
    """Let every server of this process tell it."""
    plain = Metrics.__init__

    def weighed(self, *args, **kwargs):
        plain(self, *args, **kwargs)
        # Python's table of interned strings makes room when so many have come and gone (pathlib interns each part of a
        # path), for three times those that are left: a step of 2 MB some time in the first hour. More are left here, so
        # that it takes that step now and stays as it is.
        self.interned = [sys.intern(f"stays {n}") for n in range(_KEPT)]
        for n in range(_INTERNED):
            sys.intern(f"comes and goes {n}")
        Gauge(BLOCKS, "Blocks in use of Python's allocator.", registry=self.registry).set_function(_blocks)
        Gauge(BYTES, "Bytes in use of the C library's.", registry=self.registry).set_function(_malloc_bytes)

    Metrics.__init__ = weighed


if __name__ == "__main__":
    weigh()
    sys.exit(main())
