"""What comes back: explanations, of one instance and of a request."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from assay.derivatives import derivatives
from assay.errors import AssayError, invalid
from assay.models import Model
from assay.names import Feature, WindowGrid, feature_name
from assay.reasons import Direction, Reason, rank_reasons
from assay.tensors import Array

T = TypeVar("T")

FEATURES = "features"
"""Stands for the input in `jacobian[output]` where it was taken over features, which may span inputs."""


@dataclass(frozen=True)
class ResolvedTarget:
    """A target after defaults, labels and ranks were decided.

    Attributes:
        output: output name.
        index: position in one instance's output; () for weights and for a scalar output.
        label: class label of that element, or "".
        top_rank: the rank it was found by, or None.
        weights_digest: digest of the weights, or "".
        scale: "raw", "logit" or "log".
    """

    output: str
    index: tuple[int, ...] = ()
    label: str = ""
    top_rank: int | None = None
    weights_digest: str = ""
    scale: str = "raw"

    def __str__(self) -> str:
        where = f"[{', '.join(map(str, self.index))}]" if self.index else "·weights" if self.weights_digest else ""
        score = f"{self.output}{where}"
        if self.scale not in ("raw", ""):
            score = f"{self.scale}({score})"
        return f"{score} {self.label!r}" if self.label else score


@dataclass(frozen=True)
class ResultWarning:
    """Something the reader of the numbers should know.

    code: such as "row_by_row". message: in words. instance: position of the one it is about, None for all.
    """

    code: str
    message: str
    instance: int | None = None


@dataclass(frozen=True, eq=False)
class RowScores:
    """The n perturbed copies of an instance and their scores, in the order they were drawn or planned; read-only.

    What the copies are stands in `keep` (masks), `samples` (tables) or `features` and `steps` (nudges); in none of them
    where copy n is simply feature n at its baseline (occlusion). `Lime(samples=rows.keep)` of masks and
    `Lime(samples=rows.samples)` of a table explain by the same copies again.

    Attributes:
        keep: bool or floating [n, F]: 1 where the copy has the feature, 0 where its baseline; None where the copies are
            no masks, or the caller sent them.
        scores: floating [n], or [T, n] for a list of targets: each the mean over the baselines.
        samples: input -> [n, *input] in the input's dtype: whole perturbed inputs; {} where the copies are no rows of a
            table.
        features: int32 [n]: the feature that a copy moves (Jacobians), or None.
        steps: float64 [n]: how far it moves each element of the feature, in units of the element's scale, or None.
    """

    keep: Array | None
    scores: Array | None
    samples: dict[str, Array] = field(default_factory=dict)
    features: Array | None = None
    steps: Array | None = None


@dataclass(frozen=True, eq=False)
class Diagnostics:
    """How an instance was computed.

    Attributes:
        alone_difference: largest |f(x alone) - f(x in a batch)| as a share of max|f|; None when rows ran one by one.
        intercept: LIME: the surrogate's, () or [T] for a list of targets; else None.
        r_squared: LIME: weighted R^2 of the fit, likewise.
        rows_asked: rows the method asked for.
        rows_run: rows the model ran.
    """

    alone_difference: float | None = None
    intercept: Array | None = None
    r_squared: Array | None = None
    rows_asked: int = 0
    rows_run: int = 0


@dataclass(frozen=True)
class Usage:
    """What a request used. Seconds are those of its stages; a shared batch counts for everyone in it."""

    rows_asked: int = 0
    rows_run: int = 0
    batches: int = 0
    shared_batches: int = 0
    plan_seconds: float = 0.0
    queue_seconds: float = 0.0
    compute_seconds: float = 0.0
    reduce_seconds: float = 0.0


@dataclass(frozen=True)
class Record:
    """What is needed to run the explanation again. json: canonical JSON (RFC 8785), whose sha256 is `digest`."""

    json: bytes
    digest: str

    def load(self) -> Any:
        """The record as Python values."""
        return json.loads(self.json)


@dataclass(frozen=True)
class Estimate:
    """What a request that was only validated would cost: rows, and seconds of device time where a rate is known."""

    rows: int
    device_seconds: float | None = None


@dataclass(frozen=True)
class Progress:
    """How far a request is. rows_planned may still grow."""

    rows_done: int
    rows_planned: int
    instances_done: int
    instances: int


@dataclass(frozen=True, eq=False)
class Instance:
    """The explanation of one instance; read-only arrays.

    In the shapes, T stands only where a list of targets was asked for.

    Attributes:
        position: its place in the request.
        key: its key, or "".
        status: why it has no result, or None.
        targets: what was explained, always one a target.
        scores: f(x), () or [T].
        baseline_scores: f(baseline), [K] or [T, K]; None where the method has no baseline.
        feature_values: [F] or [T, F], or None.
        feature_errors: the same shape; None where the method is exact given its rows, or where `errors_unknown`.
        features: names of the features; () for windows and elements without names.
        windows: where the features are windows, their grids.
        attributions: input -> element map [*input] or [T, *input], by broadcasting.
        errors: input -> the same shape, or None where exact or `errors_unknown`.
        jacobian: output -> input -> [*output, *input]; over features the only key is `explanation.FEATURES`, [*output,
            F].
        jacobian_errors: likewise, None without an error estimate.
        errors_unknown: whether the numbers have errors that nobody estimated, so that no error stands for no
            exactness: those of lasso and tree without bootstrap, and of a Jacobian without error_estimate.
        rows: the perturbed copies and their scores, or None.
        diagnostics: how it was computed.
        warnings: what to know about it.
        completion: "full", or "partial" where the budget ended first.
        record: what is needed to run it again, or None where it failed.
    """

    position: int
    key: str = ""
    status: AssayError | None = None
    targets: tuple[ResolvedTarget, ...] = ()
    scores: Array | None = None
    baseline_scores: Array | None = None
    feature_values: Array | None = None
    feature_errors: Array | None = None
    features: tuple[Feature, ...] = ()
    windows: tuple[WindowGrid, ...] = ()
    attributions: dict[str, Array] = field(default_factory=dict)
    errors: dict[str, Array | None] = field(default_factory=dict)
    jacobian: dict[str, dict[str, Array]] = field(default_factory=dict)
    jacobian_errors: dict[str, dict[str, Array | None]] = field(default_factory=dict)
    errors_unknown: bool = False
    rows: RowScores | None = None
    diagnostics: Diagnostics = Diagnostics()
    warnings: tuple[ResultWarning, ...] = ()
    completion: str = "full"
    record: Record | None = None

    def feature_name(self, feature: int) -> str:
        """What to call a feature, by its number: its name, image[8:16,0:8] for a window, x[3] for an element."""
        if self.feature_values is None:
            return feature_name(feature, self.features, (), {}, 0)
        extra = self.feature_values.ndim - 1  # an axis of targets stands in front of every array
        shapes = {name: values.shape[extra:] for name, values in self.attributions.items()}
        return feature_name(feature, self.features, self.windows, shapes, self.feature_values.shape[-1])

    def top_reasons(
        self, k: int = 5, direction: Direction = "both", target: int = 0, *, x: ArrayLike | None = None
    ) -> list[Reason]:
        """The features that matter most to the score, the largest first, and whether their order can be trusted.

        Of neighbours that differ by less than their errors allow the first is `tied`, and so is everyone where
        `errors_unknown`: see `Reason`. Features that add nothing, or aren't finite, are no reasons, so there may be
        fewer than k.

        direction: "for" names those that raise the score, "against" those that lower it, "both" either by size.
        target: which of a list of targets. Of a Jacobian: the element, by row-major index over all its outputs, whose
            derivatives are ranked.
        x: the features' own values in this instance, to stand beside them in the text: F numbers, such as the row of a
            table explained by its columns.

        Raises the instance's error where it has no result, InvalidArgument for what there is nothing to rank of.
        """
        if self.status is not None:
            raise self.status
        if self.feature_values is not None:
            values, name = np.atleast_2d(self.feature_values), self.feature_name
            errors = None if self.feature_errors is None else np.atleast_2d(self.feature_errors)
        else:
            elements = 0 if self.scores is None else self.scores.size
            table = derivatives(self.jacobian, self.jacobian_errors, self.features, elements, FEATURES)
            values, errors, name = table.values, table.errors, table.name
        if not 0 <= target < len(values):
            raise invalid("target", f"there is no target {target} among {len(values)}")
        own = None if errors is None else errors[target]
        return rank_reasons(values[target], own, name, k, direction, x, errors_known=not self.errors_unknown)

    def __repr__(self) -> str:
        if self.status is not None:
            return f"<Instance {self.position}: {type(self.status).__name__}: {self.status}>"
        return f"<Instance {self.position}: {_targets(self.targets)}{_maps(self.attributions)}>"


@dataclass(eq=False)
class Explanation:
    """The explanations of a request's B instances, stacked.

    In the shapes below T stands only where a list of targets was asked for. Arrays are made when first read, from the
    exact ones in `instances`, and are the caller's own. An instance that failed holds NaN. Where the number of
    features F or baselines K differs between instances (superpixels), the missing ends hold NaN.

    Attributes:
        instances: one `Instance` each, in request order.
        request_id: id in the server's log and record.
        model: the model that was resolved.
        usage: what the request used.
        warnings: what to know about the numbers, about all instances or one.
        completion: "full", or "partial" where the budget ended before everything was computed.
        estimate: only where validate_only was set, and then there is nothing else.
    """

    instances: tuple[Instance, ...]
    request_id: str
    model: Model
    usage: Usage = Usage()
    warnings: tuple[ResultWarning, ...] = ()
    completion: str = "full"
    estimate: Estimate | None = None

    @property
    def records(self) -> tuple[Record | None, ...]:
        """What is needed to run each instance again; None for those that failed."""
        return tuple(i.record for i in self.instances)

    @property
    def record(self) -> Record | None:
        """The record of a request's only instance; None where there are several (see `records`) or it failed."""
        return self.records[0] if len(self.instances) == 1 else None

    @cached_property
    def attributions(self) -> dict[str, Array]:
        """Input -> element maps (B, *input) or (B, T, *input). A Jacobian of one output stands here too."""
        maps = _by_name([i.attributions for i in self.instances])
        if not maps and len(self.jacobian) == 1:
            return dict(next(iter(self.jacobian.values())))
        return {name: array for name, array in maps.items() if array is not None}

    @cached_property
    def errors(self) -> dict[str, Array | None]:
        """Input -> errors of the element maps in their shape; None where they are exact, or where `errors_unknown`."""
        maps = _by_name([i.errors for i in self.instances])
        if not maps and len(self.jacobian_errors) == 1:
            return dict(next(iter(self.jacobian_errors.values())))
        return maps

    @cached_property
    def feature_values(self) -> Array | None:
        """(B, F) or (B, T, F): each feature's own value, never divided among its elements."""
        return _stack([i.feature_values for i in self.instances])

    @cached_property
    def feature_errors(self) -> Array | None:
        """The shape of feature_values; None where the method is exact given its rows, or where `errors_unknown`."""
        return _stack([i.feature_errors for i in self.instances])

    @property
    def errors_unknown(self) -> bool:
        """Whether any instance's numbers have errors that nobody estimated: see `Instance.errors_unknown`."""
        return any(i.errors_unknown for i in self.instances)

    @property
    def features(self) -> tuple[Feature, ...]:
        """Ids and names of the F features; () for windows and elements without names.

        Where instances are cut differently (superpixels), those of the one with the most; each one's own stand in
        `instances`.
        """
        return max((i.features for i in self.instances), key=len, default=())

    @property
    def windows(self) -> tuple[WindowGrid, ...]:
        """Where the features are windows, their grids, one an input."""
        return next((i.windows for i in self.instances if i.windows), ())

    @cached_property
    def scores(self) -> Array | None:
        """f(x), (B,) or (B, T)."""
        return _stack([i.scores for i in self.instances])

    @cached_property
    def baseline_scores(self) -> Array | None:
        """f(baseline), (B, K) or (B, T, K) for K baselines; None where the method has none."""
        return _stack([i.baseline_scores for i in self.instances])

    @property
    def targets(self) -> tuple[tuple[ResolvedTarget, ...], ...]:
        """What was explained: targets[i][t], with t = 0 alone where no list was asked for; () for a failed instance."""
        return tuple(i.targets for i in self.instances)

    @property
    def diagnostics(self) -> tuple[Diagnostics, ...]:
        """How each instance was computed."""
        return tuple(i.diagnostics for i in self.instances)

    @property
    def rows(self) -> tuple[RowScores | None, ...]:
        """Perturbed copies and their scores by instance, for method `Rows` and with return_rows; else None each."""
        return tuple(i.rows for i in self.instances)

    @property
    def statuses(self) -> tuple[AssayError | None, ...]:
        """Why an instance has no result (on_instance_error="skip"), or None where it has one."""
        return tuple(i.status for i in self.instances)

    def top_reasons(
        self,
        k: int = 5,
        direction: Direction = "both",
        instance: int = 0,
        target: int = 0,
        *,
        x: ArrayLike | None = None,
    ) -> list[Reason]:
        """The features that matter most to the score of the instance at a position: see `Instance.top_reasons`."""
        if not 0 <= instance < len(self.instances):
            raise invalid("instance", f"there is no instance {instance} among {len(self.instances)}")
        return self.instances[instance].top_reasons(k, direction, target, x=x)

    @cached_property
    def jacobian(self) -> dict[str, dict[str, Array]]:
        """Output -> input -> (B, *output, *input); over features output -> "features" -> (B, *output, F)."""
        found = _by_output([i.jacobian for i in self.instances])
        return {o: {name: a for name, a in blocks.items() if a is not None} for o, blocks in found.items()}

    @cached_property
    def jacobian_errors(self) -> dict[str, dict[str, Array | None]]:
        """Like jacobian; None where no error was estimated."""
        return _by_output([i.jacobian_errors for i in self.instances])

    def __repr__(self) -> str:
        count = len(self.instances)
        if self.estimate is not None:
            return f"<Explanation by {self.model.ref}: only validated, {self.estimate.rows} rows>"
        failed = sum(i.status is not None for i in self.instances)
        parts = [f"{count} instance{'s' * (count != 1)}" + (f", {failed} failed" if failed else "")]
        shown: Sequence[ResolvedTarget] = next((i.targets for i in self.instances if i.targets), ())
        sample = next((i.attributions for i in self.instances if i.attributions), {})
        differ = ", …" if any(i.targets not in ((), shown) for i in self.instances) else ""
        parts.append(_targets(shown) + differ + _maps({name: (count, *a.shape) for name, a in sample.items()}))
        parts.append(f"{self.usage.rows_run} rows" + (", partial" if self.completion == "partial" else ""))
        return f"<Explanation by {self.model.ref}: {'; '.join(p for p in parts if p)}>"


def _targets(targets: Sequence[ResolvedTarget]) -> str:
    return ", ".join(map(str, targets[:3])) + (", …" if len(targets) > 3 else "")


def _maps(maps: dict[str, Any]) -> str:
    return "".join(f"; {name} {getattr(value, 'shape', value)}" for name, value in maps.items())


def _stack(arrays: Sequence[Array | None]) -> Array | None:
    """(B, …) of arrays that may be missing (NaN) or shorter than others (NaN at their ends)."""
    present = [array for array in arrays if array is not None]
    if not present:
        return None
    shape = [max(extents) for extents in zip(*(a.shape for a in present), strict=True)]
    stacked: Array = np.full((len(arrays), *shape), np.nan, np.result_type(*present))
    for i, array in enumerate(arrays):
        if array is not None:
            corner: Any = (i, *(slice(extent) for extent in array.shape))
            stacked[corner] = array
    return stacked


def _by_name(found: Sequence[dict[str, Any]]) -> dict[str, Array | None]:
    names = dict.fromkeys(name for maps in found for name in maps)
    return {name: _stack([maps.get(name) for maps in found]) for name in names}


def _by_output(found: Sequence[dict[str, Any]]) -> dict[str, dict[str, Array | None]]:
    outputs = dict.fromkeys(output for blocks in found for output in blocks)
    return {output: _by_name([blocks.get(output, {}) for blocks in found]) for output in outputs}
