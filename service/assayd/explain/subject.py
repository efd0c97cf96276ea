"""Builds the subject of one instance: layouts, features, baselines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from hashlib import sha256
from weakref import WeakKeyDictionary

import numpy as np

from assayd.errors import InvalidRequest, within
from assayd.explain.request import ExplainRequest
from assayd.features.align import align
from assayd.features.baselines import baseline_of
from assayd.features.segments import segments_of
from assayd.types.arrays import Array
from assayd.types.method import Method, differentiates
from assayd.types.model import LAYOUTS, InputFacts
from assayd.types.request import Constant, Elements, Given
from assayd.types.statistics import QuartileTable, table_of, with_names
from assayd.types.subject import Segments, Subject

Cut = Callable[..., Segments]
"""`segments_of`, or what remembers what that found."""


def axes_of(request: ExplainRequest, name: str, rank: int) -> tuple[tuple[int, ...] | None, int | None]:
    """Spatial axes and channel axis of an input's instances, by the request's layout or the spec's; None if unknown.

    Raises InvalidRequest naming `layouts` where the layout doesn't fit the rank.
    """
    layout = request.layouts.get(name) or request.spec.inputs.get(name, InputFacts()).layout
    if layout is None:
        return None, None
    letters = LAYOUTS[layout]
    if len(letters) != rank:
        raise InvalidRequest(
            f"layout {layout} has {len(letters)} axes beside the batch, and an instance of {name!r} has {rank}",
            field="layouts",
        )
    spatial = tuple(axis for axis, letter in enumerate(letters) if letter != "C")
    return spatial, letters.find("C") if "C" in letters else None


def check_names(request: ExplainRequest, explained: tuple[str, ...]) -> None:
    """Entries by input must mean explained inputs. Raises InvalidRequest naming the parameter."""
    for field, parameter in (
        ("layouts", request.layouts),
        (f"{request.method_name}.baseline", request.method.baseline),
    ):
        for name in parameter.values:
            if name and name not in explained:
                raise InvalidRequest(
                    f"{name[:80]!r} isn't among the explained inputs {list(explained)}: name it in inputs_to_explain",
                    field=field,
                )


_named: WeakKeyDictionary[Method, tuple[tuple[tuple[str, ...], dict[str, tuple[str, ...]]], Method]] = (
    WeakKeyDictionary()
)
"""A method as it was last named: many requests share one."""


def named(request: ExplainRequest, explained: tuple[str, ...]) -> ExplainRequest:
    """The request with the features' names on the columns of a table's statistics. Raises InvalidRequest."""
    table = table_of(request.method)
    if table is None:
        return request
    names = _feature_names(request, explained)
    known, method = _named.get(request.method, (None, request.method))
    if known != (explained, names):
        kind = "quartile" if isinstance(table, QuartileTable) else "gaussian"
        with within(f"{request.method_name}.sampling.{kind}"):
            table = with_names(table, explained, names)
        method = replace(request.method, sampling=table)  # type: ignore[type-var]
        _named[request.method] = (explained, names), method
    return replace(request, method=method)


def _feature_names(request: ExplainRequest, explained: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """By input, one name an element: the spec's, or the input's own where it is a column by itself; else absent."""
    names = {name: facts.feature_names for name, facts in request.spec.inputs.items() if facts.feature_names}
    columns = (name for name in explained if request.inputs[name][0, ...].size == 1)
    return {name: (name,) for name in columns} | names


def build_subject(
    request: ExplainRequest, explained: tuple[str, ...], position: int, cut_features: Cut = segments_of
) -> Subject:
    """The subject of one instance. Raises InvalidRequest and InvalidTensor with the request's field."""
    # The ellipsis keeps an instance without axes an array: of text it would be a str.
    inputs: dict[str, Array] = {name: x[position, ...] for name, x in request.inputs.items()}
    chosen = {name: inputs[name] for name in explained}
    spatial, channel = {}, {}
    for name, x in chosen.items():
        spatial[name], channel[name] = axes_of(request, name, x.ndim)
    method, scale = request.method_name, {}
    segments: Segments | None = None
    cut = request.method.features
    if differentiates(request.method):
        cut = cut or Elements()
        with within(method):
            scale = request.method.nudge_scale(chosen)
    if cut is not None:
        names = _feature_names(request, explained)
        with within(f"{method}.features"):
            segments = cut_features(cut, chosen, spatial, channel, names, request.spec.groups)
    baselines = _baselines(request, chosen, spatial, channel, segments)
    key = request.keys[position] if request.keys else ""
    about = (inputs, baselines, segments, spatial, channel, scale)
    return Subject(*about, stream_key(request.seed, key), keyed=bool(key))


def stream_key(seed: int, key: str) -> int:
    """128 bits that key an instance's random draws: by the request's seed and the instance's key, by nothing else."""
    return int.from_bytes(sha256(f"assay.stream/1 {seed} {key}".encode()).digest()[:16], "little")


def _baselines(
    request: ExplainRequest,
    chosen: Mapping[str, Array],
    spatial: Mapping[str, tuple[int, ...] | None],
    channel: Mapping[str, int | None],
    segments: Segments | None,
) -> dict[str, Array]:
    found: dict[str, Array] = {}
    # Nudges and the columns of a table take no baseline's place.
    if differentiates(request.method) or table_of(request.method) is not None:
        return {name: np.empty((0, *x.shape), x.dtype) for name, x in chosen.items()}
    for name, x in chosen.items():
        asked = request.method.baseline.get(name)
        spec = asked or request.spec.inputs.get(name, InputFacts()).baseline or Constant(0.0)
        ids = None if segments is None else segments.ids[name]
        if x.dtype == object and isinstance(spec, Constant) and ids is not None and not (ids >= 0).any():
            spec = Given(x)  # no feature touches it
        if x.dtype == object and isinstance(spec, Constant):
            raise InvalidRequest(
                f"input {name!r} holds text, for which no number can stand: give it a baseline of its own, a STRING"
                f" tensor of shape {list(x.shape)}, or [K, ...] for a background set",
                field=f"{request.method_name}.baseline",
            )
        with within(f"{request.method_name}.baseline"):
            found[name] = baseline_of(spec, x, spatial[name], channel[name], ids)
    with within(request.method_name):
        return align(found)
