"""Rows that wait for a device, and the next batch of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass

from assayd.errors import DeadlinePassed, QueueFull
from assayd.metrics import Metrics
from assayd.scheduler.ledger import Ledger
from assayd.scheduler.policy import Grant, Hold, Limits, State, Waiting, choose
from assayd.scheduler.work import Work

BRIEF_S = 5e-3
"""Of a batch: nobody gains anything from waiting until it is through."""


@dataclass(frozen=True)
class Slice:
    """Rows start … start + rows - 1 of a work. again: they ran before, in a batch that was lost, and now run alone."""

    work: Work
    start: int
    rows: int
    again: bool = False


class Queue:
    """Works with rows that no batch has taken yet. Touched by the event loop alone.

    changed: set whenever another batch may be possible.
    """

    def __init__(self, metrics: Metrics, *, gather_s: float, max_rows: int) -> None:
        self._metrics = metrics
        self._gather_s = gather_s
        self._max_rows = max_rows
        self._works: dict[int, tuple[Work, Waiting]] = {}
        self._ledger = Ledger()
        self.rows = 0
        self.expected = 0
        self.changed = asyncio.Event()

    @property
    def row_cost(self) -> Mapping[Hashable, float]:
        """Measured seconds a row, by batch key."""
        return self._ledger.row_cost

    def admit(self, work: Work) -> None:
        """Let a work wait. Raises QueueFull, QuotaUsedUp."""
        if work.plan.size == 0:
            raise AssertionError("a plan has at least one row")
        if self.rows and self.rows + work.plan.size > self._max_rows:
            raise QueueFull(
                f"{self.rows} rows wait already and this needs {work.plan.size} more; at most "
                f"{self._max_rows} may wait",
                retry_after_s=self._seconds(),
            )
        if work.job.charge is not None:
            work.job.charge(work.plan.size)
        work.submitted = time.monotonic()
        view = Waiting(
            work.number,
            work.job.caller,
            work.job.request_id,
            work.model.digest,
            work.batch_key,
            work.plan.size,
            1 if work.alone else work.model.batching.max_rows,
            work.singly,
            work.submitted,
            work.job.evenly,
            work.least,
            work.device,
        )
        self._works[work.number] = (work, view)
        self._ledger.join(view)
        self._count(work.plan.size)
        work.job.usage.rows_planned += work.plan.size
        self.changed.set()

    def drop(self, work: Work) -> None:
        """Take a work out, if it is still there."""
        found = self._works.pop(work.number, None)
        if found is not None:
            self._ledger.leave(found[1])
            self._count(-work.waiting_rows)
            self.changed.set()

    def fail(self, error: Exception, digest: str | None = None) -> None:
        """End all works, or all of one model, with an error."""
        for work, _ in list(self._works.values()):
            if digest is None or work.model.digest == digest:
                work.fail(error)
                self.drop(work)

    def take(
        self, *, full_only: bool, can: Callable[[Waiting], bool], beside: Work | None = None
    ) -> list[Slice] | Hold | None:
        """The next batch, by the policy; its rows wait no more. can: what may run where it is to run, by model, tenant
        and device. beside: what can go with this work, which runs alone: others that do, or its own job's rows where
        nobody else waits.
        """
        now = time.monotonic()
        for work, _ in list(self._works.values()):
            if work.job.deadline is not None and now >= work.job.deadline:
                work.fail(DeadlinePassed("the deadline passed while rows were waiting for the device"))
            if work.finished.done():
                self.drop(work)
        views = self._those(can)
        if beside is not None:
            views = _beside(views, beside)
        state = State(views, self._ledger.used, self._ledger.row_cost, self.expected)
        decision = choose(state, now, Limits(self._gather_s, full_only))
        if decision is None or isinstance(decision, Hold):
            return decision
        return [self._grant(g) for g in decision]

    def any_waits(self, can: Callable[[Waiting], bool]) -> bool:
        """Whether something waits that may run. can: as for `take`."""
        return any(can(view) for _, view in self._works.values())

    def rest_of(self, work: Work) -> list[Slice] | None:
        """The last rows of a work that runs, where nobody else's wait and a batch is through before they could come.

        They gain nothing by waiting until the batch before is through.
        """
        if len(self._works) > 1 or work.number not in self._works or self.expected or not self.is_brief(work):
            return None
        view = self._works[work.number][1]
        if view.alone or view.rows > view.max_rows:
            return None
        return [self._grant(Grant(work.number, view.rows))]

    def is_brief(self, work: Work) -> bool:
        """Whether full batches of such rows take next to no time, as far as that is known."""
        cost = self._ledger.row_cost.get(work.batch_key)
        return cost is not None and cost * work.model.batching.max_rows <= BRIEF_S

    def measured(self, batch_key: Hashable, rows: int, seconds: float) -> None:
        """A batch took this long."""
        self._ledger.measured(batch_key, rows, seconds)

    def forget(self, gone: Callable[[Hashable], bool]) -> None:
        """Models left, and what their rows cost is of no use any more. gone: by batch key."""
        self._ledger.forget(gone)

    def seconds_by_digest(self) -> dict[str, float]:
        """By model, what its waiting rows take of one device, where that was measured. Not of those that may run on one
        device alone.
        """
        found: dict[str, float] = {}
        for _, view in self._works.values():
            cost = self._ledger.row_cost.get(view.batch_key)
            if cost is not None and not view.device:
                found[view.digest] = found.get(view.digest, 0.0) + view.rows * cost
        return found

    def _grant(self, grant: Grant) -> Slice:
        work, view = self._works[grant.number]
        taken = Slice(work, work.granted_rows, grant.rows)
        self._ledger.charge(view, grant.rows)
        work.granted_rows += grant.rows
        view.rows = work.waiting_rows
        view.needs = max(0, work.least - work.granted_rows)
        self._count(-grant.rows)
        if work.waiting_rows == 0:
            self.drop(work)
        return taken

    def _those(self, can: Callable[[Waiting], bool]) -> list[Waiting]:
        """What waits and may run, asked once for all that is alike."""
        found, told = [], dict[tuple[str, str, str], bool]()
        for _, view in self._works.values():
            alike = view.digest, view.caller.tenant, view.device
            may = told.get(alike)
            if may is None:
                may = told[alike] = can(view)
            if may:
                found.append(view)
        return found

    def _count(self, rows: int) -> None:
        self.rows += rows
        self._metrics.queued_rows.set(self.rows)

    def _seconds(self) -> float:
        costs = self._ledger.row_cost
        return 0.1 + sum(w.waiting_rows * costs.get(w.batch_key, 1e-3) for w, _ in self._works.values())


def _beside(views: list[Waiting], work: Work) -> list[Waiting]:
    """Batches of several jobs lose nothing by waiting for these rows to run, and may gain company meanwhile."""
    mates = [view for view in views if view.digest == work.model.digest]
    only_its_own = all(view.job == work.job.request_id for view in mates)
    return mates if only_its_own else [view for view in mates if view.alone]
