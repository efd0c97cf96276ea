"""Decisions online beside the nightly run: single calls in an open loop while 256 instances a call go through."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

import assay
from tests.bench import load
from tests.bench.estimates import Estimate, estimate, percentile
from tests.bench.figures import Figure, Mark
from tests.bench.load import Ask, ClosedLoop, Load, OpenLoop
from tests.bench.models import table
from tests.bench.pairs import Effort
from tests.bench.workloads import GROUPS

RATE = 200.0
Curves = dict[str, list[float]]
"""Latencies in seconds by the name of their curve."""


def measure(address: str, model: str, effort: Effort, curves: Curves) -> Iterator[Figure]:
    """Latencies of two kinds of decision, alone and beside the nightly run, and what that loses."""
    x = table(256)
    lime = assay.Lime(num_samples=1000, sampling=assay.QuartileTable.fit(table(1000, seed=2)))
    kinds = {
        "ablation": (Ask(address, model, "x", x, assay.Occlusion(features=GROUPS)), Mark(50, at_least=False)),
        "LIME 1000": (Ask(address, model, "x", x, lime), Mark(150, at_least=False)),
    }
    nightly = Ask(address, model, "x", x, lime, count=256, stream=True)
    (by_night,) = load.run((nightly, ClosedLoop(1, effort.load_s)))
    yield from _nightly("alone", by_night)
    for name, (ask, mark) in kinds.items():
        arrivals = OpenLoop(RATE, effort.load_s)
        (alone,) = load.run((ask, arrivals))
        yield from latencies(f"{name}, {RATE:g}/s alone", alone, None, curves)
        beside, by_night = load.run((ask, arrivals), (nightly, ClosedLoop(1, effort.load_s)))
        yield from latencies(f"{name}, {RATE:g}/s beside nightly", beside, mark, curves)
        yield from _nightly(f"beside {name}", by_night)


def latencies(workload: str, found: Load, mark: Mark | None, curves: Curves) -> Iterator[Figure]:
    """p50, p95 and p99 by intended start."""
    seconds = found.latencies()
    curves[workload] = seconds
    failed = [call.failed for call in found.calls if call.failed]
    if failed:
        yield Figure(workload, "failed calls", "share", _exactly(len(failed) / len(seconds)), note=failed[0])
    late = float(np.percentile(found.lateness(), 99)) * 1e3
    own = f"generator: {found.busy:.0%} of a core, p99 {late:.1f} ms late"
    for q in (50, 95, 99):
        got = percentile(seconds, q)
        milliseconds = Estimate(got.value * 1e3, got.low * 1e3, got.high * 1e3)
        note = own if q == 99 else f"{len(seconds)} calls"
        yield Figure(workload, f"p{q}", "ms", milliseconds, mark=mark if q == 99 else None, note=note)


def first_progress(workload: str, found: Load) -> Iterator[Figure]:
    """Median time to the first event of a streamed call."""
    waits = [(call.first - call.intended) * 1e3 for call in found.answered]
    if waits:
        yield Figure(workload, "time to first progress", "ms", estimate(waits))


def _nightly(company: str, found: Load) -> Iterator[Figure]:
    workload = f"nightly run {company}"
    took = sum(call.ended - call.sent for call in found.answered)
    if not took:
        yield Figure(workload, "rows", "rows/s", None, failed=next((c.failed for c in found.calls), "no call ended"))
        return
    yield Figure(workload, "rows", "rows/s", _exactly(sum(call.rows for call in found.answered) / took))
    yield from first_progress(workload, found)


def _exactly(value: float) -> Estimate:
    return Estimate(value, value, value)
