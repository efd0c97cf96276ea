"""LIME: a surrogate fitted to the scores of perturbed copies (Ribeiro, Singh and Guestrin 2016)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import ClassVar

import numpy as np

from assayd.errors import InvalidRequest, within
from assayd.methods.lime import masks, tables
from assayd.methods.lime.basis import Basis, basis_of
from assayd.methods.lime.columns import bind
from assayd.methods.lime.distributions import FEW_EDGES
from assayd.methods.lime.ridge import Ridge
from assayd.methods.lime.sample import Sample
from assayd.methods.lime.surrogates import Bootstrap, Fit, Surrogate, lasso, tree
from assayd.types.arrays import Array, Floats
from assayd.types.method import Explanation
from assayd.types.request import BaselineSpec, FeatureSpec, PerInput
from assayd.types.result import Attribution, Drawn
from assayd.types.rows import Plan, RowBlock
from assayd.types.statistics import QuartileTable, Table
from assayd.types.subject import Segments, Subject

SURROGATES = ("ridge", "lasso", "tree")

MAX_SAMPLES = 10_000_000
MAX_CELLS = 1 << 26
"""Samples times features. As there is a sample more than features at least, it allows 8191 of those."""
MAX_BOOTSTRAP = 1000

_TABLE_SAMPLES = 5000
_MASK_WIDTH, _TABLE_WIDTH = 0.25, 0.75
_FIRST_ROUND, _FIRST_ROUND_PER_FEATURE = 100, 10
"""Fewer rows than that and the sandwich takes a surrogate that passes through all of them for a sure one."""
_LEAST, _LEAST_PER_FEATURE = 50, 5
"""Rows that a cut fit has at least. Measured on masks and tables of 1 to 40 features, over 60 to 300 seeds each, its
standard errors are then 0.8 to 1.05 of the spread in the mean over the features; with 30 and 4 they fell to 0.77, with
2 a feature to 0.6, with 1 to 0.15."""


@dataclass(frozen=True, eq=False)
class Lime:
    """A weighted surrogate of the scores around x, in variables z [F] that say how a perturbed copy differs from x.

    num_samples: copies drawn, x itself the first; by default 1000, of tables 5000; at least 1 + F unless all masks are
    enumerated. With `samples` nothing is drawn: it says how many draws those weigh together, against the penalty; by
    default as many as they are.
    sampling: None for masks over `features`, else a table's statistics, whose columns are the features.
    kernel_width: a copy at distance d weighs exp(-d^2 / (2 width^2)); by default 0.25, of tables 0.75 sqrt(F).
    surrogate, alpha: "ridge", "lasso" or "tree", and the strength of its penalty (`surrogates`).
    samples: copies in place of drawn ones: under "" masks [n, F] of 0 and 1, or of tables perturbed inputs [n, *input];
    1 + F at least. Those of an answer give that answer again, with the same num_samples. All 2^F masks, each once in
    whatever order, are an enumeration: without error, and by default weighing 1000 draws, or 2^F where that is more.
    Part of one is like drawn masks, which weigh what the whole would if num_samples says so.
    until_error: draw in rounds, until the largest standard error of a value is below it or num_samples are drawn.
    bootstrap: errors of lasso and tree by so many replicates; 0 means none.

    Masks: z is keep in {0, 1}^F by the toss of a coin, d the cosine distance from the mask that keeps all, 1 for that
    which keeps nothing. Where 2^F <= num_samples all masks are enumerated, each weighing num_samples / 2^F. Equal masks
    are scored once and weigh their number. A mask's score is its mean over the K baselines; these are given, so errors
    don't speak of them. Cost: K rows for each distinct mask; row r is mask r // K at baseline r % K.

    Tables: columns are drawn independently of each other, missing (NaN) at their training rate, integers rounded. d is
    euclidean from x's z. Quartile: z is 1 where a value lies in x's bin, else 0; missing values have their own bin.
    Gaussian: z = (value - mean) / std; a missing value stands at the mean, z = 0. Categorical features are drawn by
    training frequency, z is 1 where all members equal x's. Features are numbered by the place of their first element.

    Draws come from the subject's stream alone, and those of fewer samples are the first ones of more. Where a budget
    ends, a plan may be answered by its first rows alone, by 50 masks or rows and 5 for each of F + 1 coefficients at
    least, since below that standard errors come out too small; a later round needs none. The answer is that of a
    request for as many draws as are complete then, and shrinks as its would; or of so many of the given samples. Part
    of an enumeration stands for num_samples draws, as the whole does; its errors shrink to 0 with what is missing.

    Attribution: values [T, F], the surrogate's coefficients, or the path of x through a tree. errors: of ridge the
    sandwich estimate, 0 where masks were enumerated; of the others by bootstrap, or None (errors_unknown). maps,
    map_errors: a feature's on each of its elements, 0 elsewhere. intercept, r_squared (weighted), drawn; segments of
    tables; effective_rows; settled: num_samples and kernel_width where they are None.

    Where all rows that weigh anything score the same, as a constant model's do, coefficients are 0 with errors of 0 and
    r_squared is NaN: there was nothing to explain. Where those rows don't differ in z either way (what differs weighs
    together less than 1e-6 of the rest: only x in a narrow kernel or far from a table, constant columns, equal given
    samples) nothing was fitted: errors are NaN as well, even of an enumeration, and effective_rows is 0.
    """

    num_samples: int | None = None
    features: FeatureSpec | None = None
    baseline: PerInput[BaselineSpec] = field(default_factory=PerInput)
    kernel_width: float | None = None
    surrogate: str = "ridge"
    alpha: float = 1.0
    sampling: Table | None = None
    samples: PerInput[Array] = field(default_factory=PerInput)
    until_error: float | None = None
    bootstrap: int = 0

    revision: ClassVar[int] = 2

    def cells(self, elements: int) -> float:
        """Numbers that are drawn for an instance and fitted to, at most. elements: that are explained.

        Infinite where they say nothing of the time it takes: a tree and a lasso are slow, given samples may be many.
        Bins by the dozen count fourfold, since a number's own has to be searched.
        """
        if self.samples or self.surrogate != "ridge":
            return math.inf
        quartile = isinstance(self.sampling, QuartileTable) and self.sampling.columns
        many = quartile and max(len(column.boundaries) for column in quartile) > FEW_EDGES
        return self._most_samples * elements * (4 if many else 1)

    @property
    def _most_samples(self) -> int:
        if self.num_samples is not None:
            return self.num_samples
        return masks.SAMPLES if self.sampling is None else _TABLE_SAMPLES

    def explain(self, subject: Subject) -> Explanation:
        """Yield one plan, or with `until_error` one a round, and fit.

        Raises `InvalidRequest` naming the parameter that is out of range or contradicts another, and `InvalidTensor`
        (samples, sampling) for what doesn't fit the inputs.
        """
        self._check()
        segments, rounds = self._masks(subject) if self.sampling is None else self._table(self.sampling, subject)
        scored, at_x, found = np.empty((0, 0)), np.empty(0), Attribution()
        for whole in rounds:
            sample, known = whole, len(scored)
            basis = basis_of(sample, self._width(len(sample.z_x)))
            surrogate = self._surrogate(basis, subject.stream)
            ended = False
            if sample.draws.rows > known:
                plan = _plan(sample, known, 0 if known else _least(basis))
                scores = yield replace(plan, meanwhile=surrogate.ready)
                # Less f(x), so that scores which are all the same are exactly 0.
                full = len(scores.rows) // sample.copies * sample.copies
                new = (scores.rows[:full] - scores.x).reshape(-1, sample.copies, len(scores.x)).mean(axis=1)
                scored, at_x = (np.concatenate([scored, new]) if known else new), scores.x
                ended = len(scored) < sample.draws.rows
            if ended:
                sample = sample.cut(len(scored))
                basis = basis_of(sample, self._width(len(sample.z_x)))
                surrogate = self._surrogate(basis, subject.stream)
            fit, effective = surrogate.fit(scored), basis.effective_rows
            if effective == 0:
                fit = fit.of_nothing(errors=fit.errors is not None or self.bootstrap > 0)
            found = replace(
                _attribution(sample, segments, fit, scored, at_x, tabular=self.sampling is not None),
                effective_rows=effective,
                settled=self._settled(whole, basis.features),
            )
            if ended or self._sure(fit):
                break
        return found

    def _check(self) -> None:
        """What can be said without a subject."""
        if self.num_samples is not None and not 1 <= self.num_samples <= MAX_SAMPLES:
            raise InvalidRequest(f"1 to {MAX_SAMPLES} samples, not {self.num_samples}", field="num_samples")
        if self.kernel_width is not None and not 0 < self.kernel_width < math.inf:
            raise InvalidRequest(f"a width is above 0, not {self.kernel_width}", field="kernel_width")
        if self.surrogate not in SURROGATES:
            raise InvalidRequest(
                f"the surrogate is one of {', '.join(SURROGATES)}, not {self.surrogate!r}", field="surrogate"
            )
        if not 0 <= self.alpha < math.inf:
            raise InvalidRequest(f"alpha is at least 0, not {self.alpha}", field="alpha")
        if self.sampling is not None:
            for name, given in (("features", self.features is not None), ("baseline", bool(self.baseline))):
                if given:
                    raise InvalidRequest(f"{name} are for masks; a table's columns are drawn as they are", field=name)
        self._check_errors()

    def _check_errors(self) -> None:
        if self.bootstrap and not 2 <= self.bootstrap <= MAX_BOOTSTRAP:
            raise InvalidRequest(f"2 to {MAX_BOOTSTRAP} replicates, or 0 for none", field="bootstrap")
        if self.bootstrap and self.surrogate == "ridge":
            raise InvalidRequest("ridge has errors of its own; bootstrap is for lasso and tree", field="bootstrap")
        if self.until_error is None:
            return
        if not 0 < self.until_error < math.inf:
            raise InvalidRequest(f"an error is above 0, not {self.until_error}", field="until_error")
        if self.surrogate != "ridge" and not self.bootstrap:
            raise InvalidRequest(f"{self.surrogate} has errors by bootstrap alone", field="until_error")
        if self.samples:
            raise InvalidRequest("nothing is drawn where samples are given", field="until_error")

    def _masks(self, subject: Subject) -> tuple[Segments, Iterator[Sample]]:
        segments, stream, copies = subject.segments, subject.stream, subject.baseline_count
        if segments is None:
            raise InvalidRequest("say by features what masks switch, or give a table's sampling", field="features")
        count = segments.count
        if self.samples:
            if set(self.samples.values) != {""}:
                raise InvalidRequest("masks are over all inputs: give them under no input's name", field="samples")
            sample = masks.given(self.samples.values[""], count, self.num_samples, copies)
            _check_enough(len(sample.draws.order), count, "samples")
            return segments, iter([sample])
        total, shared = self._most_samples, not subject.keyed
        if 2.0**count <= total:
            return segments, iter([masks.enumerate_all(count, total, stream, copies, shared=shared)])
        return segments, self._rounds(total, count, lambda n: masks.draw(count, n, stream, copies, shared=shared))

    def _table(self, table: Table, subject: Subject) -> tuple[Segments, Iterator[Sample]]:
        with within("sampling.quartile" if isinstance(table, QuartileTable) else "sampling.gaussian"):
            columns = bind(table, subject)
        if self.samples:
            sample = tables.given(columns, subject, self.samples, self.num_samples)
            _check_enough(len(sample.draws.order), columns.segments.count, "samples")
            return columns.segments, iter([sample])
        total = self._most_samples
        rounds = self._rounds(total, columns.segments.count, lambda n: tables.draw(columns, subject, n))
        return columns.segments, rounds

    def _rounds(self, total: int, features: int, draw: Callable[[int], Sample]) -> Iterator[Sample]:
        """All draws at once, or a sample that doubles."""
        _check_enough(total, features, "num_samples")
        if total * features > MAX_CELLS:
            raise InvalidRequest(
                f"samples x features are {MAX_CELLS} at most, not {total} x {features}", field="num_samples"
            )
        sizes = [total]
        if self.until_error is not None:
            first = max(_FIRST_ROUND, _FIRST_ROUND_PER_FEATURE * (1 + features))
            sizes = [n for k in range(total.bit_length()) if (n := first << k) < total] + sizes
        return map(draw, sizes)

    def _width(self, features: int) -> float:
        if self.kernel_width is not None:
            return self.kernel_width
        return _MASK_WIDTH if self.sampling is None else _TABLE_WIDTH * math.sqrt(features)

    def _settled(self, whole: Sample, features: int) -> dict[str, float]:
        """What the caller left open; a budget's end doesn't change it."""
        settled: dict[str, float] = {}
        if self.num_samples is None:
            settled["num_samples"] = whole.draws.total if self.samples else self._most_samples
        if self.kernel_width is None:
            settled["kernel_width"] = self._width(features)
        return settled

    def _sure(self, fit: Fit) -> bool:
        return self.until_error is not None and fit.errors is not None and fit.errors.max() < self.until_error

    def _surrogate(self, basis: Basis, stream: int) -> Surrogate:
        if self.surrogate == "ridge":
            return Ridge(basis, self.alpha)
        one = lasso if self.surrogate == "lasso" else partial(tree, z_x=basis.sample.z_x)
        replicates = 0 if basis.effective_rows == 0 else self.bootstrap
        return Bootstrap(partial(one, alpha=self.alpha), basis, replicates, stream)


def _check_enough(samples: int, features: int, name: str) -> None:
    if samples < 1 + features:
        raise InvalidRequest(f"{features} features need {1 + features} samples at least, not {samples}", field=name)


def _least(basis: Basis) -> int:
    """Rows of a sample whose fit has honest errors, or all; among them one that weighs something."""
    first = int(np.argmax(basis.proximity > 0))
    return min(len(basis.proximity), max(_LEAST, _LEAST_PER_FEATURE * (1 + basis.features), 1 + first))


def _plan(sample: Sample, known: int, least: int) -> Plan:
    """The rows of a sample from number `known` on, of which `least` are needed."""
    skipped = known * sample.copies

    def rows(a: int, b: int) -> Sequence[RowBlock]:
        return sample.blocks(skipped + a, skipped + b)

    return Plan(sample.draws.rows * sample.copies - skipped, rows, least=least * sample.copies)


def _attribution(
    sample: Sample, segments: Segments, fit: Fit, scored: Floats, at_x: Floats, *, tabular: bool
) -> Attribution:
    return Attribution(
        values=fit.values,
        errors=fit.errors,
        errors_unknown=fit.errors is None,
        maps=segments.paint(fit.values),
        map_errors={} if fit.errors is None else segments.paint(fit.errors),
        intercept=fit.intercept + at_x,
        r_squared=fit.r_squared,
        drawn=lambda: Drawn((scored + at_x)[sample.draws.order].T, sample.samples()),
        segments=segments if tabular else None,
    )
