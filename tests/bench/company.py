"""Callers beside each other: 1, 4 and 16 alike, and light jobs beside one of 10,000 rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

import assay
from tests.bench import load
from tests.bench.case import Case
from tests.bench.estimates import Estimate, estimate, jain, percentile
from tests.bench.figures import Figure, Mark
from tests.bench.load import Ask, ClosedLoop, OpenLoop
from tests.bench.mixed import Curves, first_progress, latencies
from tests.bench.pairs import Effort

CALLERS = (1, 4, 16)
HEAVY_ROWS = 10_000
_TURN_S = 600.0
"""Of a call among 16, each of which takes seconds."""
_LIGHT_SHARE = 0.2
"""Of the device's time that light jobs ask for."""


def equal_callers(case: Case, effort: Effort, curves: Curves) -> Iterator[Figure]:
    """Rows/s over the raw rate, latencies, and how evenly rows were shared."""
    ask = replace(_ask(case, case.method), patience_s=_TURN_S)
    raw = case.raw.swept[case.raw.model.threads, case.raw.batch]
    for callers in CALLERS:
        name = f"{case.subject.name}: {case.workload.name}, {callers} callers"
        (found,) = load.run((ask, ClosedLoop(callers, effort.load_s)))
        ends = max((call.ended for call in found.answered), default=0.0)
        if not ends:
            yield Figure(name, "rows", "rows/s", None, failed=next(c.failed for c in found.calls))
            continue
        rate = sum(found.rows_by_caller()) / ends
        yield Figure(name, "rows", "rows/s", _exactly(rate), note=f"{rate / raw:.2f} of the raw rate of the sweep")
        yield from latencies(name, found, None, curves)
        if callers > 1:
            shares = found.rows_by_caller()
            yield Figure(name, "Jain index", "of 1", _exactly(jain(shares)), mark=Mark(0.95))


def light_beside_heavy(case: Case, curves: Curves, rounds: int, heavy_rows: int) -> Iterator[Figure]:
    """Small calls in an open loop, alone and while one call has 10,000 rows; a net of images.

    Their p99 may be twice what it is alone and one batch more. The heavy call may lose what the light ones compute
    themselves and 5 %: their time alone, without what a call costs beside the device, is what they ask of it.
    """
    light = _ask(case, assay.Occlusion(features=assay.Grid(4, 4)))
    heavy = _ask(case, assay.Lime(num_samples=heavy_rows, features=assay.Segments(_cells(case.x))), stream=True)
    raw = case.raw.swept[case.raw.model.threads, case.raw.batch]
    light_rows = case.explain(light.method).usage.rows_run
    rate = _LIGHT_SHARE * raw / light_rows
    alone_s, beside_s, loss = [], [], []
    for n in range(rounds):
        (heavy_alone,) = load.run((heavy, ClosedLoop(1, calls=1)))
        took = heavy_alone.calls[0].latency
        arrivals = OpenLoop(rate, took, seed=n)
        (light_alone,) = load.run((light, arrivals))
        light_beside, heavy_beside = load.run((light, arrivals), (heavy, ClosedLoop(1, calls=1)))
        longer = heavy_beside.calls[0].latency
        work = sum(call.rows for call in light_beside.calls if call.ended < longer) / raw
        loss.append((longer - work) / took - 1)
        alone_s += light_alone.latencies()
        beside_s += light_beside.latencies()
    name = f"{case.subject.name}: light jobs, {rate:.1f}/s of {light_rows} rows"
    alone, beside = percentile(alone_s, 99), percentile(beside_s, 99)
    curves[f"{name}, alone"], curves[f"{name}, beside {heavy_rows} rows"] = alone_s, beside_s
    bound = 2 * alone.value + case.raw.batch / raw
    yield Figure(name, "p99 alone", "ms", _milliseconds(alone))
    most = Mark(round(bound * 1e3, 1), at_least=False)
    yield Figure(name, f"p99 beside {heavy_rows} rows", "ms", _milliseconds(beside), mark=most)
    slowdown = percentile(beside_s, 50).value / percentile(alone_s, 50).value
    yield Figure(name, "median slowdown", "ratio", _exactly(slowdown))
    heavy_name = f"{case.subject.name}: {heavy_rows} rows beside light jobs"
    most = Mark(0.05, at_least=False) if rounds > 1 else None  # one round has no interval to judge by
    yield Figure(heavy_name, "loss beyond their work", "share", estimate(loss), mark=most)
    yield from first_progress(heavy_name, heavy_beside)


def _ask(case: Case, method: object, *, stream: bool = False) -> Ask:
    name = case.model.inputs[0].name
    return Ask(case.address, case.model.ref, name, case.x, method, case.target, case.subject.layout, stream=stream)


def _cells(x: np.ndarray) -> np.ndarray:
    """A grid of 7 x 7, as segments: int32 [1, H, W]."""
    rows, cols = (np.arange(n) * 7 // n for n in x.shape[-2:])
    return (rows[:, None] * 7 + cols)[None].astype(np.int32)


def _milliseconds(found: Estimate) -> Estimate:
    return Estimate(found.value * 1e3, found.low * 1e3, found.high * 1e3)


def _exactly(value: float) -> Estimate:
    return Estimate(value, value, value)
