"""What a tenant may use: rows in a minute, bytes in the store, versions of models."""

from __future__ import annotations

import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from assayd.api.auth.identity import tenant_name
from assayd.api.auth.watched import Watched
from assayd.errors import QuotaUsedUp

_KINDS = ("rows_per_minute", "stored_bytes", "models")


@dataclass(frozen=True)
class Quota:
    """One tenant's; None is no limit. models: named versions."""

    rows_per_minute: int | None = None
    stored_bytes: int | None = None
    models: int | None = None


UNLIMITED = Quota()


class QuotaFile:
    """Quotas of a TOML file, which is read again when it changes. Raises OSError or ValueError at first.

    [default] is for every tenant, [tenant.NAME] for one, where what isn't said is as in [default].
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._quotas = Watched([path], self._read)

    def of(self, tenant: str) -> Quota:
        """A tenant's quota as the file has it now."""
        default, own = self._quotas.get()
        return own.get(tenant, default)

    def _read(self) -> tuple[Quota, Mapping[str, Quota]]:
        try:
            return _parsed(tomllib.loads(self._path.read_text("utf-8")))
        except ValueError as error:
            raise ValueError(f"{self._path}: {error}") from error


class Quotas:
    """What tenants have used of their quotas. Rows are counted by this process alone.

    of: a tenant's quota. Only the event loop may ask.
    """

    def __init__(
        self, of: Callable[[str], Quota] = lambda _: UNLIMITED, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.of = of
        self._clock = clock
        self._rows: dict[str, tuple[float, float]] = {}
        self._coming: Counter[str] = Counter()

    def take_rows(self, tenant: str, rows: int) -> None:
        """Rows are about to wait for a device. Raises QuotaUsedUp.

        A bucket that holds a minute's rows and fills all the time, so that nobody waits for a minute to begin.
        """
        limit = self.of(tenant).rows_per_minute
        if limit is None:
            return
        now = self._clock()
        left, at = self._rows.get(tenant, (float(limit), now))
        left = min(float(limit), left + (now - at) * limit / 60)
        if rows > left:
            self._rows[tenant] = left, now
            never = rows > limit
            raise _used_up(
                tenant,
                "rows_per_minute",
                limit,
                f"{rows} rows are needed at once"
                + (": fewer features, samples or rows need less" if never else f" and {int(left)} are left now"),
                None if never else (rows - left) * 60 / limit,
            )
        self._rows[tenant] = left - rows, now

    def check_models(self, tenant: str, have: int) -> None:
        """One more version is to be named. have: those there are. Raises QuotaUsedUp."""
        limit = self.of(tenant).models
        if limit is not None and have >= limit:
            raise _used_up(tenant, "models", limit, f"{have} versions are kept: delete some")

    @contextmanager
    def storing(self, tenant: str, have: int) -> Iterator[Callable[[int], None]]:
        """For what is being stored: a function that takes so many more bytes, or raises QuotaUsedUp.

        have: bytes that are stored already. What others are storing meanwhile counts too.
        """
        limit, taken = self.of(tenant).stored_bytes, 0
        if limit is None:
            yield lambda _: None
            return

        def take(more: int) -> None:
            nonlocal taken
            if have + self._coming[tenant] + more > limit:
                raise _used_up(tenant, "stored_bytes", limit, f"{have} bytes are stored and more were coming")
            taken += more
            self._coming[tenant] += more

        try:
            yield take
        finally:
            self._coming[tenant] -= taken
            if not self._coming[tenant]:
                del self._coming[tenant]


def _used_up(tenant: str, quota: str, limit: int, why: str, retry_after_s: float | None = None) -> QuotaUsedUp:
    return QuotaUsedUp(
        f"tenant {tenant} may have {quota} = {limit}: {why}, or ask who runs the server for more",
        metadata={"tenant": tenant, "quota": quota, "limit": str(limit)},
        retry_after_s=retry_after_s,
    )


def _parsed(tables: Mapping[str, object]) -> tuple[Quota, Mapping[str, Quota]]:
    for name in tables:
        if name not in ("default", "tenant"):
            raise ValueError(f"[{name}] is neither [default] nor [tenant.NAME]")
    default = _kinds(tables.get("default", {}), "default")
    tenants = tables.get("tenant", {})
    if not isinstance(tenants, dict):
        raise ValueError("tenants are tables: [tenant.NAME]")  # noqa: TRY004 - a file says it, not a caller of this
    own = {tenant_name(name): Quota(**default | _kinds(table, f"tenant.{name}")) for name, table in tenants.items()}
    return Quota(**default), own


def _kinds(table: object, where: str) -> dict[str, int]:
    if not isinstance(table, dict):
        raise ValueError(f"[{where}] is no table")  # noqa: TRY004 - likewise
    for name, value in table.items():
        if name not in _KINDS:
            raise ValueError(f"[{where}] {name} is none of {', '.join(_KINDS)}")
        if type(value) is not int or value < 0:
            raise ValueError(f"[{where}] {name} is a whole number, 0 or more")
    return table
