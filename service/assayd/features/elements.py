"""Every element is a feature."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from assayd.errors import InvalidRequest
from assayd.features.names import named
from assayd.types.arrays import Array
from assayd.types.subject import Segments


def elements(inputs: Mapping[str, Array], feature_names: Mapping[str, tuple[str, ...]]) -> Segments:
    """Number the elements in the order of the inputs, row-major in each.

    Names are those of `feature_names`, else the position: "x[3]", "image[0,2,5]".
    Raises `InvalidRequest` (elements) where an input has names, but not one an element.
    """
    ids = {}
    count = 0
    for name, x in inputs.items():
        given = feature_names.get(name, ())
        if given and len(given) != x.size:
            raise InvalidRequest(
                f"the model's spec names {len(given)} features of input {name!r}, which has {x.size} elements",
                field="elements",
            )
        ids[name] = np.arange(count, count + x.size, dtype=np.int32).reshape(x.shape)
        count += x.size
    return Segments(ids, count, named(count, lambda: _names(inputs, feature_names)))


def _names(inputs: Mapping[str, Array], feature_names: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    for name, x in inputs.items():
        yield from feature_names.get(name) or (_position(name, index) for index in np.ndindex(x.shape))


def _position(name: str, index: tuple[int, ...]) -> str:
    return f"{name}[{','.join(map(str, index))}]" if index else name
