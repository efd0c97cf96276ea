"""The versions of one tenant's models: a file each, linked into place whole and never rewritten."""

from __future__ import annotations

import logging
import os
import re
import time
from pathlib import Path

from assayd.errors import DataLoss, VersionTaken
from assayd.store import records
from assayd.store.digests import is_digest
from assayd.store.disk import listed, make_folder, read_bytes, settle, writing
from assayd.store.drafts import Draft
from assayd.store.names import NAME, VERSION
from assayd.types.model import ModelVersion

log = logging.getLogger(__name__)

_COUNTED = re.compile(r"[0-9]{1,18}")
"""Versions that the next integer counts on from."""
_DELETED, _ENDING = ".deleted-", ".json"
_FORMAT_1 = frozenset({"model", "spec", "size_bytes", "created"})


class Versions:
    """folder: with a folder for each name. drafts: folder of what is on its way. root: of the store.

    What changes them is called by one at a time, who holds the store's lock.
    """

    def __init__(self, folder: Path, tenant: str, drafts: Path, root: Path) -> None:
        self._folder = folder
        self._tenant = tenant
        self._drafts = drafts
        self._root = root

    # ---- reading -----------------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """All names that have a version, sorted. Raises StoreFull."""
        return [name for name in listed(self._folder) if NAME.fullmatch(name) and self._live(name)]

    def all(self, name: str) -> list[ModelVersion]:
        """Versions of one name, oldest first; none for an unknown name. Raises DataLoss, StoreFull."""
        found = (self.one(name, version) for version in self._live(name))
        return sorted((v for v in found if v is not None), key=lambda v: v.created)

    def readable(self, name: str) -> list[ModelVersion]:
        """Likewise, without those whose record is damaged; each is logged."""
        found = []
        for version in self._live(name):
            try:
                read = self.one(name, version)
            except DataLoss as damage:
                log.error("version not listed", extra={"why": damage.message})  # noqa: TRY400 - the disk's fault
            else:
                found.extend([] if read is None else [read])
        return sorted(found, key=lambda v: v.created)

    def one(self, name: str, version: str) -> ModelVersion | None:
        """A version, or None where there is none. Raises DataLoss, StoreFull."""
        return self._read(name, version, "")

    def mentioned(self) -> set[str]:
        """Digests of all models and specs that a version has, or had before it was deleted.

        Raises DataLoss where that can't be known of one, and StoreFull.
        """
        found: set[str] = set()
        for name in listed(self._folder):
            for prefix in ("", _DELETED):
                read = (self._read(name, version, prefix) for version in self._files(name, prefix))
                found |= {digest for v in read if v is not None for digest in (v.digest, v.spec_digest)}
        return found

    def _live(self, name: str) -> list[str]:
        return [version for version in self._files(name, "") if VERSION.fullmatch(version)]

    def _deleted(self, name: str) -> dict[str, tuple[str, str] | None]:
        """Digests of model and spec of versions that there were once; None where their record was damaged."""
        found: dict[str, tuple[str, str] | None] = {}
        for version in self._files(name, _DELETED):
            try:
                read = self._read(name, version, _DELETED)
                found[version] = (read.digest, read.spec_digest) if read else None
            except DataLoss:
                found[version] = None
        return found

    def _files(self, name: str, prefix: str) -> list[str]:
        """Versions by the names of their files. What else begins with a dot isn't ours."""
        files = (file for file in listed(self._folder / name) if file.endswith(_ENDING))
        ours = (file for file in files if (file.startswith(prefix) if prefix else not file.startswith(".")))
        return [file.removeprefix(prefix).removesuffix(_ENDING) for file in ours]

    def _path(self, name: str, version: str, prefix: str = "") -> Path:
        return self._folder / name / f"{prefix}{version}{_ENDING}"

    def _read(self, name: str, version: str, prefix: str) -> ModelVersion | None:
        try:
            data = read_bytes(self._path(name, version, prefix))
        except FileNotFoundError:  # deleted since it was listed
            return None
        try:
            return self._decoded(name, version, data or b"")
        except (ValueError, KeyError):
            raise DataLoss(
                f"the record of {name}@{version} is damaged; delete that version and upload the model as another",
                metadata={"name": name, "version": version},
            ) from None

    def _decoded(self, name: str, version: str, data: bytes) -> ModelVersion:
        record = records.decode(data, _FORMAT_1)
        model, spec, size, created = record["model"], record["spec"], record["size_bytes"], record["created"]
        if not (is_digest(model) and is_digest(spec) and type(size) is int and type(created) is float):
            raise ValueError("not what a version has")
        if (record.get("name", name), record.get("version", version)) != (name, version):
            raise ValueError("the record of another version")
        return ModelVersion(name, version, model, spec, size, created, self._tenant)

    # ---- changing ----------------------------------------------------------------------------------------------

    def same(self, name: str, version: str, digest: str, spec_digest: str) -> ModelVersion | None:
        """The version that has this pair already; for version "" only the newest can. None where there is none.

        Raises VersionTaken where the version has another pair, or had before it was deleted, and DataLoss, StoreFull.
        """
        pair, deleted, existing = (digest, spec_digest), self._deleted(name), self.all(name)
        if deleted.get(version, pair) != pair:
            raise _taken(name, version, " was, before it was deleted,")
        found = [v for v in existing if v.version == version] if version else existing[-1:]
        if found and (found[0].digest, found[0].spec_digest) == pair:
            with writing():
                settle(self._folder / name, self._root)  # whoever wrote it may not have come to that
            return found[0]
        if found and version:
            raise _taken(name, version, " is")
        return None

    def add(self, name: str, version: str, digest: str, spec_digest: str, size_bytes: int) -> ModelVersion:
        """Name a model and a spec; version "" is the next integer. Raises DataLoss, StoreFull."""
        existing = self.all(name)
        counted = [v for v in (*self._deleted(name), *(e.version for e in existing)) if _COUNTED.fullmatch(v)]
        number = 1 + max(map(int, counted), default=0)
        # Creation times order the versions, so each must be later than those before, whatever the clock does.
        created = max([time.time()] + [v.created + 1e-6 for v in existing])
        new = ModelVersion(name, version or str(number), digest, spec_digest, size_bytes, created, self._tenant)
        what = {"name": name, "version": new.version}
        fields = what | {"model": digest, "spec": spec_digest, "size_bytes": size_bytes, "created": created}
        with Draft(self._drafts) as draft, writing():
            draft.write(records.encode(fields))
            draft.seal()
            make_folder(self._folder / name)
            draft.link(self._path(name, new.version))
            settle(self._folder / name, self._root)
        return new

    def delete(self, name: str, version: str) -> int:
        """Remove a version, or all for version ""; returns how many. Raises StoreFull.

        What a version was is remembered: it never means anything else, since records of decisions name it.
        """
        removed = [v for v in self._live(name) if version in ("", v)]
        with writing():
            for each in removed:
                os.replace(self._path(name, each), self._path(name, each, _DELETED))  # noqa: PTH105
            if (self._folder / name).is_dir():  # where nothing is left, another server may have removed it just now
                settle(self._folder / name, self._root)
        return len(removed)


def _taken(name: str, version: str, how: str) -> VersionTaken:
    return VersionTaken(
        f"{name}@{version}{how} another model or has another spec, and a version never changes: choose another "
        "version, or none to get the next integer",
        field="version",
        metadata={"name": name, "version": version},
    )
