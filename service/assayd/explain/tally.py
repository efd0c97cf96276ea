"""Counts one request's rows against its budget, and its seconds."""

from __future__ import annotations

from assayd.errors import RowBudget
from assayd.metrics import Metrics


class Tally:
    """Counts of one request. budget: most rows it wants to ask for, or None; most: that any request may."""

    def __init__(self, budget: int | None, most: int, metrics: Metrics, model: str, method: str) -> None:
        self.limit = min(budget or most, most)
        self._whose = "its budget" if budget is not None and budget <= most else "this server for one request"
        self._metrics = metrics
        self._rows = metrics.rows_asked.labels(metrics.model_label(model), method)
        self.rows_asked = 0
        self.plan_seconds = 0.0
        self.reduce_seconds = 0.0

    def planned(self, rows: int) -> None:
        """Rows are about to be submitted. Raises RowBudget."""
        self.check(self.rows_asked + rows)
        self.rows_asked += rows
        self._rows.inc(rows)

    def again(self, rows: int) -> None:
        """Rows that were planned are planned once more; the budget counts them once."""
        self.rows_asked -= rows

    def check(self, rows: int) -> None:
        """Raises RowBudget if that many rows are too many."""
        if rows > self.limit:
            raise RowBudget(
                f"{rows} rows are needed and {self.limit} are allowed by {self._whose}: fewer samples, features or "
                "instances, and larger windows or strides, need less",
                field="budget.rows",
                metadata={"rows": str(rows), "limit": str(self.limit)},
            )

    def spent(self, seconds: float) -> None:
        """Seconds on features, baselines and plans."""
        self.plan_seconds += seconds
        self._metrics.plan_seconds.observe(seconds)

    def reduced(self, seconds: float) -> None:
        """Seconds on reducing scores."""
        self.reduce_seconds += seconds
        self._metrics.reduce_seconds.observe(seconds)
