"""What good callers ask, again and again: every method, of models of several kinds."""

import numpy as np

import assay
from tests.models import zoo

_RANDOM = np.random.default_rng(0)
_X = _RANDOM.standard_normal((2, 8)).astype(np.float32)
_IMAGE = _RANDOM.standard_normal((1, 3, 8, 8)).astype(np.float32)
_TABLE = _RANDOM.standard_normal((60, 8)).astype(np.float32)
_IDS = np.arange(8, dtype=np.int64)[None]
_ELEMENTS = assay.Elements()
_SAME_BITS = dict(reproducible=True, timeout=120)
_PLAIN = dict(timeout=120)

MODELS = {"mlp": zoo.mlp(), "cnn": zoo.cnn(), "tokens": zoo.tokens(), "forest": zoo.forest(zipmap=False)}

_EXPLAINED = {
    "occlusion, windows": ("cnn", _IMAGE, assay.Occlusion(window=(4, 4), stride=(2, 2)), dict(layout="NCHW", target=1)),
    "occlusion, elements": ("mlp", _X, assay.Occlusion(features=_ELEMENTS), dict(target=1)),
    "occlusion, superpixels": ("cnn", _IMAGE, assay.Occlusion(features=assay.Superpixels(6)), dict(layout="NCHW")),
    "occlusion, tokens": ("tokens", _IDS, assay.Occlusion(window=(2,)), dict(target=0)),
    "lime, masks": ("mlp", _X, assay.Lime(num_samples=200, features=_ELEMENTS), dict(keys=["a", "b"], target=[0, 2])),
    "lime, grid": ("cnn", _IMAGE, assay.Lime(num_samples=100, features=assay.Grid(2, 4)), dict(layout="NCHW")),
    "lime, table": ("mlp", _X, assay.Lime(num_samples=300, sampling=assay.GaussianTable.fit(_TABLE)), dict(target=0)),
    "lime, lasso": ("mlp", _X, assay.Lime(num_samples=200, features=_ELEMENTS, surrogate="lasso", alpha=0.01), {}),
    "jacobian": ("mlp", _X, assay.Jacobian(), {}),
    "jacobian, richardson": ("mlp", _X, assay.Jacobian(scheme="richardson", step=0.05), {}),
    "rows": ("mlp", _X, assay.Rows(keep=_RANDOM.random((40, 8)) < 0.5, features=_ELEMENTS), dict(target=2)),
    "forest": ("forest", _X[:, :5], assay.Occlusion(features=_ELEMENTS), dict(target=assay.Target("probabilities", 0))),
}
"""Model, inputs, method, settings."""


def _numbers(answer):
    """Everything numeric that was answered, in a fixed order. answer: of any call."""
    if isinstance(answer, assay.Explanation):
        return [array for instance in answer.instances for array in _numbers(instance)]
    if isinstance(answer, assay.Instance):
        i = answer
        told = dict(v=i.feature_values, e=i.feature_errors, s=i.scores, b=i.baseline_scores, r=i.rows and i.rows.scores)
        answer = told | {"maps": i.attributions, "j": i.jacobian, "je": i.jacobian_errors}
    if isinstance(answer, dict):
        return [array for _, held in sorted(answer.items()) for array in _numbers(held)]
    return [] if answer is None else [np.asarray(answer)]


def explained(name, **more):
    """A question of `_EXPLAINED`, as a function of a client."""
    model, x, method, settings = _EXPLAINED[name]
    return lambda client: _numbers(client.explain(model, x, method, **settings, **more))


def _streamed(client):
    *_, whole = client.explain_stream("mlp", _X, assay.Occlusion(features=_ELEMENTS), target=1, **_SAME_BITS)
    return _numbers(whole)


def _data_set(client):
    parts = [assay.Part(_X), assay.Part(_X[:1]), assay.Part(-_X)]
    events = client.explain_many("mlp", parts, assay.Occlusion(features=_ELEMENTS), target=1, **_SAME_BITS)
    found = sorted((e for e in events if isinstance(e, assay.Instance)), key=lambda instance: instance.position)
    return [array for instance in found for array in _numbers(instance)]


def _predicted(client):
    return _numbers(client.predict("mlp", _X, timeout=120))


SAME_BITS = {name: explained(name, **_SAME_BITS) for name in _EXPLAINED} | {"stream": _streamed, "parts": _data_set}
"""Questions whose answers must not differ in a bit, whatever the company."""

SAME_NUMBERS = {
    f"{name}, in company": explained(name, **_PLAIN) for name in ("occlusion, windows", "lime, masks", "lime, table")
} | {"predict": _predicted}
"""Questions whose answers may differ by rounding."""

TOLERANCE = 1e-5
"""Of the largest value."""


def differs(got, want, *, tolerance):
    """In what an answer isn't the first one, in words; "" where it is. tolerance: 0 compares bits."""
    if [(a.dtype, a.shape) for a in got] != [(a.dtype, a.shape) for a in want]:
        return "other shapes"
    for one, other in zip(got, want, strict=True):
        if not tolerance:
            if one.tobytes() != other.tobytes():
                return "other bits"
        elif not np.allclose(one, other, rtol=0, atol=tolerance * max(1e-30, np.abs(other).max()), equal_nan=True):
            return f"off by {np.abs(one - other).max():g}"
    return ""
