"""Settings that come again and again, decoded once: a service sends the same ones with every decision."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TypeAlias

from cachetools import LRUCache

from assay.v1 import explain_service_pb2 as pb
from assayd.api.codec.as_sent import said, without_instances
from assayd.api.codec.methods import decode_method
from assayd.api.codec.tensors import Fetch
from assayd.explain.canonical import Canonical
from assayd.types.method import Method

_MOST, _LARGEST_BYTES = 128, 256 * 1024

_Key: TypeAlias = tuple[str, bytes]
"""Tenant, and the message without its instances."""


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
        self._known: LRUCache[_Key, Settings] = LRUCache(_MOST)
        self._lock = threading.Lock()

    def look_up(self, message: pb.ExplainRequest, tenant: str) -> LookedUp:
        """A request's settings, as far as they are known."""
        alone = without_instances(message)
        key = (tenant, alone.SerializeToString(deterministic=True))
        with self._lock:
            return LookedUp(self, key, message, alone, self._known.get(key))

    def settings(self, message: pb.ExplainRequest, tenant: str, fetch: Fetch) -> Settings:
        """Of a vetted request. Raises as `decode_method`."""
        return self.look_up(message, tenant).settings(fetch)

    def keep(self, key: _Key, settings: Settings) -> None:
        """For those who send the same."""
        if len(key[1]) <= _LARGEST_BYTES:
            with self._lock:
                self._known[key] = settings


@dataclass(frozen=True, eq=False)
class LookedUp:
    """The settings of one request. known: those that were decoded before, and so were vetted: their bytes are the same.

    alone: the message without its instances.
    """

    memo: Memo
    key: _Key
    message: pb.ExplainRequest
    alone: pb.ExplainRequest
    known: Settings | None

    def settings(self, fetch: Fetch) -> Settings:
        """Of a vetted request. Raises as `decode_method`."""
        if self.known is not None:
            return self.known
        settings = Settings(*decode_method(self.message, fetch), self.alone)
        self.memo.keep(self.key, settings)
        return settings
