"""Plans and refusals of the Jacobian."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from assayd.engine.realise import realise_block
from assayd.errors import InvalidRequest, ModelUnfit, NotFinite
from assayd.methods.jacobian import Jacobian
from assayd.methods.jacobian.method import FEATURES_A_PLAN
from assayd.types.arrays import Array
from assayd.types.request import Bounds, Elements, FeatureSpec, GivenSegments, PerInput
from assayd.types.result import Scores
from assayd.types.rows import NudgeRows, Plan
from assayd.types.subject import Segments, Subject
from tests.drive import Score, drive
from tests.reference.networks import elements_of

HERE = {"": 0.125}
LADDER = np.array([1, 1 / 8, 1 / 64])
GROUPS = GivenSegments({"x": np.array([0, 0, -1], np.int32)})


def plan_of(method: Jacobian, x: Array) -> Plan:
    return next(method.explain(elements_of(x=x)))


def points(method: Jacobian, x: Array) -> Array:
    """What the rows make of the first element."""
    subject = elements_of(x=x)
    plan = next(method.explain(subject))
    [rows] = plan.rows(0, plan.size // x.size)
    out = {"x": np.empty((len(rows), *x.shape), x.dtype)}
    realise_block(subject, rows, out)
    return out["x"].reshape(len(rows), -1)[:, 0]


def in_groups(method: Jacobian, x: Array, ids: Array) -> Subject:
    """Features are the groups of ids."""
    return Subject(
        {"x": x}, {"x": x[None]}, Segments({"x": ids}, int(ids.max()) + 1), scale=method.nudge_scale({"x": x})
    )


@pytest.mark.parametrize(
    ("scheme", "counts"), [("forward", (1, 2, 2, 3)), ("central", (2, 4, 4, 6)), ("richardson", (4, 6, 8, 12))]
)
def test_rows_a_feature(scheme: str, counts: tuple[int, ...]) -> None:
    cases = [(PerInput(HERE), False), (PerInput(HERE), True), (PerInput(), False), (PerInput(), True)]
    for (step, estimate), count in zip(cases, counts, strict=True):
        method = Jacobian(scheme, step=step, error_estimate=estimate)
        assert plan_of(method, np.zeros(5)).size == 5 * count
        bounded = Jacobian(
            scheme, step=step, error_estimate=estimate, bounds=PerInput({"": Bounds(lower=np.zeros(()))})
        )
        assert plan_of(bounded, np.zeros(5)).size == 5 * count


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_points_of_a_given_step(dtype: type) -> None:
    x = np.ones(1, dtype)
    np.testing.assert_array_equal(points(Jacobian("forward", step=PerInput(HERE)), x), [1.125, 1.0625])
    np.testing.assert_array_equal(points(Jacobian(step=PerInput(HERE)), x), [0.875, 1.125, 0.9375, 1.0625])
    np.testing.assert_array_equal(points(Jacobian(step=PerInput(HERE), error_estimate=False), x), [0.875, 1.125])
    np.testing.assert_array_equal(
        points(Jacobian("richardson", rel_step=PerInput(HERE), error_estimate=False), 2 * x), [1.75, 1.875, 2.125, 2.25]
    )


def test_automatic_steps_are_h_an_eighth_and_a_64th() -> None:
    for dtype in (np.float32, np.float64):
        h = float(np.finfo(dtype).eps) ** (1 / 3)
        reach = points(Jacobian(), np.full(1, 3.0, dtype)).astype(np.float64) - 3
        np.testing.assert_allclose(reach, 3 * h * np.array([-1, 1, -1 / 8, 1 / 8, -1 / 64, 1 / 64]), rtol=3e-3)
    scaled = points(Jacobian("forward", scale=PerInput({"": np.full((), 0.01)})), np.full(1, 3.0)) - 3
    np.testing.assert_allclose(scaled, 0.01 * float(np.finfo(float).eps) ** 0.5 * LADDER, rtol=1e-3, atol=1e-15)


def test_where_the_dtype_is_too_coarse_the_automatic_steps_grow() -> None:
    x = np.array([1000.0], np.float16)  # its neighbours are 0.5 away
    reach = points(Jacobian(scale=PerInput({"": np.ones(())})), x) - x.astype(np.float64)
    np.testing.assert_array_equal(reach, [-22, 22, -5, 5, -1, 1])


@pytest.mark.parametrize(
    ("lower", "upper", "expected"),
    [
        (None, None, [-1, 1]),
        (-1, 1, [-1, 1]),
        (-0.5, 2, [1, 2]),
        (-2, 0.5, [-1, -2]),
        (0, 1.5, [0.75, 1.5]),
        (-0.75, 0.75, [-0.75, 0.75]),
        (-0.25, 1.5, [0.75, 1.5]),
        (-1, 1.5, [-1, 1]),
    ],
)
def test_points_keep_within_bounds(lower: float | None, upper: float | None, expected: list[float]) -> None:
    ends = [None if end is None else np.full((), 1 + end / 8) for end in (lower, upper)]
    method = Jacobian(step=PerInput(HERE), bounds=PerInput({"x": Bounds(*ends)}), error_estimate=False)
    np.testing.assert_allclose(points(method, np.ones(1)), 1 + np.array(expected) / 8, rtol=1e-15)


def test_forward_differences_go_backward_at_the_upper_end() -> None:
    at_top = Jacobian("forward", step=PerInput(HERE), bounds=PerInput({"": Bounds(upper=np.ones(()))}))
    np.testing.assert_array_equal(points(at_top, np.ones(1)), [0.875, 0.9375])


@pytest.mark.parametrize("scheme", ["forward", "central", "richardson"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_points_keep_within_the_range_of_the_dtype(dtype: type, scheme: str) -> None:
    for x in (np.finfo(dtype).max, np.finfo(dtype).min):
        assert np.isfinite(points(Jacobian(scheme), np.full(1, x, dtype))).all()


@pytest.mark.parametrize("scheme", ["forward", "central", "richardson"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("about", [0.0, 1.0])
def test_bounds_narrower_than_the_step(dtype: type, scheme: str, grouped: bool, about: float) -> None:
    """The points go as far as they may, and not a rounding farther."""
    rng = np.random.default_rng(0)
    x = (about + rng.uniform(-0.01, 0.01, size=300)).astype(dtype)
    lower, upper = (x - rng.uniform(0.05, 0.1, 300)).astype(dtype), (x + rng.uniform(0.05, 0.1, 300)).astype(dtype)
    method = Jacobian(
        scheme,
        step=PerInput(HERE),
        scale=PerInput({"": rng.uniform(1, 3, size=300)}),
        bounds=PerInput({"": Bounds(lower, upper)}),
        features=GROUPS if grouped else None,
    )
    subject = in_groups(method, x, np.arange(300, dtype=np.int32))
    plan = next(method.explain(subject))
    out = {"x": np.empty((plan.size, 300), dtype)}
    realise_block(subject, plan.rows(0, plan.size)[0], out)
    assert (out["x"] >= lower).all()
    assert (out["x"] <= upper).all()
    reached = np.abs(out["x"].astype(np.float64) - x).max(axis=0)
    assert (reached > 0.8 * np.minimum(x - lower, upper - x)).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_steps_lead_to_numbers_of_the_dtype(dtype: type) -> None:
    x = np.random.default_rng(0).normal(size=200).astype(dtype)
    subject = elements_of(x=x)
    for method in (Jacobian(), Jacobian("richardson", rel_step=PerInput({"": 0.3}))):
        plan = next(method.explain(subject))
        [rows] = plan.rows(0, plan.size)
        assert isinstance(rows, NudgeRows)
        goal = x.astype(np.float64)[rows.feature] + rows.step
        np.testing.assert_array_equal(goal, goal.astype(dtype))


def test_automatic_steps_of_groups_are_in_units_of_their_scale() -> None:
    method = Jacobian("forward", features=GROUPS, scale=PerInput({"": np.full((), 100.0)}))
    [rows] = next(method.explain(in_groups(method, np.ones(3), np.array([0, 0, -1], np.int32)))).rows(0, 3)
    assert isinstance(rows, NudgeRows)
    np.testing.assert_allclose(rows.step, float(np.finfo(float).eps) ** 0.5 * LADDER)


def test_a_slope_hidden_by_rounding_is_within_the_estimate() -> None:
    """No score changes, but they have only 24 bits to tell."""
    got = drive(Jacobian(), elements_of(x=np.ones(3, np.float32)), lambda b: (1 + 1e-9 * b["x"]).astype(np.float32))
    np.testing.assert_array_equal(got.values, 0)
    assert got.errors is not None
    assert (np.diag(got.errors) > 1e-9).all()


def test_bounds_are_taken_in_the_dtype_of_x() -> None:
    x = np.full(1, 0.1, np.float32)  # above the float64 0.1
    method = Jacobian(bounds=PerInput({"": Bounds(upper=np.full((), 0.1))}))
    assert points(method, x).max() <= x[0]


def test_elements_as_features_are_plain_derivatives() -> None:
    method = Jacobian(features=Elements(), scale=PerInput({"": np.full((), 3.0)}))
    assert not method.grouped
    np.testing.assert_array_equal(method.nudge_scale({"x": np.zeros(2)})["x"], 1)
    got = drive(method, elements_of(x=np.zeros(2)), lambda b: b["x"] @ np.array([[1.0], [2.0]]))
    np.testing.assert_allclose(got.values, [[1, 2]], rtol=1e-9)


def test_the_scale_of_groups() -> None:
    x = np.array([0.5, -4, np.nan], np.float32)
    given = PerInput({"": np.full((), 2.0, np.float32)})
    for method, expected in (
        (Jacobian(features=GROUPS), [1, 4, 1]),
        (Jacobian(features=GROUPS, rel_step=PerInput(HERE)), [1, 4, 1]),
        (Jacobian(features=GROUPS, step=PerInput(HERE)), [1, 1, 1]),
        (Jacobian(features=GROUPS, step=PerInput(HERE), scale=given), [2, 2, 2]),
    ):
        scale = method.nudge_scale({"x": x})["x"]
        assert scale.dtype == np.float64
        np.testing.assert_array_equal(scale, expected)


def test_a_group_moves_together_and_leaves_the_others() -> None:
    method = Jacobian(features=GROUPS, step=PerInput(HERE), scale=PerInput({"": np.array([1.0, 2, 3])}))
    subject = in_groups(method, np.ones(3), np.array([0, 0, -1], np.int32))
    plan = next(method.explain(subject))
    out = {"x": np.empty((plan.size, 3))}
    realise_block(subject, plan.rows(0, plan.size)[0], out)
    np.testing.assert_array_equal(out["x"][:2], [[0.875, 0.75, 1], [1.125, 1.25, 1]])


def test_a_feature_across_inputs_takes_the_smallest_step() -> None:
    method = Jacobian(features=GROUPS, step=PerInput({"a": 0.5, "b": 0.25}), error_estimate=False)
    inputs = {"a": np.zeros(1), "b": np.zeros(1)}
    ids = {name: np.zeros(1, np.int32) for name in inputs}
    subject = Subject(
        inputs, {n: x[None] for n, x in inputs.items()}, Segments(ids, 1), scale=method.nudge_scale(inputs)
    )
    [rows] = next(method.explain(subject)).rows(0, 2)
    assert isinstance(rows, NudgeRows)
    np.testing.assert_array_equal(rows.step, [-0.25, 0.25])


def test_no_estimate_changes_no_value_of_a_given_step() -> None:
    x = np.linspace(-1, 1, 5)
    for scheme in ("forward", "central", "richardson"):
        with_it, without = (
            drive(
                Jacobian(scheme, rel_step=PerInput(HERE), error_estimate=e), elements_of(x=x), lambda b: np.exp(b["x"])
            )
            for e in (True, False)
        )
        np.testing.assert_array_equal(with_it.values, without.values)
        assert without.errors is None
        assert without.errors_unknown
        assert with_it.errors is not None
        assert not with_it.errors_unknown


def test_many_elements_make_several_plans() -> None:
    """Each plan says how many rows will follow; columns come out in order."""
    count, points_each = 2 * FEATURES_A_PLAN + 5, 6
    explanation = Jacobian().explain(elements_of(x=np.geomspace(1, 1e4, count)))
    plan, total, sizes = next(explanation), 0, []
    weights = np.arange(count)
    try:
        while True:
            sizes.append(plan.size)
            total += plan.size
            assert total + plan.later == count * points_each
            [rows] = plan.rows(0, plan.size)
            assert isinstance(rows, NudgeRows)
            f = (weights[rows.feature] * rows.step)[:, None] * [1.0, -1.0]
            plan = explanation.send(Scores(f, np.zeros(2), np.zeros((1, 2))))
    except StopIteration as end:
        np.testing.assert_allclose(end.value.values, [weights, -weights], rtol=1e-9)
    assert max(sizes) - min(sizes) <= points_each
    assert len(sizes) == 3


def test_rows_are_made_lazily() -> None:
    """A picture's Jacobian: its plan knows 24,000 rows and makes those it is asked for."""
    plan = plan_of(Jacobian(), np.zeros((3, 224, 224), np.float32))
    assert plan.size <= FEATURES_A_PLAN * 6
    assert plan.size + plan.later == 3 * 224 * 224 * 6
    [rows] = plan.rows(601, 603)
    assert isinstance(rows, NudgeRows)
    np.testing.assert_array_equal(rows.feature, [100, 100])


def rows_a_feature(f: Score, x: Array) -> Array:
    """How many nudges each element took."""
    drawn = drive(Jacobian(), elements_of(x=x), f).drawn
    assert drawn is not None
    features = drawn().features
    assert features is not None
    return np.bincount(features, minlength=x.size)


def test_only_elements_in_need_take_more_rows() -> None:
    x = np.array([0.5, 0.3, -1.2, 2.0])
    easy = rows_a_feature(lambda b: np.sin(b["x"]) @ np.ones((4, 1)), x)
    np.testing.assert_array_equal(easy, 6)
    narrow = rows_a_feature(lambda b: np.sin(b["x"] * [1e5, 1, 1, 1]) @ np.ones((4, 1)), x)
    assert narrow[0] > 6
    np.testing.assert_array_equal(narrow[1:], 6)


def test_where_the_budget_ends_the_entries_are_what_they_are() -> None:
    """More rows are asked for, may be cut short, and then serve for nothing."""

    def f(x: Array) -> Array:
        return np.tanh((x - 0.5) / 1e-4) @ np.ones((4, 1), np.float32)

    x = np.full(4, 0.5, np.float32)
    explanation = Jacobian().explain(elements_of(x=x))
    plan = next(explanation)
    assert plan.least is None
    for cut in (0, 3):
        explanation = Jacobian().explain(elements_of(x=x))
        plan = next(explanation)
        at_x = f(x[None])
        plan = explanation.send(Scores(f(moved(plan, x)).astype(np.float64), at_x[0].astype(np.float64), at_x))
        assert plan.least == 1
        with pytest.raises(StopIteration) as end:
            explanation.send(Scores(f(moved(plan, x))[:cut].astype(np.float64), at_x[0].astype(np.float64), at_x))
        result = end.value.value
        assert result.drawn().scores.shape == (1, 24 + cut)
        assert (result.errors > result.values).all()


def moved(plan: Plan, x: Array) -> Array:
    """All rows of a plan as tensors."""
    out = {"x": np.empty((plan.size, x.size), x.dtype)}
    realise_block(elements_of(x=x), plan.rows(0, plan.size)[0], out)
    return out["x"]


@pytest.mark.parametrize("scheme", ["forward", "central", "richardson"])
@pytest.mark.parametrize("grouped", [False, True])
def test_the_rows_that_follow_keep_within_bounds(scheme: str, grouped: bool) -> None:
    x = np.array([1e-4, 0.5, 3e-3, 0.999], np.float32)
    seen = []

    def f(batch: Mapping[str, Array]) -> Array:
        seen.append(batch["x"])
        return np.log(batch["x"] + np.float32(1e-6)) @ np.full((4, 1), 1, np.float32)

    method = Jacobian(
        scheme,
        features=GROUPS if grouped else None,
        bounds=PerInput({"": Bounds(np.zeros(()), np.ones(()))}),
    )
    got = drive(method, in_groups(method, x, np.arange(4, dtype=np.int32)), f)
    assert got.drawn is not None
    assert got.drawn().scores.shape[1] > {"forward": 12, "central": 24, "richardson": 48}[scheme]
    rows = np.concatenate(seen[2:])
    assert (rows >= 0).all()
    assert (rows <= 1).all()


def test_swapped_bounds_are_named() -> None:
    method = Jacobian(bounds=PerInput({"": Bounds(np.full((), 2.0), np.ones(()))}))
    with pytest.raises(InvalidRequest, match="swapped") as refused:
        plan_of(method, np.full(3, 1.5))
    assert refused.value.field == "bounds"


def test_what_the_method_holds() -> None:
    assert Jacobian.revision == 2
    assert not Jacobian().baseline
    assert Jacobian().scheme == "central"


NAN = np.array([1, np.nan, 2])


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"scheme": "backward"}, "scheme"),
        ({"step": PerInput(HERE), "rel_step": PerInput(HERE)}, "rel_step"),
        ({"step": PerInput({"": 0.0})}, "step"),
        ({"step": PerInput({"": -1.0})}, "step"),
        ({"step": PerInput({"": np.nan})}, "step"),
        ({"step": PerInput({"": np.inf})}, "step"),
        ({"step": PerInput({"": 1e-17})}, "step"),
        ({"rel_step": PerInput({"": 0.0})}, "rel_step"),
        ({"rel_step": PerInput({"": 1e-16})}, "rel_step"),
        ({"step": PerInput({"other": 1.0})}, "step"),
        ({"bounds": PerInput({"other": Bounds()})}, "bounds"),
        ({"scale": PerInput({"": np.zeros(())})}, "scale"),
        ({"scale": PerInput({"": np.full(3, np.nan)})}, "scale"),
        ({"scale": PerInput({"": np.full(3, np.inf)})}, "scale"),
        ({"scale": PerInput({"": np.ones(2)})}, "scale"),
        ({"scale": PerInput({"": np.array(["a"], object)})}, "scale"),
        ({"bounds": PerInput({"": Bounds(lower=np.full((), 2.0))})}, "bounds"),
        ({"bounds": PerInput({"": Bounds(upper=np.zeros(()))})}, "bounds"),
        ({"bounds": PerInput({"": Bounds(lower=np.full(2, -2.0))})}, "bounds"),
        ({"bounds": PerInput({"": Bounds(lower=np.full(3, np.nan))})}, "bounds"),
        ({"bounds": PerInput({"": Bounds(np.ones(()), np.ones(()))})}, "bounds"),
    ],
)
def test_refused_parameters(parameters: Mapping[str, object], field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        plan_of(Jacobian(**parameters), np.ones(3))
    assert refused.value.field == field
    assert type(refused.value) is InvalidRequest


@pytest.mark.parametrize("features", [None, GROUPS])
def test_a_step_below_what_float16_resolves(features: FeatureSpec | None) -> None:
    x = np.array([0.001, 1000, 0], np.float16)
    for step, fine in ((0.25, False), (4.0, True)):
        method = Jacobian(step=PerInput({"": step}), features=features)
        subject = elements_of(x=x) if features is None else in_groups(method, x, np.array([0, 0, -1], np.int32))
        if fine:
            next(method.explain(subject))
        else:
            with pytest.raises(InvalidRequest, match=r"feature [01] ") as refused:
                next(method.explain(subject))
            assert refused.value.field == "step"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_no_step_leads_away_from_nan_or_infinity(bad: float) -> None:
    x = np.array([1, 2, bad], np.float32)
    with pytest.raises(NotFinite, match="'x' holds NaN or infinity") as refused:
        plan_of(Jacobian(), x)
    assert refused.value.field == "inputs[x]"
    method = Jacobian(features=GROUPS)
    got = drive(method, in_groups(method, x, np.array([0, 0, -1], np.int32)), lambda b: b["x"][:, :1] + b["x"][:, 1:2])
    np.testing.assert_allclose(got.values, [[3]], rtol=1e-5)  # max(1, |x|) is 1 and 2


@pytest.mark.parametrize("x", [np.ones(2, np.int64), np.ones(2, np.bool_), np.array(["a", "b"], object)])
def test_only_floating_inputs(x: Array) -> None:
    with pytest.raises(ModelUnfit, match="'x' is") as refused:
        plan_of(Jacobian(), x)
    assert refused.value.field == "inputs_to_explain"
    with pytest.raises(ModelUnfit, match="'x' is"):
        Jacobian(features=GROUPS).nudge_scale({"x": x})


def test_subjects_that_dont_fit_are_bugs() -> None:
    x = np.ones(2)
    with pytest.raises(ValueError, match="segments"):
        next(Jacobian().explain(Subject({"x": x}, {"x": x[None]}, scale={"x": np.ones(())})))
    whole = elements_of(x=x)
    other = Subject(whole.inputs, whole.baselines, whole.segments, scale={"x": 2 * x})
    with pytest.raises(ValueError, match="scale must be 1"):
        next(Jacobian().explain(other))
