"""The explanation methods and their parameters, named like the fields of their messages.

The request and the command line's flags are both made from these classes: a new method is a class here and a line of
`METHODS`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from assay.baselines import Baseline
from assay.features import Features
from assay.perinput import PerInput
from assay.statistics import GaussianTable, QuartileTable
from assay.tensors import Array

Sizes: TypeAlias = int | Sequence[int]
"""One number for each spatial axis (the trailing axes where no layout is known)."""

Scale: TypeAlias = float | Array
"""One number, or one for each element of an instance."""

Interval: TypeAlias = tuple[Scale | None, Scale | None]
"""Lower and upper end, either of which may be missing."""


Sampling: TypeAlias = Literal["mask"] | QuartileTable | GaussianTable
"""How LIME draws rows: features switched to their baselines, or columns drawn by the training statistics of a table."""


@dataclass(frozen=True, eq=False)
class Occlusion:
    """Occlusion by sliding windows (Zeiler and Fergus 2014), or ablation of features.

    A window's value is f(x) - f(x with the baseline in the window); an element's is the mean over the windows that
    cover it. With `features` in place of `window`: f(x) - f(x with the feature at its baseline), one row a feature.

    Attributes:
        window: extents of the window; either this or features.
        stride: distance between window starts; by default the window.
        features: what to ablate.
        baseline: what stands in the window; by default what the model's spec says, else 0.
        edge: windows that cross the border are cut there (clip) or left out (valid).
    """

    window: PerInput[Sizes] | None = None
    stride: PerInput[Sizes] | None = None
    features: Features | None = None
    baseline: PerInput[Baseline] | None = None
    edge: Literal["clip", "valid"] = "clip"


@dataclass(frozen=True, eq=False)
class Lime:
    """LIME (Ribeiro et al. 2016): a weighted surrogate fitted to randomly perturbed rows.

    It draws masks over `features` or rows of a table by `sampling`, and needs one of the two: `Lime()` is refused.

    Where all rows that weigh anything score the same, r_squared is NaN and a low_fit warning says so: the model is
    constant there, and the coefficients are 0. Where those rows don't differ in any feature (in a kernel so narrow that
    x alone weighs, far outside a table's statistics) nothing was fitted, and errors are NaN too.

    Attributes:
        num_samples: rows drawn, x itself the first; by default 1000, 5000 with a table; at least 1 + the number of
            features. Where there are no more masks than that, all are taken once, weigh together as much as so many,
            and errors are 0. With `samples` nothing is drawn: it is how many draws those stand for together, which is
            what weighs against `alpha`; by default as many as they are.
        features: what the masks switch; excludes `sampling` by a table.
        baseline: what absent features are; by default what the model's spec says, else 0.
        kernel_width: width of exp(-d^2 / (2 width^2)); by default 0.25 on the cosine distance of masks, 0.75 sqrt(F) on
            tables.
        surrogate: what is fitted. The values are the coefficients of a ridge or lasso. A tree has none: its values are
            the path of x through it, for each feature what the splits on it change in the tree's answer, so that
            intercept + values is the tree's answer at x; a feature that isn't split on along that path gets 0.
        alpha: strength of the penalty. Ridge: times the squared coefficients, against the weighted sum of squares, so
            that more samples shrink less. Lasso: times the absolute coefficients, against half the weighted mean of
            squares, in the scores' units; at 1 all coefficients of a probability are 0. Tree: it is pruned so that a
            leaf more explains at least alpha times what one sample contributes in the mean to the scores' squares about
            their mean, whatever their units; 0 prunes nothing.
        sampling: how rows are drawn: by masks, or by the training statistics of a table, whose columns are the
            features.
        samples: the perturbed copies of an earlier result asked for with return_rows, in place of drawn ones: masks as
            its `rows[i].keep`, a table's as its `rows[i].samples`; at least 1 + the number of features. They give its
            answer again; of masks that are all there are, each once, an exact one, standing for 1000 draws (or for as
            many as they are, if more) unless num_samples says another number.
        until_error: stop drawing when the largest standard error of a coefficient is below this.
        bootstrap: replicates for the errors of lasso and tree; 0 is none, and their errors are unknown then.
    """

    num_samples: int | None = None
    features: Features | None = None
    baseline: PerInput[Baseline] | None = None
    kernel_width: float | None = None
    surrogate: Literal["ridge", "lasso", "tree"] = "ridge"
    alpha: float = 1.0
    sampling: Sampling | None = None
    samples: PerInput[Array] | None = None
    until_error: float | None = None
    bootstrap: int = 0


@dataclass(frozen=True, eq=False)
class Jacobian:
    """Derivatives of the outputs by the inputs, by finite differences.

    Attributes:
        scheme: how the difference is taken.
        step: absolute step, above 0; by default several are tried and the smallest error taken: first three, and with
            error_estimate up to four shorter or two longer ones, for the elements alone that need them.
        rel_step: step as a multiple of the scale; excludes step.
        scale: scale of each element, such as the training standard deviation; by default max(1, |x|).
        outputs: outputs differentiated; by default all floating-point ones.
        features: differentiate by groups of elements moved together in place of single elements. Every element of a
            group moves by its scale, so that the derivative by a group of one element is its own times its scale.
        bounds: lower and upper end that the steps stay inside of.
        error_estimate: estimate the error of each entry.
    """

    scheme: Literal["forward", "central", "richardson"] = "central"
    step: PerInput[float] | None = None
    rel_step: PerInput[float] | None = None
    scale: PerInput[Scale] | None = None
    outputs: Sequence[str] | None = None
    features: Features | None = None
    bounds: PerInput[Interval] | None = None
    error_estimate: bool = True


@dataclass(frozen=True, eq=False)
class Rows:
    """The scores of masks that the caller made.

    Attributes:
        keep: masks [n, F], bool or floating in 0..1: 1 keeps a feature, 0 takes its baseline, between blends.
        features: the features that the columns of keep mean.
        baseline: what absent features are; by default what the model's spec says, else 0.
    """

    keep: Array
    features: Features | None = None
    baseline: PerInput[Baseline] | None = None


Method: TypeAlias = Occlusion | Lime | Jacobian | Rows

METHODS: Mapping[str, type[Method]] = {"occlusion": Occlusion, "lime": Lime, "jacobian": Jacobian, "rows": Rows}
"""By the name of the field of `ExplainRequest.method`."""
