"""What ran on a device, told to the ledger, the metrics and each job."""

from __future__ import annotations

from collections.abc import Sequence

from assayd.metrics import Metrics
from assayd.scheduler.queue import Queue, Slice


class Accounts:
    """Of one device, by its name. Touched by the event loop alone."""

    def __init__(self, device: str, queue: Queue, metrics: Metrics) -> None:
        self._device = device
        self._queue = queue
        self._metrics = metrics

    def ran(self, slices: Sequence[Slice], begun: float, ended: float) -> None:
        """Count what ran, for the ledger, the metrics and each job. What runs beside a batch takes next to no time."""
        seconds = ended - begun
        lone = [s for s in slices if s.work.alone]
        batch = [s for s in slices if not s.work.alone]
        for job in {id(s.work.job): s.work.job for s in slices}.values():
            job.usage.compute_seconds += seconds
        for s in slices:
            s.work.job.usage.rows_run += s.rows
            s.work.devices.add(self._device)
            if s.start == 0:
                wait = begun - s.work.submitted
                s.work.job.usage.queue_seconds += wait
                self._metrics.queue_seconds.observe(wait)
        self._metrics.device_ran(self._device, sum(s.rows for s in slices), seconds)
        self._metrics.alone(sum(s.rows for s in lone))
        if batch:
            self._count_batch(batch, seconds)

    def _count_batch(self, slices: Sequence[Slice], seconds: float) -> None:
        first, rows = slices[0].work, sum(s.rows for s in slices)
        self._queue.measured(first.batch_key, rows, seconds)
        jobs = {id(s.work.job): s.work.job for s in slices}
        runs = rows if first.singly else 1
        for job in jobs.values():
            job.usage.batches += runs
            job.usage.shared_batches += len(jobs) > 1
        for _ in range(runs):
            most = first.model.batching.max_rows
            self._metrics.batch(rows // runs, most, seconds / runs, jobs=len(jobs), padded=first.padded)
