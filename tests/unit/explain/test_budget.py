"""Requests that are given so many rows, or so much time."""

import asyncio
import time

import numpy as np
import pytest

from assayd.engine.in_process import InProcessBackend
from assayd.engine.onnxruntime_session import SessionOptions
from assayd.errors import RowBudget, TimeBudget
from assayd.explain.outcome import InstanceExplained, InstanceFailed
from assayd.explain.request import Budget
from assayd.methods import METHODS
from assayd.types.request import AtIndex, Elements, TargetSpec
from tests.models import zoo
from tests.unit.explain.made import a_request, service, until

X = np.random.default_rng(0).standard_normal((3, 12)).astype(np.float32)
FIRST = TargetSpec(None, AtIndex((0,)))
MODEL = zoo.mlp(features=12)
SECONDS = 0.4


def lime(samples=2000, **kind):
    return "lime", METHODS["lime"](num_samples=samples, features=Elements(), **kind)


class Slow(InProcessBackend):
    """Takes a while for each batch, without a processor."""

    def run(self, prepared):
        time.sleep(0.02)
        return super().run(prepared)


def slow():
    return Slow(SessionOptions(threads=1), 8)


async def ask(s, x=X, method=None, **kind):
    kind = {"return_rows": True} | kind
    return await s.explain(a_request({"x": x}, method=method or lime(), target=FIRST, **kind))


async def test_a_share_of_rows_gives_what_as_many_samples_give():
    async with service(MODEL) as s:
        cut = await ask(s, budget=Budget(rows=3 * 302, partial=True), keys=["a", "b", "c"])
        whole = await ask(s, keys=["a", "b", "c"])
        for n, (got, full) in enumerate(zip(cut.results, whole.results, strict=True)):
            assert (got.partial, got.rows_asked, got.rows_scored) == (True, 302, 302)
            assert not full.partial
            asked = got.drawn.scores.shape[1]
            (same,) = (await ask(s, X[n : n + 1], lime(asked), keys=["abc"[n]])).results
            np.testing.assert_allclose(got.attribution.values, same.attribution.values, rtol=1e-6)
            np.testing.assert_allclose(got.attribution.errors, same.attribution.errors, rtol=1e-5)
            assert np.median(got.attribution.errors) > 1.5 * np.median(full.attribution.errors)
    assert (cut.partial, whole.partial) == (True, False)


async def test_a_budget_that_is_enough_changes_nothing():
    async with service(MODEL) as s:
        (got,) = (await ask(s, X[:1], budget=Budget(rows=10**4, until=time.monotonic() + 60, partial=True))).results
        (want,) = (await ask(s, X[:1])).results
    assert not got.partial
    np.testing.assert_array_equal(got.attribution.values, want.attribution.values)


async def test_rounds_that_the_budget_ends_keep_what_they_have():
    async with service(MODEL) as s:
        method = lime(4000, until_error=1e-9)
        (got,) = (await ask(s, X[:1], method, budget=Budget(rows=702, partial=True))).results
        (want,) = (await ask(s, X[:1], lime(got.drawn.scores.shape[1]))).results
    assert got.partial
    assert got.rows_scored == 702
    np.testing.assert_allclose(got.attribution.values, want.attribution.values, rtol=1e-6)


async def test_too_few_rows_to_say_anything_are_refused_as_a_whole():
    async with service(MODEL) as s:
        with pytest.raises(RowBudget) as got:
            await ask(s, budget=Budget(rows=15, partial=True))
        assert "an instance's share of the budget is 5 rows" in got.value.message
        assert s.metrics.registry.get_sample_value("assayd_rows_run_total") == 0


async def test_what_cannot_be_cut_fails_for_each_instance():
    method = ("occlusion", METHODS["occlusion"](features=Elements()))
    async with service(MODEL) as s:
        with pytest.raises(RowBudget, match="can't be cut short"):
            await ask(s, method=method, budget=Budget(rows=41, partial=True))
        assert not (await ask(s, method=method, budget=Budget(rows=42, partial=True))).partial


async def test_when_the_time_is_over_the_rows_scored_so_far_are_the_answer():
    async with service(MODEL, backend=slow()) as s:
        await s.models.load("t", "sha256:m", MODEL)
        begun = time.monotonic()
        got = await ask(s, X[:1], budget=Budget(until=begun + SECONDS, partial=True))
        assert time.monotonic() - begun < SECONDS + 1
        (result,) = got.results
        assert got.partial
        assert result.partial
        assert 15 < result.rows_scored < 400
        assert result.rows_asked > 1500
        drawn = result.drawn
        (want,) = (await ask(s, X[:1], lime(drawn.scores.shape[1]))).results
        np.testing.assert_allclose(result.attribution.values, want.attribution.values, rtol=1e-6)
        await until(lambda: not s.scheduler.queued_rows)


async def test_instances_that_time_leaves_without_an_answer_say_so_alone():
    """Time for two of them at most: better that than a part of each that says nothing."""
    async with service(MODEL, backend=slow(), instances_in_flight=1) as s:
        await s.models.load("t", "sha256:m", MODEL)
        x = np.repeat(X, 3, axis=0)
        got = await ask(s, x, budget=Budget(until=time.monotonic() + SECONDS, partial=True))
    done = [isinstance(r, InstanceExplained) for r in got.results]
    assert done[0]
    assert not done[-1]
    assert done == sorted(done, reverse=True)
    for failed in got.results[sum(done) :]:
        assert isinstance(failed, InstanceFailed)
        assert isinstance(failed.error, TimeBudget)
    assert got.partial


async def test_instances_share_what_time_there_is():
    async with service(MODEL, backend=slow(), instances_in_flight=1) as s:
        await s.models.load("t", "sha256:m", MODEL)
        got = await ask(s, budget=Budget(until=time.monotonic() + 4 * SECONDS, partial=True))
    rows = [r.rows_scored for r in got.results]
    assert min(rows) > 67
    assert max(rows) - min(rows) <= 32


@pytest.mark.parametrize("left", [0.1, -1.0])
@pytest.mark.parametrize("partial", [False, True])
async def test_time_that_is_not_enough_for_anything_fails(left, partial):
    method = ("occlusion", METHODS["occlusion"](features=Elements()))
    async with service(MODEL, backend=Slow(SessionOptions(threads=1), 1)) as s:
        await s.models.load("t", "sha256:m", MODEL)
        with pytest.raises(TimeBudget) as got:
            await ask(s, method=method, budget=Budget(until=time.monotonic() + left, partial=partial))
        assert got.value.field == "budget.time"
        await until(lambda: not s.scheduler.queued_rows)
        ran = s.metrics.registry.get_sample_value("assayd_rows_run_total")
        await asyncio.sleep(0.1)
        assert s.metrics.registry.get_sample_value("assayd_rows_run_total") <= ran + 2  # one under way, one prepared


async def test_rows_are_returned_where_they_are_wanted():
    async with service(MODEL) as s:
        (got,) = (await ask(s, X[:1], lime(50), return_rows=True)).results
        (without,) = (await ask(s, X[:1], lime(50), return_rows=False)).results
    assert without.drawn is None
    assert got.drawn.samples[""].shape == (50, 12)
    assert got.drawn.scores.shape == (1, 50)
    np.testing.assert_allclose(got.drawn.scores[0, 0], got.x_scores[0], rtol=1e-6)


async def test_an_error_that_was_not_reached_is_noticed():
    async with service(MODEL) as s:
        for until, codes in ((1e-9, {"ERROR_NOT_REACHED"}), (10.0, set())):
            (got,) = (await ask(s, X[:1], lime(500, until_error=until))).results
            assert {n.code for n in got.notices} == codes
