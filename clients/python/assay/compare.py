"""Two models asked the same: how far their scores and their reasons differ, instance by instance."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from assay.data.arrays import ArrayData
from assay.data.parts import Part
from assay.errors import invalid
from assay.explanation import Instance, ResolvedTarget
from assay.methods import Method
from assay.models import Model
from assay.targets import Targets, has_target_axis

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from assay.client import Client
    from assay.requests import Settings

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Mean:
    """A mean over instances with its standard error, NaN for a single one."""

    value: float
    error: float


@dataclass(frozen=True)
class FeatureChange:
    """One feature: its mean value in both models, and the mean of the paired difference b - a."""

    name: str
    a: float
    b: float
    difference: Mean


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two models on the same n instances, explained with the same seed and keys.

    Only instances that both models explained, at the same target and with finite values, are among the n. Targets are
    the same where their labels are, or without labels their places in the output.

    Attributes:
        a, b: the models.
        k: how many reasons count.
        instances: how many there were, n and the others.
        failed: how many of them failed, or have values that aren't finite, in either model.
        other_target: how many of them the models have different targets for, such as another top class.
        names: key or position of each of the n.
        scores_a, scores_b: f(x) by each model, float64 [n].
        values_a, values_b: feature values, float64 [n, F].
        features: the F features, in their order.
        changed: bool [n]: whether the k features of largest |value| are others; their order doesn't matter.
        rank_correlations: float64 [n]: Spearman's, between the signed feature values; NaN where all of one are equal.
    """

    a: Model
    b: Model
    k: int
    instances: int
    failed: int
    other_target: int
    names: tuple[str | int, ...]
    scores_a: Floats
    scores_b: Floats
    values_a: Floats
    values_b: Floats
    features: tuple[FeatureChange, ...]
    changed: NDArray[np.bool_]
    rank_correlations: Floats

    @property
    def score_difference(self) -> Mean:
        """Mean of f_b(x) - f_a(x)."""
        return _mean(self.scores_b - self.scores_a)

    @property
    def largest_score_difference(self) -> float:
        """Largest |f_b(x) - f_a(x)|."""
        return float(np.abs(self.scores_b - self.scores_a).max(initial=0.0))

    @property
    def rank_correlation(self) -> float:
        """Mean of the rank correlations; NaN where there is none."""
        known = self.rank_correlations[~np.isnan(self.rank_correlations)]
        return float(known.mean()) if known.size else math.nan


def compare(
    client: Client,
    a: Model | str,
    b: Model | str,
    data: Mapping[str, ArrayLike] | Iterable[Part],
    method: Method,
    target: Targets = None,
    *,
    k: int = 3,
    timeout: float | None = None,
    **settings: Unpack[Settings],
) -> Comparison:
    """Explains the same instances by two models, and says how far scores and reasons differ.

    data: {input name: array [B, *input]}, or parts, which are gone through twice: a list or a `Dataset`. method: one
    with feature values, `Occlusion` or `Lime`. target: one target; None is the top score of each model. keys, of
    mappings alone: one for each instance. k: how many reasons count. timeout: seconds for each model. The other
    settings are those of `Client.explain_many`; an instance that fails is left out.

    Raises `InvalidArgument` where the models have different features, or there is nothing to pair.
    """
    if has_target_axis(target):
        raise invalid("target", "one target is compared at a time")
    if k < 1:
        raise invalid("k", f"{k} reasons can't change, 1 is the least")
    keys = settings.pop("keys", None)
    if isinstance(data, Mapping):
        data = ArrayData({name: np.asarray(array) for name, array in data.items()}, keys)
    elif keys is not None or iter(data) is data:
        raise invalid("data", "parts hold their keys, and are gone through twice: give a list of them")
    models = [m if isinstance(m, Model) else client.get_model(m) for m in (a, b)]
    runs = [
        {
            event.position: event
            for event in client.explain_many(m, iter(data), method, target, timeout=timeout, **settings)
            if isinstance(event, Instance)
        }
        for m in models
    ]
    return _compared(models, runs, k)


def _compared(models: Sequence[Model], runs: Sequence[Mapping[int, Instance]], k: int) -> Comparison:
    places = sorted(runs[0].keys() | runs[1].keys())
    pairs, failed, other = [], 0, 0
    for one, two in ((runs[0].get(place), runs[1].get(place)) for place in places):
        if one is None or two is None or not (_is_finite(one) and _is_finite(two)):
            failed += 1
        elif not _same_target(one, two):
            other += 1
        else:
            pairs.append((one, two))
    if not pairs:
        said = f"of {len(places)} instances {failed} failed and {other} had other targets"
        raise invalid("data", f"nothing to compare: {said}")
    values = [np.stack(list(_values(column))) for column in zip(*pairs, strict=True)]
    if values[0].shape != values[1].shape:
        raise invalid(
            "method", f"the models have {values[0].shape[1]} and {values[1].shape[1]} features: no two belong together"
        )
    first = pairs[0][0]
    features = tuple(
        FeatureChange(first.feature_name(f), float(x.mean()), float(y.mean()), _mean(y - x))
        for f, (x, y) in enumerate(zip(*(v.T for v in values), strict=True))
    )
    return Comparison(
        a=models[0],
        b=models[1],
        k=k,
        instances=len(places),
        failed=failed,
        other_target=other,
        names=tuple(one.key or one.position for one, _ in pairs),
        scores_a=_scores(one for one, _ in pairs),
        scores_b=_scores(two for _, two in pairs),
        values_a=values[0],
        values_b=values[1],
        features=features,
        changed=np.array([_top(one, k) != _top(two, k) for one, two in pairs]),
        rank_correlations=np.array([_spearman(x, y) for x, y in zip(*values, strict=True)]),
    )


def _values(instances: Iterable[Instance]) -> Iterator[Floats]:
    count = None
    for instance in instances:
        values = instance.feature_values
        if values is None or values.ndim != 1:
            raise invalid("method", "there are no feature values to compare: use occlusion or LIME")
        if count not in (None, len(values)):
            raise invalid("method", f"instances have {count} and {len(values)} features: no two belong together")
        count = len(values)
        yield values.astype(np.float64)


def _is_finite(instance: Instance) -> bool:
    values = instance.feature_values
    return instance.status is None and (values is None or bool(np.isfinite(values).all()))


def _same_target(one: Instance, two: Instance) -> bool:
    """Whether both were asked of the same class, whatever the models call their outputs and how they order them."""

    def same(a: ResolvedTarget, b: ResolvedTarget) -> bool:
        where = a.label == b.label if a.label and b.label else a.index == b.index
        return where and (a.weights_digest, a.scale) == (b.weights_digest, b.scale)

    return len(one.targets) == len(two.targets) and all(map(same, one.targets, two.targets))


def _scores(instances: Iterable[Instance]) -> Floats:
    return np.array([float(np.ravel(i.scores)[0]) if i.scores is not None else math.nan for i in instances])


def _top(instance: Instance, k: int) -> set[int]:
    return {reason.feature for reason in instance.top_reasons(k)}


def _mean(values: Floats) -> Mean:
    error = float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan
    return Mean(float(values.mean()), error)


def _spearman(a: Floats, b: Floats) -> float:
    x, y = (_ranks(v) - (len(v) + 1) / 2 for v in (a, b))
    size = math.sqrt(float(x @ x) * float(y @ y))
    return float(x @ y) / size if size else math.nan


def _ranks(values: Floats) -> Floats:
    """From 1; equal values share the mean of their ranks."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    means: Floats = (np.cumsum(counts) - (counts - 1) / 2)[place.ravel()]
    return means
