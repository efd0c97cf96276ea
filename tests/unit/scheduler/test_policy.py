"""The policy is a pure function: state in, plan out. No device, no clock."""

from collections import Counter
from dataclasses import replace

import pytest

from assayd.scheduler.ledger import Ledger
from assayd.scheduler.policy import Grant, Hold, Limits, State, Waiting, choose
from assayd.scheduler.work import Caller

NOW = Limits(gather_s=0.0)
GATHER = Limits(gather_s=0.01)


def waiting(
    number,
    rows,
    *,
    job=None,
    tenant="t",
    priority="normal",
    digest="m",
    shape="s",
    max_rows=8,
    alone=False,
    since=0.0,
    evenly=False,
):
    return Waiting(
        number,
        Caller(tenant, priority),
        job or f"job-{number}",
        digest,
        (digest, shape),
        rows,
        1 if alone else max_rows,
        alone,
        since,
        evenly,
    )


def state(*works, used=None, expected=0):
    return State(works, used or {}, {}, expected)


def simulate(works, batches):
    """Run the policy with its ledger for a number of batches; rows granted by work, in order of batches."""
    ledger, left, granted = Ledger(), {w.number: w.rows for w in works}, []
    for w in works:
        ledger.join(w)
    for _ in range(batches):
        views = [
            Waiting(
                w.number, w.caller, w.job, w.digest, w.batch_key, left[w.number], w.max_rows, w.alone, w.since, w.evenly
            )
            for w in works
            if left[w.number]
        ]
        decision = choose(State(views, ledger.used, ledger.row_cost), 1.0, NOW)
        if decision is None:
            break
        by_number = {w.number: w for w in works}
        for grant in decision:
            ledger.charge(by_number[grant.number], grant.rows)
            left[grant.number] -= grant.rows
            if not left[grant.number]:
                ledger.leave(by_number[grant.number])
        granted.append({g.number: g.rows for g in decision})
    return granted


def test_nothing_waits():
    assert choose(state(), 0.0, NOW) is None


def test_a_full_batch_of_one_job():
    assert choose(state(waiting(1, 100)), 0.0, NOW) == [Grant(1, 8)]


def test_what_is_there_goes_at_once_when_nobody_is_expected():
    assert choose(state(waiting(1, 3)), 0.0, GATHER) == [Grant(1, 3)]


def test_a_partial_batch_waits_for_jobs_being_planned_and_no_longer_than_the_limit():
    assert choose(state(waiting(1, 3, since=5.0), expected=2), 5.0, GATHER) == Hold(5.01)
    assert choose(state(waiting(1, 3, since=5.0), expected=2), 5.01, GATHER) == [Grant(1, 3)]


def test_a_full_batch_waits_for_nobody():
    assert choose(state(waiting(1, 8), expected=9), 0.0, GATHER) == [Grant(1, 8)]


def test_while_others_are_awaited_what_must_run_alone_runs():
    works = (waiting(1, 3, since=5.0), waiting(2, 1, alone=True, since=5.0))
    assert choose(state(*works, expected=1), 5.0, GATHER) == [Grant(2, 1)]


def test_only_full_batches_are_prepared_ahead():
    ahead = Limits(0.0, full_only=True)
    assert choose(state(waiting(1, 3)), 0.0, ahead) is None
    assert choose(state(waiting(1, 3), waiting(2, 5)), 0.0, ahead) == [Grant(1, 3), Grant(2, 5)]
    assert choose(state(waiting(1, 1, alone=True)), 0.0, ahead) is None


def test_small_jobs_share_one_batch():
    works = [waiting(n, 3) for n in range(10)]
    batches = simulate(works, 99)
    assert len(batches) == 4  # 30 rows, 8 a batch
    assert sum(Counter(sum(b.values()) for b in batches).values()) == 4


def test_small_jobs_finish_before_a_tenth_of_a_large_one():
    works = [waiting(0, 10_000, since=0.0), *(waiting(n, 3, since=1.0) for n in range(1, 11))]
    done = Counter()
    for batch in simulate(works, 10_000):
        done.update(batch)
        if all(done[n] == 3 for n in range(1, 11)):
            break
    assert done[0] < 1000


def test_rows_of_other_models_and_shapes_stay_out_of_a_batch():
    works = (waiting(1, 2), waiting(2, 2, digest="other"), waiting(3, 2, shape="other"))
    assert choose(state(*works), 0.0, NOW) == [Grant(1, 2)]


def test_alone_means_alone():
    assert choose(state(waiting(1, 5, alone=True), waiting(2, 5)), 0.0, NOW) == [Grant(1, 1)]


def test_callers_share_the_device_equally_whatever_they_ask_for():
    works = [waiting(n, 1000, tenant="many") for n in range(9)] + [waiting(9, 1000, tenant="one")]
    total = Counter()
    for batch in simulate(works, 100):
        total.update(batch)
    mine = total[9]
    assert abs(mine - sum(total.values()) / 2) <= 8


def test_priority_is_a_share_and_starves_nobody():
    works = [waiting(1, 10_000, priority="high"), waiting(2, 10_000, priority="low")]
    total = Counter()
    for batch in simulate(works, 200):
        total.update(batch)
    assert 3.5 < total[1] / total[2] < 4.5


def test_models_of_one_caller_take_turns_in_device_time():
    works = [waiting(1, 1000, digest="a"), waiting(2, 1000, digest="b")]
    total = Counter()
    for batch in simulate(works, 100):
        total.update(batch)
    assert total[1] == total[2]


def test_cost_counts_and_not_rows():
    slow, fast = waiting(1, 10_000, digest="slow", tenant="a"), waiting(2, 10_000, digest="fast", tenant="b")
    ledger = Ledger()
    ledger.measured(slow.batch_key, 1, 0.010)
    ledger.measured(fast.batch_key, 1, 0.001)
    for w in (slow, fast):
        ledger.join(w)
    rows = Counter()
    for _ in range(220):
        for grant in choose(State((slow, fast), ledger.used, ledger.row_cost), 0.0, NOW):
            ledger.charge(slow if grant.number == 1 else fast, grant.rows)
            rows[grant.number] += grant.rows
    assert 8 < rows[2] / rows[1] < 12


def test_a_newcomer_neither_pays_for_the_past_nor_profits_from_it():
    ledger = Ledger()
    old, new = waiting(1, 10_000), waiting(2, 10_000)
    ledger.join(old)
    ledger.charge(old, 5000)
    ledger.join(new)
    assert ledger.used[new.accounts[2]] == ledger.used[old.accounts[2]]


def test_accounts_end_with_their_rows():
    ledger, work = Ledger(), waiting(1, 3)
    ledger.join(work)
    ledger.leave(work)
    assert not ledger.used


def test_works_of_one_job_go_one_by_one_or_evenly_where_it_says_so():
    for evenly in (False, True):
        works = [waiting(n, 40, job="j", evenly=evenly) for n in range(10)]
        granted = Counter()
        for batch in simulate(works, 25):  # half of all rows
            granted.update(batch)
        spread = max(granted[w.number] for w in works) - min(granted[w.number] for w in works)
        assert spread == (1 if evenly else 40) or (evenly and spread == 0)


def test_works_that_share_a_time_first_get_what_they_need_one_by_one():
    works = [replace(waiting(n, 40, job="j", evenly=True), needs=12) for n in range(4)]
    assert choose(state(*works), 0.0, NOW) == [Grant(0, 8)]
    later = [replace(works[0], rows=32, needs=4), *works[1:]]
    assert choose(state(*later), 0.0, NOW) == [Grant(0, 4), Grant(1, 4)]
    last = [
        replace(works[0], rows=20, needs=0),
        replace(works[1], rows=28, needs=0),
        replace(works[2], rows=29, needs=1),
    ]
    assert choose(state(*last), 0.0, NOW) == [Grant(0, 2), Grant(1, 3), Grant(2, 3)]
    alone = waiting(9, 1, job="j", alone=True, evenly=True)
    assert choose(state(*works, alone), 0.0, NOW) == [Grant(0, 8)]
    assert choose(state(*(replace(w, needs=0) for w in works), alone), 0.0, NOW) == [Grant(9, 1)]


def test_rows_that_share_no_batch_run_in_turn_for_a_moment():
    lone = waiting(1, 1000, alone=True)
    costs = {lone.batch_key: 0.004}
    assert choose(State((lone,), {}, costs), 0.0, NOW) == [Grant(1, 5)]
    assert choose(State((lone,), {}, {lone.batch_key: 9.0}), 0.0, NOW) == [Grant(1, 1)]
    assert choose(State((lone,), {}, {}), 0.0, NOW) == [Grant(1, 1)]  # nobody knows yet
    assert choose(State((waiting(1, 2, alone=True),), {}, costs), 0.0, NOW) == [Grant(1, 2)]


def test_a_batch_of_hundreds_is_shared_as_fairly_as_a_small_one():
    """It is given out in parts of a thirty-second."""
    works = [waiting(n, 5000, tenant=f"t{n}", max_rows=1024) for n in range(3)]
    (batch,) = simulate(works, 1)
    assert sum(batch.values()) == 1024
    assert max(batch.values()) - min(batch.values()) <= 32
    small = [*works, waiting(3, 20, tenant="t3", max_rows=1024)]
    assert simulate(small, 1)[0][3] == 20


@pytest.mark.parametrize("needs", [5, 40, 100])
def test_in_large_batches_too_each_work_of_a_job_gets_what_it_needs_first(needs):
    works = [replace(waiting(n, 5000, job="j", max_rows=1024, evenly=True), needs=needs) for n in range(8)]
    granted = {g.number: g.rows for g in choose(state(*works), 0.0, NOW)}
    assert sum(granted.values()) == 1024
    assert max(granted.values()) - min(granted.values()) <= 32
    few = [replace(w, max_rows=6 * needs) for w in works]
    granted = {g.number: g.rows for g in choose(state(*few), 0.0, NOW)}
    assert granted == dict.fromkeys(range(6), needs)


def test_rows_that_are_enough_wait_for_nobody_though_the_batch_could_hold_more():
    asked = lambda rows: choose(state(waiting(1, rows, max_rows=1024, since=5.0), expected=9), 5.0, GATHER)  # noqa: E731
    assert asked(31) == Hold(5.01)
    assert asked(32) == [Grant(1, 32)]
