"""One file a method: a generator of plans that any function can drive. The files don't import each other."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from assayd.methods.jacobian.method import Jacobian
from assayd.methods.lime.method import Lime
from assayd.methods.occlusion import Occlusion
from assayd.methods.rows import Rows
from assayd.types.method import Method

METHODS: Mapping[str, type[Method]] = MappingProxyType(
    {"occlusion": Occlusion, "lime": Lime, "jacobian": Jacobian, "rows": Rows}
)
"""By the name of the request's oneof."""
