"""Whether something grows with the number of calls: a slope that outliers don't move, after the warm-up."""

from dataclasses import asdict, dataclass

import numpy as np
from scipy import stats

WARM_UP = 1 / 3
"""Share of a run that isn't judged: caches fill, allocators find their size."""
_CONFIDENCE = 0.99


@dataclass(frozen=True)
class Trend:
    """Growth per thousand calls, with its interval (99 %); what is allowed, and how much at least must have come of it;
    the medians of the first and last tenth.
    """

    what: str
    slope: float
    low: float
    high: float
    allowed: float
    least: float
    first: float
    last: float
    samples: int

    @property
    def leaks(self):
        """Even the lower end of the interval is more than is allowed, and it isn't a trifle."""
        return self.low > self.allowed and self.last - self.first > self.least

    def as_json(self):
        return asdict(self) | {"leaks": self.leaks}


@dataclass(frozen=True)
class Grown:
    """What was in use at rest, once warm and at the end; what may come of it in between."""

    what: str
    first: int
    last: int
    allowed: int

    @property
    def leaks(self):
        return self.last - self.first > self.allowed

    def as_json(self):
        return asdict(self) | {"leaks": self.leaks}


def trend(what, calls, values, allowed, least):
    """Theil and Sen's slope of values over calls so far. allowed: growth per thousand calls. least: growth in all."""
    calls, values = np.asarray(calls, float), np.asarray(values, float)
    warm = calls >= calls[0] + WARM_UP * (calls[-1] - calls[0])
    thousands, settled = calls[warm] / 1000, values[warm]
    if len(settled) < 5 or thousands[-1] == thousands[0]:
        raise ValueError("too few samples to judge")
    slope, _, low, high = stats.theilslopes(settled, thousands, alpha=_CONFIDENCE)
    tenth = max(1, len(settled) // 10)
    ends = float(np.median(settled[:tenth])), float(np.median(settled[-tenth:]))
    return Trend(what, float(slope), float(low), float(high), allowed, least, *ends, len(settled))
