"""One request over a real model in this process: failures, deadlines, budgets, demotions."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import pytest

from assayd.engine.in_process import InProcessBackend
from assayd.engine.onnxruntime_session import SessionOptions
from assayd.errors import (
    AssayError,
    DeadlinePassed,
    InvalidRequest,
    InvalidTensor,
    ModelFailed,
    ModelNotFinite,
    NotFinite,
    NotReproducible,
    RowBudget,
)
from assayd.explain.failures import earliest
from assayd.explain.offload import Takes
from assayd.explain.outcome import InstanceExplained, InstanceFailed
from assayd.explain.request import Budget, PredictRequest
from assayd.methods import METHODS
from assayd.scheduler.work import Caller
from assayd.types.model import InputFacts, ModelSpec, ModelVersion
from assayd.types.request import AtIndex, AtLabel, AtRank, Constant, Elements, Given, PerInput, TargetSpec
from assayd.types.result import Attribution
from assayd.types.rows import MaskRows, Plan
from tests.models import zoo
from tests.models.run import session
from tests.unit.explain.made import a_request, service, until

X = np.random.default_rng(0).standard_normal((5, 6)).astype(np.float32)
FIRST = TargetSpec(None, AtIndex((0,)))


def log_model():
    """y = log x: not finite where x is below 0."""
    b = zoo.Builder(0)
    b.op("Log", "x", outputs=["y"])
    return b.model({"x": (zoo.FLOAT, ["N", 3])}, {"y": (zoo.FLOAT, ["N", 3])})


def sly():
    """Proven on noise near 0, it subtracts the batch's mean of what lies above 5000."""
    b = zoo.Builder(0)
    mean = b.op("ReduceMean", b.op("Relu", b.op("Sub", "x", b.constant(5000.0, np.float32))), axes=[0], keepdims=1)
    b.op("Sub", b.linear("x", 6, 3), b.linear(mean, 6, 3), outputs=["y"])
    return b.model({"x": (zoo.FLOAT, ["N", 6])}, {"y": (zoo.FLOAT, ["N", 3])}, opset=13)


def ablated(data, x, column=0, baseline=0.0):
    """f(x) - f(x without one element), from the file itself, one row at a time."""
    run = session(data)
    f = lambda row: float(run.run(["y"], {"x": row[None]})[0][0].ravel()[column])  # noqa: E731
    each = []
    for n in range(len(x)):
        without = x.copy()
        without[n] = baseline
        each.append(f(x) - f(without))
    return np.array(each)


async def test_every_instance_is_explained_in_order():
    data = zoo.linear()
    async with service(data) as s:
        got = await s.explain(a_request({"x": X}, target=FIRST, keys=[f"k{n}" for n in range(5)]))
    assert [(r.position, r.key) for r in got.results] == [(n, f"k{n}") for n in range(5)]
    weights, bias = zoo.linear_weights(data)
    for x, result in zip(X, got.results, strict=True):
        np.testing.assert_allclose(result.attribution.values[0], x * weights[:, 0], atol=1e-5)
        np.testing.assert_allclose(result.x_scores, x @ weights[:, :1] + bias[:1], atol=1e-5)
        np.testing.assert_allclose(result.baseline_scores, [bias[:1]], atol=1e-6)
        assert result.alone_difference < 1e-6
        assert (result.rows_asked, result.rows_run) == (8, 10)
        assert result.dtype == np.float32
    assert got.notices == ()
    assert got.used.rows_asked == 5 * 8


async def test_the_top_score_is_the_default_and_is_decided_for_each_instance():
    data = zoo.linear()
    async with service(data) as s:
        got = await s.explain(a_request({"x": X}))
    top = session(data).run(["y"], {"x": X})[0].argmax(1)
    assert [r.targets[0].index for r in got.results] == [(int(t),) for t in top]
    assert {r.targets[0].rank for r in got.results} == {1}
    assert len(set(top)) > 1


async def test_instances_have_targets_of_their_own_and_labels_of_the_spec():
    spec = ModelSpec(class_labels={"y": ("cat", "dog", "eel")})
    own = [(TargetSpec(None, AtLabel("eel")), TargetSpec(None, AtRank(3))), (FIRST, FIRST)]
    async with service(zoo.linear()) as s:
        got = await s.explain(a_request({"x": X[:2]}, spec=spec, targets=own))
    assert [[t.label for t in r.targets] for r in got.results][1] == ["cat", "cat"]
    assert got.results[0].targets[0].label == "eel"
    assert got.results[0].attribution.values.shape == (2, 6)


async def test_each_instance_is_seen_as_it_finishes():
    seen = []
    async with service(zoo.linear()) as s:
        got = await s.explain(a_request({"x": X}, target=FIRST), seen.append)
    assert sorted(r.position for r in seen) == list(range(5))
    assert {id(r) for r in seen} == {id(r) for r in got.results}


@pytest.mark.parametrize("skip", [True, False])
async def test_an_instance_that_fails_is_skipped_or_fails_all(skip):
    x = np.array([[1, 2, 3], [-1, 2, 3], [4, 5, 6], [1, 2, -3]], np.float32)
    method = ("occlusion", METHODS["occlusion"](features=Elements(), baseline=PerInput({"": Constant(1.0)})))
    asked = a_request({"x": x}, method=method, targets=[(TargetSpec(None, AtIndex((k,))),) for k in (0, 0, 0, 2)],
                      skip_failed=skip, keys=list("abcd"))  # fmt: skip
    async with service(log_model()) as s:
        if not skip:
            with pytest.raises(ModelNotFinite) as got:
                await s.explain(asked)
            assert got.value.metadata["instance"] in ("1", "3")
            return
        got = await s.explain(asked)
    assert [type(r) for r in got.results] == [InstanceExplained, InstanceFailed, InstanceExplained, InstanceFailed]
    assert [(r.key, r.position) for r in got.results] == [("a", 0), ("b", 1), ("c", 2), ("d", 3)]
    assert isinstance(got.results[1].error, ModelNotFinite)
    assert "instance" not in got.results[1].error.metadata
    np.testing.assert_allclose(got.results[2].attribution.values, [[np.log(4), 0, 0]], atol=1e-6)


async def test_a_lone_instance_fails_without_a_number():
    async with service(log_model()) as s:
        with pytest.raises(NotFinite) as got:
            await s.explain(a_request({"x": np.ones((1, 3), np.float32)}, target=FIRST))
    assert got.value.field == "occlusion.baseline"
    assert got.value.metadata == {}


def test_of_several_failures_the_first_instance_counts():
    def failed(instance):
        return ModelFailed("no", metadata={"instance": str(instance)})

    nested = ExceptionGroup("", [failed(12), ExceptionGroup("", [failed(9), failed(2)]), failed(10)])
    assert earliest(nested).metadata["instance"] == "2"


async def test_a_bug_in_one_instance_is_no_error_of_the_domain(monkeypatch):
    def broken(*_):
        raise KeyError("mine")

    async with service(zoo.linear()) as s:
        monkeypatch.setattr("assayd.explain.subject.Subjects.of", broken)
        with pytest.raises(BaseExceptionGroup) as got:
            await s.explain(a_request({"x": X}))
    assert not isinstance(got.value, AssayError)


class Slow(InProcessBackend):
    """Takes a while for each batch, without a processor."""

    def run(self, prepared):
        time.sleep(0.05)
        return super().run(prepared)


@pytest.mark.parametrize("left", [0.15, -1.0])
async def test_after_the_deadline_the_rest_is_dropped(left):
    async with service(zoo.linear(), backend=Slow(SessionOptions(threads=1), 1)) as s:
        await s.models.load("t", "sha256:m", zoo.linear())
        with pytest.raises(DeadlinePassed):
            await s.explain(a_request({"x": X}, target=FIRST, deadline=time.monotonic() + left))
        await until(lambda: not s.scheduler.queued_rows)
        assert s.metrics.registry.get_sample_value("assayd_rows_run_total") < 20


async def test_a_request_that_is_cancelled_takes_its_rows_with_it():
    async with service(zoo.linear(), backend=Slow(SessionOptions(threads=1), 1)) as s:
        task = asyncio.create_task(s.explain(a_request({"x": X}, target=FIRST)))
        await until(lambda: s.scheduler.queued_rows)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert s.scheduler.queued_rows == 0


async def test_a_request_that_is_cancelled_stops_after_the_rows_under_way():
    async with service(zoo.linear(), backend=Slow(SessionOptions(threads=1), 1)) as s:
        task = asyncio.create_task(s.explain(a_request({"x": X}, target=FIRST)))
        await until(lambda: s.scheduler.queued_rows)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await until(lambda: not s.scheduler.queued_rows)
        assert s.metrics.registry.get_sample_value("assayd_rows_run_total") < 10


async def test_a_budget_counts_the_rows_of_all_instances_with_x_and_baselines():
    need = 5 * (6 + 2)
    async with service(zoo.linear()) as s:
        await s.explain(a_request({"x": X}, target=FIRST, budget=Budget(rows=need)))
        with pytest.raises(RowBudget) as got:
            await s.explain(a_request({"x": X}, target=FIRST, budget=Budget(rows=need - 1)))
        assert got.value.field == "budget.rows"
        assert (got.value.metadata["rows"], got.value.metadata["limit"]) == ("40", "39")
        assert "40 rows are needed and 39 are allowed by its budget" in got.value.message
        assert (
            s.metrics.registry.get_sample_value("assayd_rows_asked_total", {"model": "m", "method": "occlusion"}) == 40
        )


async def test_the_servers_limit_stands_above_any_budget():
    async with service(zoo.linear(), max_request_rows=20) as s:
        with pytest.raises(RowBudget) as got:
            await s.explain(a_request({"x": X}, target=FIRST, budget=Budget(rows=10**9)))
        assert got.value.metadata["limit"] == "20"
        for budget in (Budget(rows=10**9), Budget()):
            with pytest.raises(RowBudget, match="20 are allowed by this server for one request"):
                await s.explain(a_request({"x": X}, target=FIRST, budget=budget))


async def test_rows_that_interact_only_for_some_inputs_are_found_and_run_again_one_by_one():
    data, x = sly(), np.full((5, 6), 9000.0, np.float32) + X
    async with service(data) as s:
        before = await s.explain(a_request({"x": X}, target=FIRST, budget=Budget(rows=40)))
        assert before.model.batching.batched
        got = await s.explain(a_request({"x": x}, target=FIRST, budget=Budget(rows=40)))
    assert not got.model.batching.batched
    assert "rows interact: x or its baseline scores otherwise alone" in got.model.batching.reason
    (notice,) = got.notices
    assert notice.code == "ROW_BY_ROW"
    assert got.used.rows_asked == 40
    for row, result in zip(x, got.results, strict=True):
        np.testing.assert_allclose(result.attribution.values[0], ablated(data, row), rtol=1e-4, atol=1e-2)
        assert result.alone_difference is None
        assert result.rows_run == 8


async def test_an_open_question_is_settled_by_the_callers_first_instance():
    data = zoo.strings()
    x = np.array([["red", "blue"]], dtype=object)
    method = ("occlusion", METHODS["occlusion"](features=Elements(), baseline=PerInput({"": Given(x[0, ::-1])})))
    async with service(data) as s:
        assert (await s.models.load("t", "sha256:m", data)).open_question
        asked = a_request({"s": x}, method=method, target=FIRST, inputs_to_explain=("s",))
        got = await s.explain(asked)
    assert got.model.batching.batched
    assert got.results[0].attribution.values.shape == (1, 2)


async def test_several_plans_of_one_method_are_run_one_after_the_other_and_all_count():
    @dataclass(frozen=True)
    class Twice:
        features: Elements = Elements()  # noqa: RUF009 - frozen
        baseline: PerInput = PerInput()  # noqa: RUF009 - frozen
        revision: ClassVar[int] = 1

        def explain(self, subject):
            ones = lambda a, b: [MaskRows(np.ones((b - a, 6)), np.zeros(b - a, np.int32))]  # noqa: E731
            first = yield Plan(3, ones)
            second = yield Plan(4, ones)
            assert (first.rows.shape, second.rows.shape) == ((3, 1), (4, 1))
            np.testing.assert_array_equal(first.x, second.x)
            return Attribution(row_scores=np.concatenate([first.rows, second.rows]).T)

    async with service(zoo.linear()) as s:
        asked = a_request({"x": X[:1]}, method=("twice", Twice()), target=FIRST, budget=Budget(rows=2 + 3 + 4))
        got = await s.explain(asked)
        assert got.used.rows_asked == 9
        np.testing.assert_allclose(got.results[0].attribution.row_scores, np.full((1, 7), got.results[0].x_scores))
        with pytest.raises(RowBudget):
            await s.explain(a_request({"x": X[:1]}, method=("twice", Twice()), target=FIRST, budget=Budget(rows=8)))


async def test_validating_runs_nothing_and_counts_rows():
    async with service(zoo.linear()) as s:
        got = await s.explain(a_request({"x": X}, target=FIRST, validate_only=True))
        assert (got.estimated_rows, got.estimated_seconds, got.results) == (40, None, [])
        assert s.metrics.registry.get_sample_value("assayd_rows_run_total") == 0
        await s.explain(a_request({"x": X}, target=FIRST))
        got = await s.explain(a_request({"x": X}, target=FIRST, validate_only=True))
        assert got.estimated_seconds > 0
        with pytest.raises(RowBudget):
            await s.explain(a_request({"x": X}, target=FIRST, validate_only=True, budget=Budget(rows=39)))


REFUSED = {
    "inputs": {"inputs": {"x": X[:, :5]}},
    "layout of no input": {"layouts": PerInput({"z": "NF"})},
    "layout of another rank": {"layouts": PerInput({"x": "NCHW"})},
    "no such input": {"inputs_to_explain": ("z",)},
    "parameters": {"method": ("occlusion", METHODS["occlusion"]())},
}
BY_TARGET = {
    "target out of range": {"target": TargetSpec(None, AtIndex((3,)))},
    "no such output": {"target": TargetSpec("z")},
}


@pytest.mark.parametrize("why", [*REFUSED, *BY_TARGET])
async def test_what_is_wrong_is_refused_before_anything_runs(why):
    async with service(zoo.linear()) as s:
        with pytest.raises((InvalidRequest, InvalidTensor)):
            await s.explain(a_request(**({"inputs": {"x": X}} | (REFUSED | BY_TARGET)[why])))
        assert s.metrics.registry.get_sample_value("assayd_rows_run_total") == 0


@pytest.mark.parametrize(
    "why",
    [*REFUSED, *BY_TARGET],
)
async def test_validating_refuses_what_running_refuses(why):
    async with service(zoo.linear()) as s:
        with pytest.raises((InvalidRequest, InvalidTensor)):
            await s.explain(a_request(**({"inputs": {"x": X}} | (REFUSED | BY_TARGET)[why]), validate_only=True))


async def test_a_layout_of_the_spec_that_does_not_fit_says_where_it_stands():
    spec = ModelSpec({"x": InputFacts(layout="NTC")})
    async with service(zoo.linear()) as s:
        with pytest.raises(InvalidRequest, match="layout NTC"):
            await s.explain(a_request({"x": X}, spec=spec))


def prediction(inputs, outputs=(), deadline=None):
    return PredictRequest(Caller("t"), ModelVersion("m", "1", "sha256:m", "", 1, 0.0), inputs, outputs, deadline)


async def test_a_prediction_is_the_models_own_answer():
    data = zoo.two_by_two()
    inputs = {"a": X[:, :4], "b": X}
    async with service(data) as s:
        got = await s.predict(prediction(inputs))
        only = await s.predict(prediction(inputs, ("total",)))
        with pytest.raises(InvalidRequest) as refused:
            await s.predict(prediction(inputs, ("total", "z")))
        with pytest.raises(DeadlinePassed):
            await s.predict(prediction(inputs, deadline=time.monotonic() - 1))
    for name, want in zip(("logits", "total"), session(data).run(["logits", "total"], inputs), strict=True):
        np.testing.assert_allclose(got.outputs[name], want, atol=1e-6)
        assert got.outputs[name].dtype == np.float32
    assert list(only.outputs) == ["total"]
    assert refused.value.field == "outputs[1]"
    assert got.used.rows_asked == 5


class Wobbling(InProcessBackend):
    """The last row of each chunk comes out a bit away."""

    def run(self, prepared):
        results = super().run(prepared)
        for scores in results:
            if isinstance(scores, np.ndarray):
                scores[-1] = np.nextafter(scores[-1].astype(np.float32), np.inf)
        return results


async def test_x_is_scored_twice_where_its_bits_must_be_the_same():
    data = zoo.linear()
    async with service(data, backend=Wobbling(SessionOptions(threads=1), 8)) as s:
        await s.explain(a_request({"x": X}, target=FIRST))
        with pytest.raises(NotReproducible, match="at another place"):
            await s.explain(a_request({"x": X}, target=FIRST, reproducible=True))
    async with service(data) as s:
        got = await s.explain(a_request({"x": X[:1]}, target=FIRST, reproducible=True))
        assert got.used.rows_asked == 6 + 2 + 1
        assert s.metrics.registry.get_sample_value("assayd_padding_rows_total") == 2 * 8 - 9
        np.testing.assert_allclose(got.results[0].attribution.values[0], ablated(data, X[0]), atol=1e-5)


async def test_a_model_that_got_the_cpu_where_the_server_has_cuda_is_noticed():
    async with service(zoo.linear(), device="cuda") as s:
        got = await s.explain(a_request({"x": X}, target=FIRST))
    (notice,) = got.notices
    assert notice.code == "CPU_FALLBACK"
    assert "CPUExecutionProvider" in notice.message


async def test_a_probability_that_had_to_be_clipped_is_noticed():
    b = zoo.Builder(0)
    b.op("Clip", "x", b.constant(0.0, np.float32), b.constant(1.0, np.float32), outputs=["y"])
    data = b.model({"x": (zoo.FLOAT, ["N", 3])}, {"y": (zoo.FLOAT, ["N", 3])})
    baseline = PerInput({"": Constant(0.25)})
    method = ("occlusion", METHODS["occlusion"](features=Elements(), baseline=baseline))
    async with service(data) as s:
        for x, scale, codes in (
            ([0.5, 0.2, 0.3], "logit", set()),
            ([1.5, 0.2, 0.3], "logit", {"SCALE_CLIPPED"}),
            ([1.5, 0.2, 0.3], "log", set()),
            ([-1.0, 0.2, 0.3], "log", {"SCALE_CLIPPED"}),
            ([-1.0, 0.2, 0.3], "raw", set()),
        ):
            target = TargetSpec(None, AtIndex((0,)), scale)
            got = await s.explain(a_request({"x": np.array([x], np.float32)}, method=method, target=target))
            assert {n.code for n in got.results[0].notices} == codes


@dataclass(frozen=True, eq=False)
class Patient(METHODS["occlusion"]):
    """Two plans, each with something to do while its rows run."""

    done: list = field(default_factory=list)
    fails: bool = False

    def explain(self, subject):
        explanation = super().explain(subject)
        plan = next(explanation)
        scores = yield replace(plan, meanwhile=self._made)
        self.done.append("first scores")
        yield replace(plan, meanwhile=self._made)
        self.done.append("second scores")
        try:
            explanation.send(scores)
        except StopIteration as end:
            return end.value

    def _made(self):
        self.done.append("made")
        if self.fails:
            raise RuntimeError


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize(("instances", "data_set"), [(1, False), (1, True), (2, False)])
async def test_a_decision_s_method_uses_the_time_in_which_rows_run(instances, data_set, fails):
    """Others' rows use it where there are many; and what was made would be held for each of them."""
    method = Patient(features=Elements(), fails=fails)
    async with service(zoo.mlp(6, 8, 3)) as served:
        wanted = a_request({"x": X[:instances]}, target=FIRST)
        want = await served.explain(wanted)
        got = await served.explain(replace(wanted, method=method), data_set=data_set)
    for one, other in zip(got.results, want.results, strict=True):
        assert np.array_equal(one.attribution.values, other.attribution.values)
    alone = instances == 1 and not data_set
    seen = ["made", "first scores", "made", "second scores"] if alone else ["first scores", "second scores"]
    assert sorted(method.done) == sorted(seen * instances)
    assert method.done == seen or instances > 1


@pytest.mark.parametrize(
    ("instances", "name", "more", "turns", "hops"),
    [
        (1, "lime", {"num_samples": 100}, 3, 0),
        (2, "lime", {"num_samples": 100}, 4, 0),
        (1, "lime", {"num_samples": 10_000}, 3, 0),
        (1, "lime", {"num_samples": 10_000, "keys": ("a",)}, 0, 3),
        (2, "lime", {"num_samples": 10_000}, 0, 4),
        (1, "lime", {"num_samples": 100_000}, 0, 3),
        (1, "lime", {"num_samples": 100, "surrogate": "lasso"}, 0, 2),
        (2, "occlusion", {}, 0, 0),
    ],
)
async def test_few_samples_are_drawn_and_solved_in_place_and_many_on_a_thread(
    instances, name, more, turns, hops, monkeypatch
):
    """Whatever goes to a thread costs a way there and back; whatever doesn't holds up everybody else."""
    keys = more.get("keys", ())
    more = {key: value for key, value in more.items() if key != "keys"}
    taken, method = Counter(), METHODS[name](features=Elements(), **more)

    async def counted(function, *arguments, takes=Takes.LONGER, decision=False):
        taken[takes] += 1
        return function(*arguments)

    async with service(zoo.mlp(6, 8, 3)) as served:
        monkeypatch.setattr(served.offload, "plan", counted)
        monkeypatch.setattr(served.offload, "reduce", counted)
        await served.explain(a_request({"x": X[:instances]}, method=(name, method), target=FIRST, keys=keys))
    assert (taken[Takes.MILLISECONDS], taken[Takes.LONGER]) == (turns, hops)


async def test_one_instance_alone_takes_no_task_of_its_own():
    made, loop = [], asyncio.get_running_loop()
    async with service(zoo.mlp(6, 8, 3)) as served:
        await served.explain(a_request({"x": X[:1]}, target=FIRST))
        loop.set_task_factory(
            lambda loop, co, **more: made.append(co.__qualname__) or asyncio.Task(co, loop=loop, **more)
        )
        await served.explain(a_request({"x": X[:1]}, target=FIRST))
        alone = [name for name in made if "_explain" in name]
        await served.explain(a_request({"x": X[:2]}, target=FIRST))
        loop.set_task_factory(None)
    assert not alone
    assert len([name for name in made if "_explain" in name]) == 2
