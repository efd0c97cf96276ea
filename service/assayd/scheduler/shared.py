"""What all devices of a server share: the rows that wait, those to run again, and the works that somebody waits for."""

from __future__ import annotations

import logging
from weakref import WeakSet

from assayd.errors import AssayError, ModelFailed
from assayd.scheduler.queue import Queue
from assayd.scheduler.recovery import Recovery
from assayd.scheduler.work import Job, Work

log = logging.getLogger(__name__)


class Shared:
    """Touched by the event loop alone."""

    def __init__(self, queue: Queue, recovery: Recovery) -> None:
        self.queue = queue
        self.recovery = recovery
        self.open: WeakSet[Work] = WeakSet()

    def failed(self, work: Work, error: Exception) -> None:
        """End a work with an error; what of it waits never runs."""
        if not isinstance(error, AssayError):
            log.error("a batch failed", exc_info=error)
        work.fail(error)
        self.queue.drop(work)

    def fail_spent(self, job: Job) -> None:
        """End a request whose rows ended too many processes, if this is one."""
        if self.recovery.spent(job):
            for work in [w for w in self.open if w.job is job]:
                self.failed(work, spent())


def spent() -> ModelFailed:
    """What such a request hears."""
    return ModelFailed("rows of this request ended too many of the model's processes; the rest of them isn't run")
