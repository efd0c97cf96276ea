"""The store of one server: per tenant, models, specs and tensors by digest, and versions by name.

    <root>/<tenant>/models/<hex>      the .onnx bytes as they came
    <root>/<tenant>/specs/<hex>       deterministic serialisation of a ModelSpec
    <root>/<tenant>/tensors/<hex>     a header line (dtype and shape) and the elements
    <root>/<tenant>/tunings/<hex>-<fingerprint>.json  how a model runs fastest on a kind of device
    <root>/<tenant>/names/<name>/<version>.json, and .deleted-<version>.json of what was deleted

A version's file is linked into place whole or not at all, and never rewritten, so several servers may share a store.
"""

from __future__ import annotations

import json
import logging
import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from assayd.errors import DataLoss, ModelNotFound, TensorNotFound, VersionTaken
from assayd.store.blobs import PREFIX, Blobs, Draft, store_error, sync_folder
from assayd.store.names import ModelRef, check_name, check_version
from assayd.store.tensors import deserialise, serialise
from assayd.types.arrays import Array
from assayd.types.model import ModelVersion, Tuning

log = logging.getLogger(__name__)

_COUNTED = re.compile(r"[0-9]{1,18}")
"""Versions that the next integer counts on from."""
_DELETED = ".deleted-"


class Store:
    """Everything that outlives the process. Methods block on the disk; call them off the event loop."""

    def __init__(self, root: Path) -> None:
        self._root = root
        root.mkdir(parents=True, exist_ok=True)

    def _models(self, tenant: str) -> Blobs:
        return Blobs(self._root / tenant / "models")

    def _specs(self, tenant: str) -> Blobs:
        return Blobs(self._root / tenant / "specs")

    def _tensors(self, tenant: str) -> Blobs:
        return Blobs(self._root / tenant / "tensors")

    def _names(self, tenant: str) -> Path:
        return self._root / tenant / "names"

    # ---- models ------------------------------------------------------------------------------------------------

    def draft_model(self, tenant: str) -> Draft:
        """Begin an upload; its bytes become a model by `Draft.commit`."""
        return self._models(tenant).draft()

    def model_bytes(self, tenant: str, digest: str) -> bytes:
        """The .onnx bytes. Raises ModelNotFound, DataLoss."""
        try:
            return self._models(tenant).get(digest)
        except FileNotFoundError:
            raise _not_found(digest) from None

    def model_size(self, tenant: str, digest: str) -> int:
        """Size of a model's bytes, 0 where they aren't there."""
        try:
            return self._models(tenant).size(digest)
        except FileNotFoundError:
            return 0

    def stored_bytes(self, tenant: str) -> int:
        """Size of all models, specs and tensors, also of those that nothing names any more."""
        kinds = (self._models(tenant), self._specs(tenant), self._tensors(tenant))
        return sum(blobs.total_size() for blobs in kinds)

    def spec_bytes(self, tenant: str, digest: str) -> bytes:
        """A spec's serialisation. Raises ModelNotFound, DataLoss."""
        try:
            return self._specs(tenant).get(digest)
        except FileNotFoundError:
            raise _not_found(digest) from None

    # ---- tunings -----------------------------------------------------------------------------------------------

    def tuning(self, tenant: str, digest: str, fingerprint: str) -> Tuning | None:
        """What was kept of a model and a device; None where nothing was, or it can't be read."""
        try:
            record = json.loads(self._tuning_file(tenant, digest, fingerprint).read_text())
            rows, threads, runs = record["rows"], record["threads"], record["runs"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        known = all(type(n) is int for n in (rows, threads, runs)) and rows >= 1 and threads >= 0 and runs >= 1
        return Tuning(rows, threads, runs) if known else None

    def keep_tuning(self, tenant: str, digest: str, fingerprint: str, tuning: Tuning) -> None:
        """Keep it, in place of what was kept before. Raises StoreFull."""
        path = self._tuning_file(tenant, digest, fingerprint)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Not synced: what a power cut takes is measured again.
            handle, name = tempfile.mkstemp(prefix=".draft-", dir=path.parent)
            try:
                with os.fdopen(handle, "w") as file:
                    json.dump({"rows": tuning.rows, "threads": tuning.threads, "runs": tuning.runs}, file)
                Path(name).replace(path)
            finally:
                Path(name).unlink(missing_ok=True)
        except OSError as error:
            raise store_error(error) from error

    def _tuning_file(self, tenant: str, digest: str, fingerprint: str) -> Path:
        return self._root / tenant / "tunings" / f"{digest.removeprefix(PREFIX)}-{fingerprint}.json"

    # ---- versions ----------------------------------------------------------------------------------------------

    def add_version(self, tenant: str, name: str, version: str, digest: str, spec: bytes) -> ModelVersion:
        """Name a stored model and its spec; version "" is the next integer.

        The same pair under the same version, or without a version as the newest, returns the old one. Raises
        VersionTaken, InvalidRequest, StoreFull.
        """
        check_name(name)
        if version:
            check_version(version)
        spec_digest = self._specs(tenant).put(spec)
        size = self._models(tenant).size(digest)
        while True:
            existing, deleted = self.versions(tenant, name), self._deleted(tenant, name)
            if deleted.get(version) not in (None, (digest, spec_digest)):
                raise _taken(name, version, " was, before it was deleted,")
            if version:
                same = [v for v in existing if v.version == version]
            else:
                same = [v for v in existing[-1:] if (v.digest, v.spec_digest) == (digest, spec_digest)]
            if same:
                if (same[0].digest, same[0].spec_digest) != (digest, spec_digest):
                    raise _taken(name, version, " is")
                return same[0]
            counted = [v for v in (*deleted, *(e.version for e in existing)) if _COUNTED.fullmatch(v)]
            number = 1 + max(map(int, counted), default=0)
            # Creation times order the versions, so each must be later than those before, whatever the clock does.
            created = max([time.time()] + [v.created + 1e-6 for v in existing])
            new = ModelVersion(name, version or str(number), digest, spec_digest, size, created, tenant)
            if self._link_version(new):
                return new

    def _link_version(self, v: ModelVersion) -> bool:
        """Write a version's file unless another server was first."""
        folder = self._names(v.tenant) / v.name
        record = {"model": v.digest, "spec": v.spec_digest, "size_bytes": v.size_bytes, "created": v.created}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", prefix=".draft-", dir=folder) as file:
                json.dump(record, file)
                file.flush()
                os.fsync(file.fileno())
                os.link(file.name, folder / f"{v.version}.json")
            sync_folder(folder)
        except FileExistsError:
            return False
        except OSError as error:
            raise store_error(error) from error
        return True

    def names(self, tenant: str) -> list[str]:
        """All names, sorted."""
        folder = self._names(tenant)
        found = folder.iterdir() if folder.is_dir() else ()
        return sorted(p.name for p in found if next(self._version_files(tenant, p.name), None) is not None)

    def versions(self, tenant: str, name: str) -> list[ModelVersion]:
        """Versions of one name, oldest first; none for an unknown name. Raises DataLoss."""
        found = (self._read_version(tenant, name, path) for path in self._version_files(tenant, name))
        return sorted((v for v in found if v is not None), key=lambda v: v.created)

    def readable_versions(self, tenant: str, name: str) -> list[ModelVersion]:
        """Likewise, without those whose record is damaged; each is logged."""
        found = []
        for path in self._version_files(tenant, name):
            try:
                version = self._read_version(tenant, name, path)
            except DataLoss as damage:
                log.error("version not listed", extra={"why": damage.message})  # noqa: TRY400 - the disk's fault
            else:
                found.extend([] if version is None else [version])
        return sorted(found, key=lambda v: v.created)

    def _version_files(self, tenant: str, name: str) -> Iterator[Path]:
        return (self._names(tenant) / name).glob("[!.]*.json")

    def _deleted(self, tenant: str, name: str) -> dict[str, tuple[str, str] | None]:
        """Digests of model and spec of versions that there were once; None where their record was damaged."""
        found: dict[str, tuple[str, str] | None] = {}
        for path in (self._names(tenant) / name).glob(f"{_DELETED}*.json"):
            version = path.name.removeprefix(_DELETED).removesuffix(".json")
            try:
                record = json.loads(path.read_text())
                found[version] = record["model"], record["spec"]
            except (ValueError, KeyError, TypeError):
                found[version] = None
        return found

    def _read_version(self, tenant: str, name: str, path: Path) -> ModelVersion | None:
        """A version, or None where it was deleted since it was listed."""
        version = path.name.removesuffix(".json")
        try:
            record = json.loads(path.read_text())
            digests = record["model"], record["spec"]
            return ModelVersion(name, version, *digests, record["size_bytes"], record["created"], tenant)
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):
            raise DataLoss(
                f"the record of {name}@{version} is damaged; delete that version and upload it again",
                metadata={"name": name, "version": version},
            ) from None

    def resolve(self, tenant: str, ref: ModelRef) -> ModelVersion:
        """The version a reference means; by digest it is nameless and has an empty spec. Raises ModelNotFound."""
        if ref.digest:
            try:
                size = self._models(tenant).size(ref.digest)
            except FileNotFoundError:
                raise _not_found(ref.digest) from None
            return ModelVersion("", "", ref.digest, "", size, 0.0, tenant)
        found = [v for v in self.versions(tenant, ref.name) if ref.version in ("", v.version)]
        if not found:
            raise _not_found(f"{ref.name}@{ref.version}" if ref.version else ref.name)
        return found[-1]

    def delete(self, tenant: str, ref: ModelRef) -> int:
        """Remove a name's versions, or one; their bytes stay. Returns how many. Raises ModelNotFound.

        What a version was is remembered: it never means anything else, since records of decisions name it.
        """
        removed = 0
        for path in list(self._version_files(tenant, ref.name)):
            if ref.version in ("", path.name.removesuffix(".json")):
                with suppress(FileNotFoundError):  # another server was first
                    path.rename(path.with_name(_DELETED + path.name))
                    removed += 1
        if not removed:
            raise _not_found(f"{ref.name}@{ref.version}" if ref.version else ref.name)
        sync_folder(self._names(tenant) / ref.name)
        return removed

    def is_named(self, digest: str) -> bool:
        """Whether any tenant's version has this model."""
        tenants = (path.name for path in self._root.iterdir() if path.is_dir())
        versions = (v for t in tenants for name in self.names(t) for v in self.readable_versions(t, name))
        return any(v.digest == digest for v in versions)

    # ---- tensors -----------------------------------------------------------------------------------------------

    def put_tensor(self, tenant: str, array: Array) -> str:
        """Store a tensor and return the digest over its dtype, shape and elements."""
        return self._tensors(tenant).put(serialise(array))

    def get_tensor(self, tenant: str, digest: str) -> Array:
        """A stored tensor. Raises TensorNotFound, DataLoss."""
        try:
            return deserialise(self._tensors(tenant).get(digest))
        except FileNotFoundError:
            raise TensorNotFound(
                f"no tensor {digest[:80]} is stored; put it again", metadata={"digest": digest[:80]}
            ) from None


def _taken(name: str, version: str, how: str) -> VersionTaken:
    return VersionTaken(
        f"{name}@{version}{how} another model or has another spec, and a version never changes: choose another "
        "version, or none to get the next integer",
        field="version",
        metadata={"name": name, "version": version},
    )


def _not_found(what: str) -> ModelNotFound:
    return ModelNotFound(f"there is no model {what!r}", field="model", metadata={"model": what})
