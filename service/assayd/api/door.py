"""Who comes in: known, allowed, and not too many at once. Asked before anything of a request is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from assayd.api.auth.bearer import Bearer
from assayd.api.auth.identity import Identity
from assayd.api.auth.rights import check_right
from assayd.api.call import Call
from assayd.errors import TooManyCalls

_UPLOAD = "ModelService/UploadModel"
_BUSY_S = 1.0


class Door:
    """max_calls: calls that may be under way at once. max_uploads: of these, uploads. The rest is refused, not kept."""

    def __init__(self, bearer: Bearer | None = None, *, max_calls: int = 1000, max_uploads: int = 8) -> None:
        self._bearer = bearer or Bearer()
        self._max_calls = max_calls
        self._max_uploads = max_uploads
        self._calls = 0
        self._uploads = 0

    def identify(self, metadata: Iterable[tuple[str, str | bytes]]) -> Identity:
        """Whose call it is. Raises Unauthenticated."""
        return self._bearer.identify(metadata)

    @contextmanager
    def entered(self, call: Call, metadata: Iterable[tuple[str, str | bytes]]) -> Iterator[None]:
        """While a call is answered, which learns its tenant. Raises Unauthenticated, PermissionDenied, TooManyCalls."""
        identity = self.identify(metadata)
        call.tenant = identity.tenant
        check_right(call.rpc, identity)
        upload = call.rpc == _UPLOAD
        if self._calls >= self._max_calls:
            raise _too_many("calls", self._max_calls)
        if upload and self._uploads >= self._max_uploads:
            raise _too_many("uploads", self._max_uploads)
        self._calls += 1
        self._uploads += upload
        try:
            yield
        finally:
            self._calls -= 1
            self._uploads -= upload


def _too_many(what: str, limit: int) -> TooManyCalls:
    return TooManyCalls(
        f"{limit} {what} are under way here and no more are taken: try again in a moment",
        metadata={"limit": str(limit), "what": what},
        retry_after_s=_BUSY_S,
    )
