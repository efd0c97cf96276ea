"""Device time granted so far, and what a row costs."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping

from cachetools import LRUCache

from assayd.scheduler.policy import DEFAULT_ROW_COST, Account, Waiting
from assayd.scheduler.work import WEIGHTS

_SMOOTHING = 0.2
_MOST_COSTS = 4096
"""One model may be asked for rows of any shapes."""


class Ledger:
    """Accounts of the policy. An account lives while it has rows waiting; who comes (back) starts level with the least
    of its siblings, so that nobody saves up device time by waiting, and nobody is punished for having had it to itself.
    """

    def __init__(self) -> None:
        self._used: dict[Account, float] = {}
        self._works: dict[Account, int] = {}
        self._row_cost: LRUCache[Hashable, float] = LRUCache(_MOST_COSTS)

    @property
    def used(self) -> Mapping[Account, float]:
        """Seconds granted, divided by the weight, by account."""
        return self._used

    @property
    def row_cost(self) -> Mapping[Hashable, float]:
        """Seconds a row, by batch key, as measured."""
        return self._row_cost

    def join(self, work: Waiting) -> None:
        """A work begins to wait."""
        for account in work.accounts:
            if account not in self._used:
                self._used[account] = min((self._used[a] for a in self._siblings(account)), default=0.0)
            self._works[account] = self._works.get(account, 0) + 1

    def leave(self, work: Waiting) -> None:
        """A work has no rows waiting any more."""
        for account in work.accounts:
            self._works[account] -= 1
            if not self._works[account]:
                del self._works[account], self._used[account]

    def charge(self, work: Waiting, rows: int) -> None:
        """Rows of a work were granted."""
        cost = rows * self._row_cost.get(work.batch_key, DEFAULT_ROW_COST) / WEIGHTS[work.caller.priority]
        for account in work.accounts:
            self._used[account] += cost

    def measured(self, batch_key: Hashable, rows: int, seconds: float) -> None:
        """A batch took this long."""
        cost = seconds / rows
        before = self._row_cost.get(batch_key, cost)
        self._row_cost[batch_key] = before + _SMOOTHING * (cost - before)

    def forget(self, gone: Callable[[Hashable], bool]) -> None:
        """Drop the costs of models that left; what comes back is measured anew. gone: by batch key."""
        for batch_key in [key for key in self._row_cost if gone(key)]:
            del self._row_cost[batch_key]

    def _siblings(self, account: Account) -> Iterable[Account]:
        return (a for a in self._used if len(a) == len(account) and a[:-1] == account[:-1])
