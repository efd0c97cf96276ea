"""What one instance may spend of its request's budget, and how a plan is cut to it."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from assayd.errors import RowBudget
from assayd.explain.deadline import over_budget
from assayd.explain.request import ExplainRequest
from assayd.types.rows import Plan


@dataclass(eq=False)
class Allowance:
    """Of an instance whose request takes a partial answer. rows: what is left, or None. until: monotonic, or None.

    An equal share of the rows, so that an instance's answer doesn't hang on which of them was faster.
    """

    rows: int | None = None
    until: float | None = None
    cut_short: bool = False

    @classmethod
    def of(cls, request: ExplainRequest, limit: int) -> Allowance:
        """An instance's share. limit: rows of the whole request."""
        if not request.budget.partial:
            return cls()
        return cls(limit // request.instances, request.budget.until)

    def grant(self, plan: Plan, beside: int = 0) -> Plan | None:
        """The plan, or as many of its first rows as are left; None where that is none. beside: rows that go with it.

        Raises RowBudget and TimeBudget where it can't be cut, or not so short.
        """
        over = self.until is not None and time.monotonic() >= self.until
        left = plan.size if self.rows is None else max(0, min(plan.size, self.rows - beside))
        granted = 0 if over else left
        if granted < plan.size:
            if plan.least is None or granted < plan.least:
                raise over_budget() if over else self._too_few(plan, beside)
            self.cut_short = True
        if self.rows is not None:
            self.rows -= granted + beside
        meanwhile = plan.meanwhile if granted == plan.size else None
        return replace(plan, size=granted, later=0, meanwhile=meanwhile) if granted else None

    def _too_few(self, plan: Plan, beside: int) -> RowBudget:
        need = (plan.size if plan.least is None else plan.least) + beside
        why = "can't be cut short" if plan.least is None else "needs that many to say anything"
        return RowBudget(
            f"an instance's share of the budget is {self.rows} rows; this one needs {need}, and {why}",
            field="budget.rows",
            metadata={"rows": str(need), "limit": str(self.rows)},
        )
