"""A server that breaks one of its promises, so that what checks the promise can be seen to fail.

`CARELESS=PROMISE python -m tests.robustness.careless serve …`, with flags as for assayd.
"""

import os
import signal
import sys
from itertools import count

from assayd.__main__ import main
from assayd.explain import predictor
from assayd.scheduler import recovery, watchdog, work

_RIGHT_AT_FIRST = 40
"""Deliveries that are right, so that whoever compares has something to compare with."""


def drain():
    """It goes down as it stands."""
    handler = signal.signal

    def hasty(number, _):
        return handler(number, lambda *_: os._exit(0))

    from asyncio import unix_events

    unix_events._UnixSelectorEventLoop.add_signal_handler = lambda self, number, callback, *args: hasty(
        number, callback
    )


def deadline():
    """Nothing that runs is ever stopped."""
    watchdog.Watch._look = lambda self: None


def death():
    """A model whose process died gets no other."""
    recovery.Recovery.revive = lambda self, device, digest, cause: None


def mates():
    """A lost batch is lost for all whose rows were in it."""
    recovery.Recovery._send_back = lambda self, one, verdict: one.work.fail(verdict)


def numbers():
    """Later answers differ from the first ones."""
    deliver, numbers = work.Work.deliver, count()

    def other(self, start, rows, result):
        wrong = next(numbers) >= _RIGHT_AT_FIRST and not isinstance(result, dict)
        deliver(self, start, rows, result + 1e-3 if wrong else result)

    work.Work.deliver = other


def bug():
    """It stumbles over its own feet."""

    async def stumble(self, request, job):
        raise KeyError("/etc/a-path")

    predictor.Predictor.predict = stumble


if __name__ == "__main__":
    globals()[os.environ["CARELESS"]]()
    sys.exit(main())
