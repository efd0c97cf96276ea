"""One mutated model against a server: uploaded, asked as far as it goes, deleted; and what was heard of each step."""

import time
from dataclasses import dataclass

import numpy as np

import assay
from tests.robustness.outcomes import said

ALLOWED = {"OK", "INVALID_ARGUMENT", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "FAILED_PRECONDITION"}
"""Codes that who sends such a model may hear. Never UNAVAILABLE, or clients would send it again."""

UPLOAD_S, ASK_S = 20.0, 3.0
"""Patience."""
_WILD = 1e7
"""Times the ordinary input: models that do harm do it for such."""
_MOST_ELEMENTS, _MOST_EXPLAINED = 1_000_000, 300


@dataclass(frozen=True)
class Step:
    """what: "OK", or code and reason. words: of an error."""

    name: str
    what: str
    words: str
    seconds: float

    @property
    def wrong(self):
        return self.what.partition(" ")[0] not in ALLOWED


def attempt(client, data, name):
    """The steps that were taken, in order."""
    steps, model = _step("upload", lambda: client.upload_model(data, name=name, timeout=UPLOAD_S))
    if model is None:
        return steps
    x = _inputs(model)
    if x is not None:
        wild = {name: _wild(array) for name, array in x.items()}
        steps += _step("predict", lambda: client.predict(model, x, timeout=ASK_S))[0]
        steps += _step("predict, wild", lambda: client.predict(model, wild, timeout=ASK_S))[0]
        if sum(array.size for array in x.values()) <= _MOST_EXPLAINED:
            method = assay.Occlusion(features=assay.Elements())
            output = next((info.name for info in model.outputs if info.dtype.startswith("float")), None)
            target = assay.Target(output, top_rank=1)
            steps += _step("explain", lambda: client.explain(model, x, method, target, timeout=ASK_S))[0]
    return steps + _step("delete", lambda: client.delete_model(model))[0]


def _step(name, call):
    began = time.monotonic()
    try:
        answer, what, words = call(), "OK", ""
    except assay.AssayError as error:
        answer, what, words = None, said(error), str(error)
    return [Step(name, what, words, time.monotonic() - began)], answer


def _inputs(model):
    """Two instances, all free extents 3; None where they would be too large."""
    random = np.random.default_rng(0)
    made = {}
    for info in model.inputs:
        shape = (2, *(3 if extent < 0 else extent for extent in info.shape))
        if np.prod(np.asarray(shape, float)) > _MOST_ELEMENTS:
            return None
        if info.dtype == "str":
            made[info.name] = np.full(shape, "red", dtype=object)
        elif info.dtype.startswith(("int", "uint", "bool")):
            made[info.name] = np.ones(shape, info.dtype)
        else:
            made[info.name] = random.standard_normal(shape).astype(info.dtype)
    return made


def _wild(array):
    if array.dtype.kind != "f":
        return array
    with np.errstate(all="ignore"):  # infinity, for halves
        return np.abs(array) * array.dtype.type(_WILD)
