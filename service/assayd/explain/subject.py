"""Builds the subjects of instances: layouts, features, baselines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from hashlib import sha256
from weakref import WeakKeyDictionary

import numpy as np

from assayd.errors import InvalidRequest, within
from assayd.explain.request import ExplainRequest
from assayd.features.align import align
from assayd.features.baselines import baseline_of
from assayd.features.segments import looks_at_numbers, segments_of
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


class Subjects:
    """The subjects of a request's instances. They differ by their numbers alone: all else is found once."""

    def __init__(self, request: ExplainRequest, explained: tuple[str, ...], cut: Cut = segments_of) -> None:
        self._request = request
        self._explained = explained
        self._cut = cut
        self._cut_alike: Segments | None = None
        self._baselines_alike: dict[str, Array] | None = None

    def of(self, position: int) -> Subject:
        """The subject of one instance. Raises InvalidRequest and InvalidTensor with the request's field."""
        request = self._request
        # The ellipsis keeps an instance without axes an array: of text it would be a str.
        inputs: dict[str, Array] = {name: x[position, ...] for name, x in request.inputs.items()}
        chosen = {name: inputs[name] for name in self._explained}
        spatial, channel = self._axes
        scale: dict[str, Array] = {}
        if differentiates(request.method):
            with within(request.method_name):
                scale = request.method.nudge_scale(chosen)
        segments = self._segments(chosen)
        baselines = self._baselines(chosen, segments)
        key = request.keys[position] if request.keys else ""
        about = (inputs, baselines, segments, spatial, channel, scale)
        return Subject(*about, stream_key(request.seed, key), keyed=bool(key))

    @cached_property
    def _axes(self) -> tuple[dict[str, tuple[int, ...] | None], dict[str, int | None]]:
        """Spatial ones and channels."""
        found = {name: axes_of(self._request, name, self._request.inputs[name].ndim - 1) for name in self._explained}
        return {name: spatial for name, (spatial, _) in found.items()}, {
            n: channel for n, (_, channel) in found.items()
        }

    def _segments(self, chosen: Mapping[str, Array]) -> Segments | None:
        method = self._request.method
        features = method.features or (Elements() if differentiates(method) else None)
        if features is None or self._cut_alike is not None:
            return self._cut_alike
        names = _feature_names(self._request, self._explained)
        with within(f"{self._request.method_name}.features"):
            segments = self._cut(features, chosen, *self._axes, names, self._request.spec.groups)
        if not looks_at_numbers(features):
            self._cut_alike = segments
        return segments

    def _baselines(self, chosen: Mapping[str, Array], segments: Segments | None) -> dict[str, Array]:
        if self._baselines_alike is not None:
            return self._baselines_alike
        request, found, alike = self._request, dict[str, Array](), True
        # Nudges and the columns of a table take no baseline's place.
        if differentiates(request.method) or table_of(request.method) is not None:
            self._baselines_alike = {name: np.empty((0, *x.shape), x.dtype) for name, x in chosen.items()}
            return self._baselines_alike
        spatial, channel = self._axes
        for name, x in chosen.items():
            asked = request.method.baseline.get(name)
            spec = asked or request.spec.inputs.get(name, InputFacts()).baseline or Constant(0.0)
            alike &= isinstance(spec, Constant | Given)
            ids = None if segments is None else segments.ids[name]
            if x.dtype == object and isinstance(spec, Constant) and ids is not None and not (ids >= 0).any():
                spec, alike = Given(x), False  # no feature touches it
            if x.dtype == object and isinstance(spec, Constant):
                raise InvalidRequest(
                    f"input {name!r} holds text, for which no number can stand: give it a baseline of its own, a STRING"
                    f" tensor of shape {list(x.shape)}, or [K, ...] for a background set",
                    field=f"{request.method_name}.baseline",
                )
            with within(f"{request.method_name}.baseline"):
                found[name] = baseline_of(spec, x, spatial[name], channel[name], ids)
        with within(request.method_name):
            aligned = align(found)
        self._baselines_alike = aligned if alike else None
        return aligned


def stream_key(seed: int, key: str) -> int:
    """128 bits that key an instance's random draws: by the request's seed and the instance's key, by nothing else."""
    return int.from_bytes(sha256(f"assay.stream/1 {seed} {key}".encode()).digest()[:16], "little")
