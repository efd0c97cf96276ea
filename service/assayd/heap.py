"""What becomes of memory that is freed.

glibc gives arrays of some 100 kB back to the system and takes them again, page by page, which costs as much as what is
computed in them; so they stay at hand. Once a large block was freed it takes such blocks for the usual ones, and keeps
them in an arena for each thread: after some dozens of messages of 12 MiB a server held 440 MiB; so they go back.

So do all blocks from 1 MiB on, such as models' files: small ones nibble at the hole that such a block leaves, and the
next takes new room. Forty uploads of 1.3 MB left 24 MB of holes in a server that had 22 MB in use; now it is 5 MB.

And glibc has eight arenas a core, each of which keeps what its threads once needed; each model brings three threads,
which go from arena to arena. So all threads share a few.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
"""Of glibc's malloc.h."""
_KEPT_BYTES, _MAPPED_BYTES = 32 * 2**20, 2**20
MOST_ARENAS = 4
"""Small blocks come from a cache of each thread, and Python's threads take turns: few ever wait for an arena."""


def keep_at_hand() -> None:
    """Keep up to 32 MiB of free memory at the end of each heap, map blocks from 1 MiB on alone, and have four heaps.

    To be called before there are threads. Nothing happens where the C library is another.
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_MMAP_THRESHOLD, _MAPPED_BYTES)
        mallopt(_M_ARENA_MAX, MOST_ARENAS)
