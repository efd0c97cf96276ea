"""Finds by a sweep how a model runs fastest: rows of a probe, in a session for each thread count."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

import numpy as np

from assayd.engine.options import MOST_ROWS
from assayd.engine.probes import ROWS, Probe
from assayd.engine.program import Program
from assayd.engine.sweep import is_small, most_rows, sizes_for, sweep
from assayd.errors import AssayError, OutOfMemory
from assayd.types.model import Tuning

_SHARE_OF_SWEEP = 1 / 8
"""A session with other threads isn't built where that takes a larger share of the sweep's time."""


def swept(
    program: Program,
    threads: int,
    rows: int | None,
    with_threads: Callable[[int], Program],
    probes: Iterable[Probe],
    limit_s: float,
) -> tuple[Tuning, Program] | None:
    """What suits the model, and the program with those threads. None where nothing is to be chosen or can be run.

    program: takes several rows, with `threads`. rows, threads: the owner's choice; None and 0 leave it to the sweep.
    with_threads: builds the program with others. limit_s: 0 for no sweep.
    """
    sizes = sizes_for(program.signature) if rows is None else (rows,)
    # Networks on images never gain by fewer threads, and a busy machine makes it look as if they did.
    alone = (
        threads
        or not is_small(program.signature)
        or os.cpu_count() == 1
        or program.session.load_seconds > _SHARE_OF_SWEEP * limit_s
    )
    counts = (threads,) if alone else (threads, 1)
    # cuDNN plans each shape anew: there a sweep would measure its planning.
    on_cpu = program.session.provider == "CPUExecutionProvider"
    if not limit_s or not sizes or not on_cpu or (rows is not None and len(counts) == 1):
        return None
    try:
        bench = _Bench(program, threads, with_threads, probes, sizes[-1])
    except (AssayError, MemoryError):
        return None
    # Runs of a batch follow each other in the buffers, which takes rows that lie one behind the other.
    inputs_by_row = all(s.batch_axis == 0 for s in program.signature.inputs)
    most = min(MOST_ROWS, most_rows(program.signature)) if rows is None and inputs_by_row else 1
    tuning = sweep(sizes, counts, bench.run, time.monotonic, limit_s, most)
    if tuning is None:
        return None
    with suppress(AssayError):
        bench.shrink(tuning)
    return tuning, bench.program(tuning.threads)


class _Bench:
    """most_rows: of any batch that will be run. Raises AssayError where the program takes no probe."""

    def __init__(
        self,
        program: Program,
        threads: int,
        with_threads: Callable[[int], Program],
        probes: Iterable[Probe],
        most_rows: int,
    ) -> None:
        self._programs = {threads: program}
        self._with_threads = with_threads
        self._probe = _taken(program, probes)
        self._filled = 0
        self._buffers = program.buffers({name: x.shape[1:] for name, x in self._probe.items()}, most_rows)

    def program(self, threads: int) -> Program:
        """The model with so many threads; its session is built once."""
        if threads not in self._programs:
            self._programs[threads] = self._with_threads(threads)
        return self._programs[threads]

    def run(self, tuning: Tuning) -> None:
        """Run one batch. Raises AssayError."""
        try:
            self._fill(tuning.rows)
        except MemoryError as error:
            raise OutOfMemory("there is no memory for so many rows") from error
        self.program(tuning.threads).run(self._buffers, tuning.rows)

    def shrink(self, tuning: Tuning) -> None:
        """Give back what larger batches allocated in the session that stays."""
        self.program(tuning.threads).session.run(self._buffers.feeds(tuning.rows), shrink=True)

    def _fill(self, rows: int) -> None:
        """Large batches that are never tried take no memory."""
        if rows > self._filled:
            for name, view in self._buffers.views(rows).items():
                view[...] = self._probe[name][np.arange(rows) % ROWS]
            self._filled = rows


def _taken(program: Program, probes: Iterable[Probe]) -> Probe:
    """The first probe that the model answers."""
    failure: AssayError | None = None
    for probe in probes:
        buffers = program.buffers({name: x.shape[1:] for name, x in probe.items()}, 1)
        for name, view in buffers.views(1).items():
            view[...] = probe[name][:1]
        try:
            program.run(buffers, 1)
        except AssayError as error:  # ids out of range, a shape it doesn't take: another probe may do
            failure = error
        else:
            return probe
    raise failure or AssertionError("there is a probe")
