"""Rows that wait for a device."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import NamedTuple

import numpy as np

from assayd.engine.backend import ChunkResult, LoadedModel, Readout, shape_key
from assayd.scheduler.parts import joined
from assayd.types.arrays import Array, Floats
from assayd.types.rows import Plan
from assayd.types.subject import Subject

_numbers = count()

WEIGHTS: Mapping[str, float] = {"low": 1.0, "normal": 2.0, "high": 4.0}
"""Share of the device by priority."""


class BatchKey(NamedTuple):
    """Rows for which this is the same may share a batch. in_fp32: though the device computes in less."""

    digest: str
    batched: bool
    padded: bool
    in_fp32: bool
    shapes: Hashable


def batch_key(model: LoadedModel, subject: Subject, *, padded: bool = False, exact: bool = False) -> BatchKey:
    """Of a model's rows of such a subject."""
    in_fp32 = exact and model.precision != "fp32"
    return BatchKey(model.digest, model.batching.batched, padded, in_fp32, shape_key(subject))


class Caller(NamedTuple):
    """Whom device time is shared among. It is part of each account's key, and looked up for all that waits."""

    tenant: str
    priority: str = "normal"


@dataclass(eq=False)
class JobUsage:
    """What one request has used, counted where it happens. Seconds are summed over its works."""

    rows_planned: int = 0
    rows_run: int = 0
    batches: int = 0
    shared_batches: int = 0
    queue_seconds: float = 0.0
    compute_seconds: float = 0.0


@dataclass(frozen=True, eq=False)
class Job:
    """One request. deadline: on the monotonic clock, or None. evenly: its works go on together, not one by one.

    data_set: its instances come in parts, however few in each. charge: told of rows before they may wait; raises where
    the caller may have no more.
    """

    request_id: str
    caller: Caller
    deadline: float | None = None
    evenly: bool = False
    data_set: bool = False
    usage: JobUsage = field(default_factory=JobUsage)
    charge: Callable[[int], None] | None = None


@dataclass(eq=False)
class Work:
    """One plan of one job, on its way through the device. Only the event loop touches it.

    scored_rows: so many of its first rows are scored.
    alone: its rows go one by one and share no batch. padded: its batches all have one size, filled up where they have
    fewer rows. exact: in fp32, whatever the device's precision. least: with fewer of its first rows nothing can be
    said. device: the only one that may run it; "" for any that has the model. devices: those that ran it.
    """

    job: Job
    model: LoadedModel
    subject: Subject
    plan: Plan
    readout: Readout
    alone: bool = False
    padded: bool = False
    least: int = 0
    exact: bool = False
    device: str = ""
    devices: set[str] = field(default_factory=set)
    number: int = field(default_factory=lambda: next(_numbers))
    submitted: float = 0.0
    computing: float = 0.0
    granted_rows: int = 0
    scored_rows: int = 0
    _late: dict[int, int] = field(default_factory=dict)
    _scores: Floats | None = None
    _parts: list[tuple[int, Mapping[str, Array]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.batch_key = batch_key(self.model, self.subject, padded=self.padded, exact=self.exact)

    @property
    def singly(self) -> bool:
        """Whether its rows run one by one and share no batch."""
        return self.alone or not self.model.batching.batched

    @property
    def waiting_rows(self) -> int:
        """Rows that no batch has taken yet."""
        return self.plan.size - self.granted_rows

    def deliver(self, start: int, rows: int, result: ChunkResult) -> None:
        """Take the result of rows start … start + rows - 1; after the last the future is done."""
        if isinstance(result, np.ndarray):
            if len(result) != rows:
                raise AssertionError(f"{rows} rows went to the device and {len(result)} scores came back")
            if self._scores is None:
                self._scores = np.empty((self.plan.size, result.shape[1]))
            self._scores[start : start + rows] = result
        else:
            self._parts.append((start, result))
        # Parts of a batch that failed as a whole may come out of order.
        self._late[start] = start + rows
        while self.scored_rows in self._late:
            self.scored_rows = self._late.pop(self.scored_rows)
        if self.scored_rows == self.plan.size and not self.finished.done():
            self.finished.set_result(None)

    def fail(self, error: Exception) -> None:
        """End with an error."""
        if not self.finished.done():
            self.finished.set_exception(error)

    def abandon(self) -> None:
        """End without anybody listening."""
        if not self.finished.cancel() and not self.finished.cancelled():
            self.finished.exception()  # seen, so that asyncio doesn't complain of an error nobody fetched

    def scores(self) -> Floats:
        """float64 [scored_rows, T], of the plan's first rows: all of them, once finished."""
        if self._scores is None:
            raise AssertionError("the scores of a plan were read before they came")
        return self._scores[: self.scored_rows]

    def outputs(self) -> dict[str, Array]:
        """By output name [plan.size, *output], once finished, where whole outputs were wanted."""
        parts = [part for _, part in sorted(self._parts, key=lambda p: p[0])]
        return joined(parts)
