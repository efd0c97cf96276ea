"""One workload: the service against the model's own rate and against peers, answers first."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import assay
from tests.bench.case import Case
from tests.bench.estimates import Estimate
from tests.bench.figures import Figure
from tests.bench.memory import forget_peaks, peaks
from tests.bench.pairs import Arm, Effort, ratio, timed
from tests.bench.peers import PEERS
from tests.bench.peers.peer import Peer

_RAW_S = 1.5
"""Most that one round of the raw loop takes: for large nets a part of the rows tells the rate."""

_AGAIN_S = 3.0
"""Calls quicker than this are their own A/A arm against peers; for others the raw model's stands."""


def measure(case: Case, effort: Effort, pid: int) -> Iterator[Figure]:
    """Figures of one workload. pid: of the server."""
    name = f"{case.subject.name}: {case.workload.name}"
    forget_peaks(pid)
    begun = time.perf_counter()
    usage = case.explain().usage
    slow = time.perf_counter() - begun > _AGAIN_S
    arms = {
        "service": Arm(_calls(case)),
        "raw": case.raw.arm(case.subject.x, usage.rows_run, _RAW_S),
        "raw again": case.raw.arm(case.subject.x, usage.rows_run, _RAW_S),
    }
    controls = [("raw", "raw again")]
    if case.workload.peers and not slow:
        arms["service again"] = Arm(_calls(case))
        controls.append(("service", "service again"))
    if isinstance(getattr(case.method, "features", None), assay.Superpixels):
        arms["same image"] = Arm(case.explain)
    agreed: dict[str, Peer] = {}
    for key, peer in _peers(case):
        seconds, why = (0.0, peer) if isinstance(peer, str) else peer.tried()
        if why:
            yield Figure(name, f"speed-up over {key}", "ratio", None, mark=case.workload.marks.get(key), failed=why)
        else:
            agreed[key], arms[key] = peer, Arm(peer.run, known_s=seconds)
    times = timed(arms, controls, effort, always=("service",))
    control, noise = (ratio(times, *pair).half_width for pair in (controls[0], controls[-1]))
    settings = f"{usage.rows_run} rows, raw batch {case.raw.batch}, {case.raw.model.threads} threads"
    yield Figure(
        name, "efficiency", "ratio", ratio(times, "raw", "service"), control, case.workload.efficiency, settings
    )
    if "same image" in arms:
        again = ratio(times, "raw", "same image")
        yield Figure(name, "efficiency, the same image again", "ratio", again, control, note="segments may be kept")
    for key, peer in agreed.items():
        found = ratio(times, key, "service")
        yield Figure(name, f"speed-up over {key}", "ratio", found, noise, case.workload.marks.get(key), peer.note)
    seconds = [t for t in times["service"] if t is not None]
    took = sorted(seconds)[len(seconds) // 2]
    yield Figure(
        name, "service", "ms", Estimate(took * 1e3, min(seconds) * 1e3, max(seconds) * 1e3), note="least, most"
    )
    front, workers = peaks(pid)
    yield Figure(name, "peak memory, server", "MiB", Estimate(front, front, front))
    yield Figure(name, "peak memory, workers", "MiB", Estimate(workers, workers, workers))


def _calls(case: Case) -> Callable[[], object]:
    """The call; with superpixels each time of an image that the server hasn't seen."""
    if not isinstance(getattr(case.method, "features", None), assay.Superpixels):
        return case.explain
    numbers, x = itertools.count(1), case.x.copy()

    def fresh() -> None:
        x.flat[0] = case.x.flat[0] + 1e-4 * next(numbers)
        case.explain(x=x)

    return fresh


def _peers(case: Case) -> Iterator[tuple[str, Any]]:
    """Peers by "peer: setting", or why there are none: a peer that isn't installed is news, not the end."""
    for package in case.workload.peers:
        try:
            for peer in PEERS[package](case):
                yield f"{package}: {peer.setting}", peer
        except ImportError as error:
            yield package, f"not installed: {error.name}"
