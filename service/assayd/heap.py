"""What becomes of memory that is freed.

glibc gives arrays of some 100 kB back to the system and takes them again, page by page, which costs as much as what is
computed in them; so they stay at hand. Once a large block was freed it takes such blocks for the usual ones, and keeps
them in an arena for each thread: after some dozens of messages of 12 MiB a server held 440 MiB; so they go back.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Of glibc's malloc.h."""
_KEPT_BYTES, _MAPPED_BYTES = 32 * 2**20, 4 * 2**20


def keep_at_hand() -> None:
    """Keep up to 32 MiB of free memory at the end of each heap, and map arrays from 4 MiB on alone.

    Nothing happens where the C library is another.
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_MMAP_THRESHOLD, _MAPPED_BYTES)
