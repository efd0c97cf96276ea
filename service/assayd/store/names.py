"""What a caller may call things, and how a model reference is read."""

from __future__ import annotations

import re
from dataclasses import dataclass

from assayd.errors import InvalidRequest
from assayd.store.digests import HEX, PREFIX

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,126}")
VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


def check_name(name: str) -> str:
    """A model name. Raises InvalidRequest naming `name`."""
    if not NAME.fullmatch(name):
        raise InvalidRequest(
            f"{name[:140]!r} is no model name: 1 to 127 of a-z, 0-9, '.', '_', '-', beginning with a letter or digit",
            field="name",
        )
    return name


def check_version(version: str) -> str:
    """A version. Raises InvalidRequest naming `version`."""
    if not VERSION.fullmatch(version):
        raise InvalidRequest(
            f"{version[:80]!r} is no version: 1 to 63 letters, digits, '.', '_', '-', beginning with a letter or digit",
            field="version",
        )
    return version


@dataclass(frozen=True)
class ModelRef:
    """A model reference: a digest, or a name with or without a version."""

    name: str = ""
    version: str = ""
    digest: str = ""


def parse_ref(text: str) -> ModelRef:
    """Read "name", "name@version" or "sha256:…". Raises InvalidRequest naming `model`."""
    if not text:
        raise InvalidRequest("name a model: 'name', 'name@version' or 'sha256:…'", field="model")
    if text.startswith(PREFIX):
        if not HEX.fullmatch(text.removeprefix(PREFIX)):
            raise InvalidRequest("a digest is 'sha256:' and 64 lower-case hex digits", field="model")
        return ModelRef(digest=text)
    name, at, version = text.partition("@")
    try:
        return ModelRef(check_name(name), check_version(version) if at else "")
    except InvalidRequest as error:
        error.field = "model"
        raise
