"""One measured figure and its mark: what is printed, kept as JSON, and judged."""

from __future__ import annotations

from dataclasses import dataclass

from tests.bench.estimates import Estimate

QUIET = 0.015
"""Half-width of the A/A arm's interval above which a ratio says nothing."""


@dataclass(frozen=True)
class Mark:
    """What a figure should reach: at least `bound`, or at most."""

    bound: float
    at_least: bool = True

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.bound:g}"


@dataclass(frozen=True)
class Figure:
    """What was found about a workload.

    control: half-width of the A/A arm's interval as a share, for ratios. failed: why there is no number.
    """

    workload: str
    what: str
    unit: str
    estimate: Estimate | None
    control: float | None = None
    mark: Mark | None = None
    note: str = ""
    failed: str = ""

    @property
    def verdict(self) -> str:
        """met, missed or no verdict where there is a mark; failed where there is no number.

        A mark is met or missed where the whole interval lies on one side of it, and the machine was quiet.
        """
        if self.estimate is None:
            return "failed"
        if self.mark is None:
            return ""
        if self.control is not None and self.control > QUIET:
            return "no verdict"
        low, high, bound = self.estimate.low, self.estimate.high, self.mark.bound
        if low >= bound:
            return "met" if self.mark.at_least else ("met" if high <= bound else "missed")
        if high <= bound:
            return "missed" if self.mark.at_least and high < bound else "met"
        return "no verdict"

    def as_json(self) -> dict[str, object]:
        """Everything, flat."""
        found = self.estimate
        return {
            "workload": self.workload,
            "what": self.what,
            "unit": self.unit,
            "value": found and found.value,
            "low": found and found.low,
            "high": found and found.high,
            "control": self.control,
            "mark": str(self.mark) if self.mark else "",
            "verdict": self.verdict,
            "note": self.note,
            "failed": self.failed,
        }
