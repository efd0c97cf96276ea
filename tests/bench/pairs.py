"""Times arms against each other: each round runs all of them once in random order, so that drift hits them alike.

Quick ones run next to each other: on a shared machine two seconds side by side differ by 4 %, and seconds that lie ten
apart by 20 %.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from tests.bench.estimates import Estimate, estimate
from tests.bench.figures import QUIET

_SLOW_S = 4.0


@dataclass(frozen=True)
class Effort:
    """How long one workload is measured: rounds at least and at most, seconds of arms after which no round begins.

    slow: rounds of arms that take seconds. arm_s: what quick arms are repeated for within a round. load_s: length of a
    phase under load.
    """

    least: int
    slow: int
    most: int
    seconds: float
    arm_s: float
    load_s: float


FULL = Effort(least=5, slow=3, most=41, seconds=60.0, arm_s=0.25, load_s=10.0)
QUICK = Effort(least=3, slow=1, most=5, seconds=6.0, arm_s=0.05, load_s=4.0)


@dataclass(frozen=True)
class Arm:
    """Something to time.

    share: of the work meant that one run does; its time is divided by it. known_s: of a run before, which warmed it up.
    """

    run: Callable[[], object]
    share: float = 1.0
    known_s: float | None = None

    def seconds(self, repeats: int) -> float:
        """Seconds of one whole work."""
        begun = time.perf_counter()
        for _ in range(repeats):
            self.run()
        return (time.perf_counter() - begun) / (repeats * self.share)


Times = Mapping[str, Sequence[float | None]]
"""Seconds of each arm by round; None where it sat the round out."""


def timed(
    arms: Mapping[str, Arm],
    controls: Sequence[tuple[str, str]],
    effort: Effort,
    seed: int = 0,
    always: Collection[str] = (),
) -> Times:
    """Run rounds until the arms of each control, which do the same, agree within half of QUIET, or effort ends.

    That rule looks at the controls alone, and so leans to no side of the other ratios. Arms that take seconds sit out
    the later rounds, and what they took isn't counted, but those of controls and of `always`.
    """
    order = random.Random(seed)
    alone = {name: arm.known_s or arm.seconds(1) * arm.share for name, arm in arms.items()}
    repeats = {name: max(1, round(effort.arm_s / alone[name])) for name in arms}
    kept = {name for control in controls for name in control} | set(always)
    slow = {name for name in arms if alone[name] > _SLOW_S and name not in kept}
    found: dict[str, list[float | None]] = {name: [] for name in arms}
    done, spent = 0, 0.0
    while done < effort.least or (done < effort.most and spent < effort.seconds):
        if done >= effort.least and all(ratio(found, *pair).half_width <= QUIET / 2 for pair in controls):
            break
        for name in sorted(order.sample(list(arms), len(arms)), key=lambda name: name in slow):
            if name in slow:
                found[name].append(arms[name].seconds(repeats[name]) if done < effort.slow else None)
            else:
                begun = time.perf_counter()
                found[name].append(arms[name].seconds(repeats[name]))
                spent += time.perf_counter() - begun
        done += 1
    return found


def ratio(times: Times, over: str, under: str) -> Estimate:
    """Median over rounds of one arm's time by another's."""
    pairs = zip(times[over], times[under], strict=True)
    return estimate([a / b for a, b in pairs if a is not None and b is not None])


def difference(times: Times, over: str, under: str) -> Estimate:
    """Median over rounds of one arm's time less another's."""
    pairs = zip(times[over], times[under], strict=True)
    return estimate([a - b for a, b in pairs if a is not None and b is not None])
