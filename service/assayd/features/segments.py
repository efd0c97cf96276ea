"""From a feature specification to the feature of every element. One file a kind of cut."""

from __future__ import annotations

from collections.abc import Mapping

from assayd.features.elements import elements
from assayd.features.given import given
from assayd.features.grid import grid
from assayd.features.groups import groups
from assayd.features.superpixels import superpixels
from assayd.types.arrays import Array
from assayd.types.request import Elements, FeatureSpec, GivenSegments, Grid, Group, Superpixels
from assayd.types.subject import Segments


def looks_at_numbers(spec: FeatureSpec) -> bool:
    """Whether a cut hangs on an instance's numbers. The others see extents alone, and are alike for all of a shape."""
    return isinstance(spec, Superpixels)


def segments_of(
    spec: FeatureSpec,
    inputs: Mapping[str, Array],
    spatial_axes: Mapping[str, tuple[int, ...] | None],
    channel_axis: Mapping[str, int | None],
    feature_names: Mapping[str, tuple[str, ...]],
    spec_groups: tuple[Group, ...],
) -> Segments:
    """Cut the explained inputs of one instance into features 0..F-1, numbered across inputs.

    inputs: the explained inputs, one instance each without the batch axis, in the model's order. spatial_axes,
    channel_axis: by input, axes of an instance, ascending and from 0; None or absent where no layout is known.
    feature_names: by input, one name an element, row-major; or absent. spec_groups: what `Groups()` means.

    Every feature spans at least one element; elements in none have id -1.

    Raises `InvalidRequest` or `InvalidTensor` with a field counted from the features message, such as "grid.rows" or
    "groups[2].members[0]".
    """
    match spec:
        case Elements():
            return elements(inputs, feature_names)
        case Grid():
            return grid(spec, inputs, spatial_axes)
        case Superpixels():
            return superpixels(spec, inputs, spatial_axes, channel_axis)
        case GivenSegments():
            return given(spec, inputs)
        case _:
            return groups(spec, inputs, feature_names, spec_groups)
