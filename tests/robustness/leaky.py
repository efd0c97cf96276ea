"""A server that leaks on purpose, so that what looks for leaks can be seen to find them: memory and a descriptor now
and then with every call, and all that callers send.

`python -m tests.robustness.leaky serve …`, with flags as for assayd.
"""

import os
import sys

from assayd.__main__ import main
from assayd.api import interceptor
from tests.robustness.weighed import weigh

BYTES_A_CALL = 2048
CALLS_A_DESCRIPTOR = 5
_kept = []


def _end(self, call, code, message="", incident="", *, end=interceptor.CallInterceptor._end):
    _kept.append(os.urandom(BYTES_A_CALL))
    if len(_kept) % CALLS_A_DESCRIPTOR == 0:
        _kept.append(os.open(os.devnull, os.O_RDONLY))
    end(self, call, code, message, incident)


async def _parsed(deserialize, raw, *, parsed=interceptor._parsed):
    _kept.append(bytearray(raw))
    return await parsed(deserialize, raw)


if __name__ == "__main__":
    interceptor.CallInterceptor._end = _end
    interceptor._parsed = _parsed
    weigh()
    sys.exit(main())
