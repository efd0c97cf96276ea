"""Features that were cut before: an image is explained again with another target or method, and all rows of a table are
cut alike.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable, Mapping
from contextlib import suppress
from hashlib import sha256

import numpy as np
from cachetools import LRUCache
from cachetools.keys import hashkey

from assayd.features.segments import looks_at_numbers, segments_of
from assayd.types.arrays import Array
from assayd.types.request import FeatureSpec, Group
from assayd.types.subject import Segments

_MOST_BYTES, _BESIDE_BYTES = 64 * 2**20, 500


class SegmentCache:
    """The last segments, 64 MiB of them. From any thread. hits: so many were found."""

    def __init__(self) -> None:
        self._known: LRUCache[Hashable, Segments] = LRUCache(_MOST_BYTES, getsizeof=_size)
        self._lock = threading.Lock()
        self.hits = 0

    def segments_of(
        self,
        spec: FeatureSpec,
        inputs: Mapping[str, Array],
        spatial_axes: Mapping[str, tuple[int, ...] | None],
        channel_axis: Mapping[str, int | None],
        feature_names: Mapping[str, tuple[str, ...]],
        spec_groups: tuple[Group, ...],
    ) -> Segments:
        """As `assayd.features.segments.segments_of`."""
        look = looks_at_numbers(spec)
        of_inputs = (
            (n, x.shape, spatial_axes.get(n), channel_axis.get(n), feature_names.get(n), _content(x) if look else None)
            for n, x in inputs.items()
        )
        key = hashkey(spec, spec_groups, *of_inputs)  # hashed once, since a table may have many groups
        with self._lock:
            known = self._known.get(key)
            if known is not None:
                self.hits += 1
                return known
        segments = segments_of(spec, inputs, spatial_axes, channel_axis, feature_names, spec_groups)
        with self._lock, suppress(ValueError):  # larger than all that is kept
            self._known[key] = segments
        return segments


def _content(x: Array) -> Hashable:
    return None if x.dtype == object else (x.dtype, sha256(np.ascontiguousarray(x).data).digest())


def _size(segments: Segments) -> int:
    return _BESIDE_BYTES * (1 + len(segments.names)) + sum(ids.nbytes for ids in segments.ids.values())
