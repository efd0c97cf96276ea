"""Who comes in: known, allowed, and not too many at once. Asked before anything of a request is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from assayd.api.auth.bearer import Bearer
from assayd.api.auth.identity import Identity
from assayd.api.auth.rights import check_right
from assayd.api.call import Call
from assayd.errors import TooManyCalls

_UPLOAD = "ModelService/UploadModel"
_BUSY_S = 1.0


class Door:
    """max_calls: calls that may be under way at once. max_uploads: of these, uploads. The rest is refused, not kept.

    share: of both, what one tenant may have under way where tenants are known, from 0 to 1 and one at least.
    """

    def __init__(
        self, bearer: Bearer | None = None, *, max_calls: int = 1000, max_uploads: int = 8, share: float = 1.0
    ) -> None:
        self._bearer = bearer or Bearer()
        if not self._bearer.asks_who:
            share = 1.0
        self._places = {"calls": _Places(max_calls, share), "uploads": _Places(max_uploads, share)}

    @property
    def asks_who(self) -> bool:
        """Whether tenants are known."""
        return self._bearer.asks_who

    def identify(self, metadata: Iterable[tuple[str, str | bytes]]) -> Identity:
        """Whose call it is. Raises Unauthenticated."""
        return self._bearer.identify(metadata)

    def enter(self, call: Call, metadata: Iterable[tuple[str, str | bytes]]) -> Callable[[], None]:
        """Let a call in, which learns its tenant; returns what to call, once, when it is over.

        Raises Unauthenticated, PermissionDenied, TooManyCalls.
        """
        identity = self.identify(metadata)
        tenant = call.tenant = identity.tenant
        check_right(call.rpc, identity)
        kinds = ("calls", "uploads") if call.rpc == _UPLOAD else ("calls",)
        for what in kinds:
            self._places[what].check(what, tenant)
        for what in kinds:
            self._places[what].of[tenant] += 1

        def leave() -> None:
            for what in kinds:
                self._places[what].of[tenant] -= 1

        return leave


class _Places:
    def __init__(self, limit: int, share: float) -> None:
        self.of: Counter[str] = Counter()
        self._limit = limit
        self._of_one = max(1, int(limit * share))

    def check(self, what: str, tenant: str) -> None:
        if self.of.total() >= self._limit:
            raise _too_many(what, self._limit, "here")
        if self.of[tenant] >= self._of_one:
            raise _too_many(what, self._of_one, f"for tenant {tenant}", {"tenant": tenant})


def _too_many(what: str, limit: int, where: str, more: dict[str, str] | None = None) -> TooManyCalls:
    return TooManyCalls(
        f"{limit} {what} are under way {where} and no more are taken: try again in a moment",
        metadata={"limit": str(limit), "what": what} | (more or {}),
        retry_after_s=_BUSY_S,
    )
