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

    Attributes:
        num_samples: rows drawn; by default 1000, 5000 with a table.
        features: what the masks switch.
        baseline: what absent features are; by default what the model's spec says, else 0.
        kernel_width: width of exp(-d^2 / (2 width^2)); by default 0.25 on the cosine distance of masks.
        surrogate: what is fitted.
        alpha: strength of the penalty.
        sampling: how rows are drawn: by masks, or by the training statistics of a table.
        samples: the perturbed copies of an earlier result asked for with return_rows, in place of drawn ones: masks as
            its `rows[i].keep`, a table's as its `rows[i].samples`.
        until_error: stop drawing when the largest standard error of a coefficient is below this.
        bootstrap: replicates for the errors of lasso and tree; 0 is none.
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
        step: absolute step, above 0; by default several are tried and the smallest error taken.
        rel_step: step as a multiple of the scale; excludes step.
        scale: scale of each element, such as the training standard deviation; by default max(1, |x|).
        outputs: outputs differentiated; by default all floating-point ones.
        features: differentiate by groups of elements moved together in place of single elements.
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
