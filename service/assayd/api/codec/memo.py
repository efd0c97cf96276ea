"""Settings that come again and again, decoded once: a service sends the same ones with every decision."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

from assay.v1 import explain_service_pb2 as pb
from assayd.api.codec.as_sent import said, without_instances
from assayd.api.codec.methods import decode_method
from assayd.api.codec.tensors import Fetch
from assayd.explain.canonical import Canonical
from assayd.types.method import Method

_MOST, _LARGEST_BYTES = 128, 256 * 1024


@dataclass(eq=False)
class Settings:
    """What a request asks of every instance."""

    method_name: str
    method: Method
    _alone: pb.ExplainRequest
    _as_sent: Canonical | None = None

    def as_sent(self, fetch: Fetch) -> Canonical:
        """As a record keeps them. To be asked when the whole request was decoded, so that nothing in it is wrong."""
        if self._as_sent is None:
            own = pb.ExplainRequest()
            own.CopyFrom(self._alone)  # another thread may be at it too
            self._as_sent = said(own, fetch)
        return self._as_sent


class Memo:
    """The last 128 settings of at most 256 KiB. Stored tensors are named by digest in them, so they never go stale."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, bytes], Settings] = OrderedDict()
        self._lock = threading.Lock()

    def knows(self, message: pb.ExplainRequest, tenant: str) -> bool:
        """Whether its settings were decoded before, and so were vetted: their bytes are the same."""
        return (tenant, without_instances(message).SerializeToString(deterministic=True)) in self._known

    def settings(self, message: pb.ExplainRequest, tenant: str, fetch: Fetch) -> Settings:
        """Of a vetted request. Raises as `decode_method`."""
        alone = without_instances(message)
        key = (tenant, alone.SerializeToString(deterministic=True))
        with self._lock:
            known = self._known.get(key)
            if known is not None:
                self._known.move_to_end(key)
                return known
        name, method = decode_method(message, fetch)
        settings = Settings(name, method, alone)
        if len(key[1]) <= _LARGEST_BYTES:
            with self._lock:
                self._known[key] = settings
                if len(self._known) > _MOST:
                    self._known.popitem(last=False)
        return settings
