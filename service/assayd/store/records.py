"""Small files of JSON that know when they are damaged: one field is a check over the others.

Without it a changed digit would be another moment, size or digest, and as good a record as before.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

_CHECK = "check"


def encode(fields: Mapping[str, Any]) -> bytes:
    """A record's file."""
    return json.dumps({**fields, _CHECK: _check(fields)}).encode()


def decode(data: bytes, unchecked: frozenset[str]) -> dict[str, Any]:
    """A record's fields, also those that only a newer server knows. Raises ValueError where it is damaged.

    unchecked: the fields of records of format 1, which had no check.
    """
    try:
        fields = json.loads(data)
    except RecursionError:
        raise ValueError("no record") from None
    if not isinstance(fields, dict):
        raise ValueError("no record")  # noqa: TRY004 - of the file, not of an argument
    check = fields.pop(_CHECK, None)
    if check != _check(fields) and not (check is None and fields.keys() == unchecked):
        raise ValueError("the record doesn't match its check")
    return fields


def _check(fields: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
