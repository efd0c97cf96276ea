"""Who calls: a tenant, and what it may do."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

_TENANT = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


class Role(StrEnum):
    """What a caller may do; admin holds all of them."""

    EXPLAIN = "explain"
    UPLOAD = "upload"
    ADMIN = "admin"


@dataclass(frozen=True)
class Identity:
    """A caller whose credentials were checked. tenant: whose models, tensors and quota these are."""

    tenant: str
    roles: frozenset[Role]


ANYBODY = Identity("default", frozenset(Role))
"""Where no credentials are asked for."""


class Authority(Protocol):
    """Knows credentials."""

    def identify(self, token: str) -> Identity:
        """Whose token it is. Raises Unauthenticated."""
        ...


def tenant_name(text: str) -> str:
    """A tenant's name, which is also that of its folder. Raises ValueError."""
    if not _TENANT.fullmatch(text):
        raise ValueError(
            f"{text[:80]!r} is no tenant: 1 to 63 of a-z, 0-9, '.', '_', '-', beginning with a letter or digit"
        )
    return text


def roles_of(names: Collection[str]) -> frozenset[Role]:
    """Roles by their names, one at least. Raises ValueError."""
    known = {role.value for role in Role}
    wrong = sorted(set(names) - known)
    if wrong or not names:
        raise ValueError(f"roles are some of {', '.join(sorted(known))}, not {', '.join(wrong)[:80] or 'none'}")
    return frozenset(Role(name) for name in names)
