"""Tables as they are, over real gRPC, against a plain loop over the file: pipelines of scikit-learn with an input a
column, text, missing values, ZipMap and labels."""

import itertools
import math

import numpy as np
import onnxruntime as ort
import pytest

import assay
from tests.models import zoo

pytest.importorskip("skl2onnx")

from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

RNG = np.random.default_rng(0)
ROWS = 500
TRAIN = {
    "age": RNG.integers(18, 80, ROWS),
    "income": np.exp(RNG.normal(10, 0.5, ROWS)).astype(np.float32),
    "debt": RNG.normal(size=ROWS).astype(np.float32),
    "city": RNG.choice(["Bern", "Oslo", "Paris", "Rome"], ROWS, p=[0.1, 0.2, 0.3, 0.4]).astype(object),
    "job": RNG.choice(["clerk", "none", "nurse"], ROWS, p=[0.5, 0.2, 0.3]).astype(object),
}
COLUMNS = list(TRAIN)
_SCORE = 1.2 * (TRAIN["city"] == "Paris") + 0.8 * (TRAIN["job"] == "nurse") + (TRAIN["age"] - 45) / 20 + TRAIN["debt"]
YES = np.where(_SCORE + RNG.normal(0, 0.4, ROWS) > 0.5, "yes", "no")
TYPES = [
    ("age", Int64TensorType([None, 1])),
    ("income", FloatTensorType([None, 1])),
    ("debt", FloatTensorType([None, 1])),
    ("city", StringTensorType([None, 1])),
    ("job", StringTensorType([None, 1])),
]
BACKGROUND = {name: column[100:107].reshape(-1, 1) for name, column in TRAIN.items()}
MIXED = assay.Groups([assay.Group("money", ["debt", ("income", 0)]), assay.Group("who", ["city", ("age", 0)])])


def instances(first, last):
    return {name: column[first:last].reshape(-1, 1) for name, column in TRAIN.items()}


def pipeline(classifier, labels=YES, zipmap=True):
    """Trained and converted: an input a column; `zipmap` leaves the probabilities in a sequence of maps."""
    columns = np.stack([column.astype(object) for column in TRAIN.values()], axis=1)
    cut = ColumnTransformer([("numbers", StandardScaler(), [0, 1, 2]), ("text", OneHotEncoder(), [3, 4])])
    fitted = Pipeline([("cut", cut), ("classifier", classifier)]).fit(columns, labels)
    options = {id(fitted): {"zipmap": zipmap}}
    return convert_sklearn(fitted, initial_types=TYPES, options=options, target_opset=17).SerializeToString()


MODELS = {
    "logistic": (pipeline(LogisticRegression()), ("no", "yes")),
    "forest": (pipeline(RandomForestClassifier(15, max_depth=5, random_state=0), (YES == "yes") * 7), ("0", "7")),
    "boosted": (pipeline(GradientBoostingClassifier(n_estimators=15, random_state=0), zipmap=False), ()),
}


class File:
    """The file as it came: rows to the probability of its second class, float64 [rows]."""

    def __init__(self, data):
        options = ort.SessionOptions()
        options.log_severity_level = 4
        self.session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])

    def __call__(self, rows):
        # One at a time, so that nothing is shared.
        return np.array([self._one({name: x[n : n + 1] for name, x in rows.items()}) for n in range(_count(rows))])

    def _one(self, row):
        found = self.session.run(None, row)[-1][0]
        return float(list(found.values())[1] if isinstance(found, dict) else found.ravel()[-1])


def _count(rows):
    return len(next(iter(rows.values())))


def absent(row, background, names):
    """One row, as often as the background has rows, with these columns taken from there."""
    k = _count(background)
    return {name: background[name] if name in names else np.repeat(x, k, axis=0) for name, x in row.items()}


@pytest.fixture(scope="module")
def models(server):
    with assay.Client(server.address) as client:
        return {name: client.upload_model(data, name=f"table-{name}") for name, (data, _) in MODELS.items()}


@pytest.mark.parametrize("name", MODELS)
def test_text_is_predicted_and_batched_from_the_upload_on(client, models, name):
    data, labels = MODELS[name]
    model = models[name]
    assert model.batching.mode == "batched"
    assert model.outputs[1].class_labels == labels
    x = instances(0, 40)
    got = client.predict(model, x)
    label, probability = model.outputs[0].name, model.outputs[1].name
    np.testing.assert_allclose(got[probability][:, 1], File(data)(x), atol=1e-6)
    want = File(data).session.run([label], x)[0]
    assert got[label].tolist() == want.tolist()
    fixed = client.predict(model, {k: v.astype(str) if v.dtype == object else v for k, v in x.items()})
    np.testing.assert_array_equal(fixed[probability], got[probability])


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("features", [assay.Elements(), MIXED], ids=["elements", "groups"])
def test_columns_of_all_dtypes_are_switched_to_whole_background_rows(client, models, name, features):
    f, x = File(MODELS[name][0]), instances(0, 3)
    method = assay.Occlusion(features=features, baseline=BACKGROUND)
    ex = client.explain(models[name], x, method, target=1, inputs_to_explain=COLUMNS)
    parts = (
        {n: [n] for n in COLUMNS} if features is not MIXED else {"money": ["debt", "income"], "who": ["city", "age"]}
    )
    assert [feature.name for feature in ex.features] == list(parts)
    for n in range(3):
        row = {name: column[n : n + 1] for name, column in x.items()}
        each = [f(row)[0] - f(absent(row, BACKGROUND, names)) for names in parts.values()]
        np.testing.assert_allclose(ex.feature_values[n], np.mean(each, axis=1), atol=2e-6)
        errors = np.std(each, axis=1, ddof=1) / math.sqrt(_count(BACKGROUND))
        np.testing.assert_allclose(ex.feature_errors[n], errors, atol=2e-6)


def test_masks_over_text_and_numbers_score_as_the_file_does(client, models):
    f, x = File(MODELS["forest"][0]), instances(3, 4)
    keep = np.array(list(itertools.product([True, False], repeat=5)))
    method = assay.Rows(keep=keep, features=assay.Elements(), baseline=BACKGROUND)
    ex = client.explain(models["forest"], x, method, target=1, inputs_to_explain=COLUMNS)
    gone = [[c for c, kept in zip(COLUMNS, mask, strict=True) if not kept] for mask in keep]
    want = np.array([f(absent(x, BACKGROUND, names)).mean() for names in gone])
    np.testing.assert_allclose(ex.rows[0].scores, want, atol=2e-6)
    # LIME enumerates the same masks: weighted least squares by hand, all but unpenalised.
    lime = assay.Lime(features=assay.Elements(), baseline=BACKGROUND, alpha=1e-9)
    got = client.explain(models["forest"], x, lime, target=1, inputs_to_explain=COLUMNS)
    distance = 1 - np.sqrt(keep.mean(axis=1))
    root = np.exp(-(distance**2) / (4 * 0.25**2))[:, None]
    design = np.concatenate([np.ones((32, 1)), keep], axis=1) * root
    fit = np.linalg.lstsq(design, want * root[:, 0], rcond=None)[0]
    np.testing.assert_allclose(got.feature_values[0], fit[1:], atol=1e-5)


def test_rows_one_by_one_and_in_batches_agree(client, models):
    x = instances(0, 6)
    data, _ = MODELS["forest"]
    method = assay.Occlusion(features=assay.Elements(), baseline=BACKGROUND)
    together = client.explain(models["forest"], x, method, target=1, inputs_to_explain=COLUMNS)
    alone = [
        client.explain(
            models["forest"], {k: v[n : n + 1] for k, v in x.items()}, method, target=1, inputs_to_explain=COLUMNS
        ).feature_values[0]
        for n in range(6)
    ]
    np.testing.assert_allclose(together.feature_values, alone, atol=2e-6)
    want = [File(data)({k: v[n : n + 1] for k, v in x.items()})[0] for n in range(6)]
    np.testing.assert_allclose(together.scores, want, atol=1e-6)


def test_text_needs_a_baseline_and_is_told_so(client, models):
    with pytest.raises(assay.InvalidArgument, match=r"'city' holds text.*STRING tensor of shape \[1\]") as got:
        client.explain(
            models["logistic"], instances(0, 1), assay.Rows(np.ones((1, 5)), assay.Elements()), 1,
            inputs_to_explain=COLUMNS,
        )  # fmt: skip
    assert got.value.violations[0][0] == "rows.baseline"
    base = {"city": np.array(["Paris"]), "job": np.array(["nurse"])}
    ex = client.explain(
        models["logistic"],
        instances(0, 1),
        assay.Occlusion(features=assay.Elements(), baseline=base),
        1,
        inputs_to_explain=["job", "city"],
    )
    assert [f.name for f in ex.features] == ["city", "job"]
    equal = [n for n, value in base.items() if instances(0, 1)[n][0, 0] == value[0]]
    assert bool(ex.warnings) == bool(equal)


@pytest.mark.parametrize("kind", [assay.QuartileTable, assay.GaussianTable])
def test_a_table_says_which_inputs_are_explained_and_how_often_each_level_comes(client, models, kind):
    f, x = File(MODELS["logistic"][0]), instances(5, 6)
    table = kind.fit(TRAIN, categorical=["age"])
    ex = client.explain(models["logistic"], x, assay.Lime(sampling=table), target=1, return_rows=True)
    assert [feature.name for feature in ex.features] == COLUMNS
    samples, scores = ex.rows[0].samples, ex.rows[0].scores
    assert samples["age"].dtype == np.int64
    for name in ("city", "job"):
        known, counts = np.unique(TRAIN[name], return_counts=True)
        assert samples[name][0, 0] == x[name][0, 0]
        for level, share in zip(known, counts / ROWS, strict=True):
            assert abs((samples[name] == level).mean() - share) < 4 * math.sqrt(share * (1 - share) / 5000)
    np.testing.assert_allclose(scores[:50], f({name: rows[:50] for name, rows in samples.items()}), atol=2e-6)
    again = client.explain(models["logistic"], x, assay.Lime(sampling=table, samples=dict(samples)), target=1)
    np.testing.assert_allclose(again.feature_values, ex.feature_values, rtol=1e-6)


def test_a_table_of_some_columns_leaves_the_others_at_x(client, models):
    x = instances(5, 6)
    table = assay.QuartileTable.fit({"city": TRAIN["city"], "debt": TRAIN["debt"]})
    ex = client.explain(models["logistic"], x, assay.Lime(sampling=table, num_samples=100), target=1, return_rows=True)
    assert [feature.name for feature in ex.features] == ["debt", "city"]
    assert set(ex.rows[0].samples) == {"debt", "city"}
    want = File(MODELS["logistic"][0])({n: ex.rows[0].samples.get(n, np.repeat(x[n], 100, axis=0)) for n in x})
    np.testing.assert_allclose(ex.rows[0].scores, want, atol=2e-6)
    with pytest.raises(assay.InvalidArgument, match="'street' is not explained") as got:
        client.explain(
            models["logistic"], x, assay.Lime(sampling=assay.QuartileTable.fit({"street": TRAIN["debt"]})), 1
        )
    assert got.value.violations[0][0] == "lime.sampling.quartile.columns[0].input"


WORDS = np.stack([TRAIN["city"], TRAIN["job"]], axis=1)


def test_levels_of_text_explain_as_the_same_levels_in_codes_do(client):
    known = [np.unique(column) for column in WORDS.T]
    codes = np.stack([np.searchsorted(k, column) for k, column in zip(known, WORDS.T, strict=True)], axis=1)
    codes = codes.astype(np.float32)
    data = []
    for kind, shape in ((zoo.FLOAT, ["N", 2]), (zoo.STRING, ["N", 2])):
        b, x = zoo.Builder(3), "x"
        if kind == zoo.STRING:
            columns = [b.op("Gather", "x", b.constant([n]), axis=1) for n in range(2)]
            numbers = [{"keys_strings": k.tolist(), "values_floats": [float(v) for v in range(len(k))]} for k in known]
            pairs = zip(columns, numbers, strict=True)
            x = b.op("Concat", *(b.op("LabelEncoder", c, domain="ai.onnx.ml", **n) for c, n in pairs), axis=1)
        b.linear(b.op("Tanh", b.linear(x, 2, 6)), 6, 1, output="y")
        data.append(b.model({"x": (kind, shape)}, {"y": (zoo.FLOAT, ["N", 1])}, ml=True))
    coded, told = (client.upload_model(d, name=name) for d, name in zip(data, ("coded", "told"), strict=True))
    table = assay.QuartileTable.fit(codes, categorical=[0, 1])
    want = client.explain(coded, codes[:2], assay.Lime(sampling=table))
    got = client.explain(told, WORDS[:2], assay.Lime(sampling=assay.QuartileTable.fit(WORDS)))
    np.testing.assert_allclose(got.feature_values, want.feature_values, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(got.feature_errors, want.feature_errors, rtol=1e-4, atol=1e-7)


def test_text_in_one_input_whose_columns_know_their_own_words_alone(client):
    trees = RandomForestClassifier(8, max_depth=3, random_state=0)
    fitted = Pipeline([("codes", OrdinalEncoder()), ("trees", trees)]).fit(WORDS, YES)
    types = [("words", StringTensorType([None, 2]))]
    data = convert_sklearn(fitted, initial_types=types, target_opset=17).SerializeToString()
    model, f = client.upload_model(data, name="text-matrix"), File(data)
    assert model.batching.mode == "batched"
    method = assay.Lime(sampling=assay.GaussianTable.fit(WORDS), num_samples=60)
    ex = client.explain(model, WORDS[:2], method, 1, return_rows=True)
    np.testing.assert_allclose(ex.rows[1].scores, f(dict(ex.rows[1].samples)), atol=2e-6)


def test_a_model_of_text_that_nothing_is_known_of_is_batched_after_the_first_call(client):
    data = zoo.strings(seed=91)  # bytes that no other test has asked this server about
    model = client.upload_model(data, name="strings-hidden")
    assert model.batching.mode == "row_by_row"
    x, base = np.array([["red", "blue"]]), np.array(["green", "other"])
    method = assay.Occlusion(features=assay.Elements(), baseline=base)
    ex = client.explain(model, x, method, 0, inputs_to_explain=["s"])
    assert client.get_model(model.ref).batching.mode == "batched"
    session = ort.InferenceSession(data, providers=["CPUExecutionProvider"])
    rows = np.array([["red", "blue"], ["green", "blue"], ["red", "other"]], dtype=object)
    scores = [session.run(None, {"s": row[None]})[0][0, 0] for row in rows]
    np.testing.assert_allclose(ex.feature_values[0], scores[0] - np.array(scores[1:]), atol=1e-6)


def test_missing_values_go_the_trees_own_way(client):
    data = zoo.boosted()
    f, model = File(data), client.upload_model(data, name="boosted-missing")
    x = np.array([[math.nan, 0.2, -0.4, math.nan], [0.3, math.nan, 1.0, -1.0]], np.float32)
    base = np.array([[0.5, math.nan, 1.0, math.nan], [math.nan, 0.1, 0.2, 0.3]], np.float32)
    keep = np.array(list(itertools.product([True, False], repeat=4)))
    want = np.array(
        [[np.mean([f({"x": np.where(mask, row, b)[None]})[0] for b in base]) for mask in keep] for row in x]
    )
    ex = client.explain(model, x, assay.Rows(keep, assay.Elements(), base))
    np.testing.assert_allclose([r.scores for r in ex.rows], want, atol=1e-6)
    occluded = client.explain(model, x, assay.Occlusion(features=assay.Elements(), baseline=base))
    without_one = [8, 4, 2, 1]  # of the masks
    np.testing.assert_allclose(occluded.feature_values, want[:, :1] - want[:, without_one], atol=1e-6)
    masks = client.explain(model, x, assay.Lime(features=assay.Elements(), baseline=base))
    assert np.isfinite(masks.feature_values).all()
    train = RNG.normal(size=(400, 4)).astype(np.float32)
    train[RNG.random(train.shape) < 0.3] = math.nan
    table = assay.Lime(sampling=assay.QuartileTable.fit(train))
    drawn = client.explain(model, x, table, return_rows=True).rows[0]
    rate = np.isnan(train).mean(axis=0)
    assert np.abs(np.isnan(drawn.samples["x"]).mean(axis=0) - rate).max() < 4 * math.sqrt(0.3 * 0.7 / 5000)
    np.testing.assert_allclose(drawn.scores[:50], f({"x": drawn.samples["x"][:50]}), atol=1e-6)
    with pytest.raises(assay.InvalidArgument) as got:
        client.explain(model, x, assay.Jacobian())
    assert got.value.violations[0][0] == "inputs[x]"


def test_targets_by_label_and_labels_that_are_no_target(client, models):
    x, base = instances(0, 2), {"debt": np.zeros(1, np.float32)}
    method = assay.Occlusion(features=assay.Elements(), baseline=base)

    def explain(name, target):
        return client.explain(models[name], x, method, target, inputs_to_explain=["debt"])

    both = [assay.Target(label="yes"), assay.Target(label="no"), assay.Target(index=1)]
    ex = explain("logistic", both)
    assert [t.label for t in ex.targets[0]] == ["yes", "no", "yes"]
    np.testing.assert_allclose(ex.feature_values[:, 0], -ex.feature_values[:, 1], atol=1e-6)
    np.testing.assert_array_equal(ex.feature_values[:, 0], ex.feature_values[:, 2])
    assert explain("forest", assay.Target(label="7")).targets[0][0].index == (1,)
    with pytest.raises(assay.InvalidArgument, match="no element of 'output_probability' is labelled 'maybe'"):
        explain("logistic", assay.Target(label="maybe"))
    with pytest.raises(assay.FailedPrecondition, match="'output_label' holds no numbers"):
        explain("logistic", assay.Target(output="output_label"))


@pytest.mark.parametrize("scale", ["log", "logit"])
def test_certain_forests_have_finite_logs(client, scale):
    rows = RNG.normal(size=(200, 3)).astype(np.float32)
    forest = RandomForestClassifier(12, random_state=0).fit(rows, rows[:, 0] > 0)
    data = convert_sklearn(forest, initial_types=[("x", FloatTensorType([None, 3]))], target_opset=17)
    f, model = File(data.SerializeToString()), client.upload_model(data.SerializeToString(), name="certain")
    x = rows[:8]
    ex = client.explain(model, x, assay.Occlusion(features=assay.Elements()), assay.Target(index=1, scale=scale))
    p = f({"x": x})
    assert {0.0, 1.0} <= {round(v, 6) for v in p}
    assert np.isfinite(ex.scores).all()
    assert np.isfinite(ex.feature_values).all()
    inner = (p > 1e-3) & (p < 1 - 1e-3)
    want = np.log(p[inner]) if scale == "log" else np.log(p[inner] / (1 - p[inner]))
    np.testing.assert_allclose(ex.scores[inner], want, rtol=1e-5)
