"""An instance's share of a budget, and plans cut to it."""

import time
from dataclasses import replace

import numpy as np
import pytest

from assayd.errors import RowBudget, TimeBudget
from assayd.explain.allowance import Allowance
from assayd.explain.request import Budget
from assayd.types.rows import Plan
from tests.unit.explain.made import a_request


def plan(size, least=None):
    return Plan(size, lambda a, b: [], later=3, least=least)


def test_without_a_budget_every_plan_is_granted_whole():
    allowance = Allowance()
    assert allowance.grant(plan(10**6), 2).size == 10**6
    assert not allowance.cut_short


def test_rows_are_cut_and_counted_over_several_plans():
    allowance = Allowance(rows=10)
    assert allowance.grant(plan(4), 2).size == 4
    assert (allowance.rows, allowance.cut_short) == (4, False)
    assert allowance.grant(plan(9, least=4)).size == 4
    assert (allowance.rows, allowance.cut_short) == (0, True)
    assert allowance.grant(plan(5, least=0)) is None


def test_what_is_made_while_all_rows_run_is_not_made_for_fewer():
    offers = replace(plan(4, least=2), meanwhile=lambda: None)
    assert Allowance(rows=4).grant(offers).meanwhile is offers.meanwhile
    assert Allowance(rows=3).grant(offers).meanwhile is None


@pytest.mark.parametrize(("least", "need"), [(None, 12), (9, 11)])
def test_what_cannot_be_cut_so_short_is_refused_with_the_rows_it_needs(least, need):
    with pytest.raises(RowBudget) as got:
        Allowance(rows=10).grant(plan(10, least), 2)
    assert (got.value.field, got.value.metadata) == ("budget.rows", {"rows": str(need), "limit": "10"})


def test_when_its_time_is_over_only_what_needs_nothing_goes_on():
    allowance = Allowance(until=time.monotonic() - 1)
    with pytest.raises(TimeBudget):
        allowance.grant(plan(5, least=2))
    assert allowance.grant(plan(5, least=0)) is None
    assert allowance.cut_short
    assert Allowance(until=time.monotonic() + 60).grant(plan(5, least=0)).size == 5


def test_every_instance_has_the_same_share_and_none_where_nothing_may_be_cut():
    x = {"x": np.zeros((4, 6), np.float32)}
    assert Allowance.of(a_request(x, budget=Budget(rows=30, until=9.0, partial=True)), 30).rows == 7
    whole = Allowance.of(a_request(x, budget=Budget(rows=30, until=9.0)), 30)
    assert (whole.rows, whole.until) == (None, None)
