"""What a caller asks for, decoded and free of the wire format: features, baselines, targets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeAlias, TypeVar

from assayd.types.arrays import Array

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class PerInput(Generic[T]):
    """A parameter by input name; "" holds for every explained input that has no entry of its own."""

    values: Mapping[str, T] = field(default_factory=dict)

    def get(self, name: str) -> T | None:
        """The value for one input, or None where none was given."""
        return self.values.get(name, self.values.get(""))

    def __bool__(self) -> bool:
        return bool(self.values)


# ---- baselines -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Constant:
    """One number in every element."""

    value: float = 0.0


@dataclass(frozen=True, eq=False)
class Given:
    """[*input], or [K, *input] for a background set."""

    tensor: Array


@dataclass(frozen=True)
class Mean:
    """The instance's mean over the given axes of an instance; () means all of them."""

    axes: tuple[int, ...] = ()


@dataclass(frozen=True)
class GaussianBlur:
    """The instance blurred along its spatial axes (all where none are known), edges repeated; sigma in elements."""

    sigma: float


@dataclass(frozen=True)
class SegmentMean:
    """In each segment and channel the instance's mean over it."""


BaselineSpec: TypeAlias = Constant | Given | Mean | GaussianBlur | SegmentMean

# ---- ranges ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Bounds:
    """Range of an input, each end [*input] or scalar; None where there is no end."""

    lower: Array | None = None
    upper: Array | None = None


# ---- features --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Elements:
    """Every element is a feature."""


@dataclass(frozen=True)
class Grid:
    """rows x cols cells over the spatial plane, channels together."""

    rows: int
    cols: int


@dataclass(frozen=True)
class Superpixels:
    """SLIC superpixels, channels together."""

    count: int
    compactness: float = 10.0


@dataclass(frozen=True, eq=False)
class GivenSegments:
    """Segment ids by input name ("" for the only explained one); -1 is never touched."""

    ids: Mapping[str, Array]


@dataclass(frozen=True)
class Member:
    """One element: by row-major index, or by feature name."""

    input: str
    element: int | str


@dataclass(frozen=True)
class Group:
    """A named set of elements; kind is numeric, categorical or one_hot."""

    name: str
    members: tuple[Member, ...]
    kind: str = "numeric"


@dataclass(frozen=True)
class Groups:
    """Named groups; none means those of the model's spec."""

    groups: tuple[Group, ...] = ()


FeatureSpec: TypeAlias = Elements | Grid | Superpixels | GivenSegments | Groups

# ---- targets ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AtIndex:
    """By position: one number an axis of an instance's output, or a single row-major one."""

    position: tuple[int, ...]


@dataclass(frozen=True)
class AtLabel:
    """By class label."""

    label: str


@dataclass(frozen=True)
class AtRank:
    """By rank of the score at x; 1 is the largest."""

    rank: int = 1


@dataclass(frozen=True, eq=False)
class Weighted:
    """Weighted sum over all elements; weights have the shape of one instance's output."""

    weights: Array


@dataclass(frozen=True, eq=False)
class TargetSpec:
    """One scalar score. output None: the only floating-point output. element None: the only element, or rank 1."""

    output: str | None = None
    element: AtIndex | AtLabel | AtRank | Weighted | None = None
    scale: str = "raw"
