"""The store of one server: per tenant, models, specs and tensors by digest, and versions by name.

Several servers may share one. `assayd.store.layout` says what lies where.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from assayd.errors import AssayError, DataLoss, ModelNotFound, TensorNotFound, Unavailable
from assayd.store import drafts, layout, records
from assayd.store.blobs import Blobs
from assayd.store.digests import PREFIX, digest_of
from assayd.store.disk import held, listed, make_folder, read_bytes, unchecked, writing
from assayd.store.drafts import Draft
from assayd.store.names import ModelRef, check_name, check_version
from assayd.store.tensors import deserialise, serialise
from assayd.store.versions import Versions
from assayd.types.arrays import Array
from assayd.types.model import ModelVersion, Tuning

log = logging.getLogger(__name__)

_TUNING_1 = frozenset({"rows", "threads"})
_LISTED = 5
"""Versions that an error names."""


class Store:
    """Everything that outlives the process. Methods block on the disk; call them off the event loop.

    check: called right before a change begins; what it raises leaves everything as it is.

    Raises OSError where the folder can't be made, ValueError where it wants a newer server.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._drafts = root / ".drafts"
        make_folder(root)
        layout.enter(root, self._drafts)

    def _blobs(self, tenant: str, kind: str) -> Blobs:
        return Blobs(self._root / tenant / kind, self._drafts, self._root)

    def _models(self, tenant: str) -> Blobs:
        return self._blobs(tenant, "models")

    def _specs(self, tenant: str) -> Blobs:
        return self._blobs(tenant, "specs")

    def _tensors(self, tenant: str) -> Blobs:
        return self._blobs(tenant, "tensors")

    def _versions(self, tenant: str) -> Versions:
        return Versions(self._root / tenant / "names", tenant, self._drafts, self._root)

    def _tenants(self) -> list[str]:
        return [name for name in listed(self._root) if not name.startswith(".") and (self._root / name).is_dir()]

    @contextmanager
    def _changing(self, check: Callable[[], None] = unchecked) -> Iterator[None]:
        """One at a time, over all servers: what a version means is decided, and what nothing names is removed."""
        with held(self._root / ".lock", check):
            yield

    # ---- after a crash -----------------------------------------------------------------------------------------

    def clean(self) -> None:
        """Remove what processes left that ended on the way; what others have under way stays. Never fails."""
        try:
            removed = drafts.clear(self._drafts)
            with self._changing():
                removed += sum(self._drop_unnamed(tenant) for tenant in self._tenants())
        except (AssayError, OSError) as error:
            log.warning("the store isn't cleaned up", extra={"why": str(error)})
        else:
            if removed:
                log.info("removed what was left of uploads", extra={"files": removed})

    def _drop_unnamed(self, tenant: str) -> int:
        """Remove models and specs that no version ever had. The caller holds the lock."""
        if layout.is_newer(self._root):
            return 0
        try:
            named = self._versions(tenant).mentioned()
        except DataLoss as damage:  # who knows what it named
            log.warning("bytes without a name are kept", extra={"why": damage.message})
            return 0
        return sum(blobs.drop_all_but(named) for blobs in (self._models(tenant), self._specs(tenant)))

    # ---- models ------------------------------------------------------------------------------------------------

    def draft(self) -> Draft:
        """Begin an upload; its bytes become a model by `publish`."""
        return Draft(self._drafts)

    def publish(
        self,
        tenant: str,
        name: str,
        version: str,
        draft: Draft,
        spec: bytes,
        check: Callable[[], None] = unchecked,
    ) -> ModelVersion:
        """Store an uploaded model and its spec under a name; version "" is the next integer.

        The same pair under the same version, or without a version as the newest, returns the old one. When it returns,
        all of it is on the disk itself; when it raises, nothing of it is in the store, unless it was the very last step
        that failed. Raises VersionTaken, InvalidRequest, DataLoss, StoreFull.
        """
        check_name(name)
        if version:
            check_version(version)
        draft.seal()  # before the lock, since it takes long for large models
        with self._changing(check):
            versions, spec_digest = self._versions(tenant), digest_of(spec)
            same = versions.same(name, version, draft.digest, spec_digest)
            try:
                self._models(tenant).keep(draft)  # heals damaged bytes of the same version
                self._specs(tenant).put(spec)
                return same or versions.add(name, version, draft.digest, spec_digest, draft.size)
            except Unavailable:
                with suppress(AssayError, OSError):
                    self._drop_unnamed(tenant)
                raise

    def model_bytes(self, tenant: str, digest: str) -> bytes:
        """The .onnx bytes of a model that was resolved. Raises DataLoss, StoreFull."""
        return _found(self._models(tenant), digest)

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
        """A version's spec, serialised. Raises DataLoss, StoreFull."""
        return _found(self._specs(tenant), digest)

    # ---- tunings -----------------------------------------------------------------------------------------------

    def tuning(self, tenant: str, digest: str, fingerprint: str) -> Tuning | None:
        """What was kept of a model and a device; None where nothing was, or it can't be read."""
        try:
            record = records.decode(read_bytes(self._tuning_file(tenant, digest, fingerprint)) or b"", _TUNING_1)
            rows, threads, runs = record["rows"], record["threads"], record.get("runs", 1)
        except (FileNotFoundError, Unavailable, ValueError, KeyError):
            return None
        known = all(type(n) is int for n in (rows, threads, runs)) and rows >= 1 and threads >= 0 and runs >= 1
        return Tuning(rows, threads, runs) if known else None

    def keep_tuning(self, tenant: str, digest: str, fingerprint: str, tuning: Tuning) -> None:
        """Keep it, in place of what was kept before. Raises StoreFull."""
        path = self._tuning_file(tenant, digest, fingerprint)
        with Draft(self._drafts) as draft, writing():
            draft.write(records.encode({"rows": tuning.rows, "threads": tuning.threads, "runs": tuning.runs}))
            make_folder(path.parent)
            draft.move(path)  # not synced: what a power cut takes or damages is measured again

    def _tuning_file(self, tenant: str, digest: str, fingerprint: str) -> Path:
        return self._root / tenant / "tunings" / f"{digest.removeprefix(PREFIX)}-{fingerprint}.json"

    # ---- versions ----------------------------------------------------------------------------------------------

    def names(self, tenant: str) -> list[str]:
        """All names, sorted. Raises StoreFull."""
        return self._versions(tenant).names()

    def versions(self, tenant: str, name: str) -> list[ModelVersion]:
        """Versions of one name, oldest first; none for an unknown name. Raises DataLoss, StoreFull."""
        return self._versions(tenant).all(name)

    def readable_versions(self, tenant: str, name: str) -> list[ModelVersion]:
        """Likewise, without those whose record is damaged; each is logged. Raises StoreFull."""
        return self._versions(tenant).readable(name)

    def resolve(self, tenant: str, ref: ModelRef) -> ModelVersion:
        """The version a reference means; by digest it is nameless and has an empty spec.

        Raises ModelNotFound, DataLoss where its record is damaged, or for a bare name that of any version, StoreFull.
        """
        if ref.digest:
            try:
                size = self._models(tenant).size(ref.digest)
            except FileNotFoundError:
                raise _not_found(ref.digest) from None
            return ModelVersion("", "", ref.digest, "", size, 0.0, tenant)
        versions = self._versions(tenant)
        found = [versions.one(ref.name, ref.version)] if ref.version else versions.all(ref.name)
        if not found or found[-1] is None:
            raise self._no_version(tenant, ref)
        return found[-1]

    def _no_version(self, tenant: str, ref: ModelRef) -> ModelNotFound:
        """Names what there is: which of them a caller meant is seen at a glance."""
        if not ref.version:
            return _not_found(ref.name)
        there = [version.version for version in self.readable_versions(tenant, ref.name)][-_LISTED:]
        return _not_found(f"{ref.name}@{ref.version}", f"; the newest versions are {', '.join(there)}" if there else "")

    def delete(self, tenant: str, ref: ModelRef, check: Callable[[], None] = unchecked) -> int:
        """Remove a name's versions, or one; their bytes stay. Returns how many. Raises ModelNotFound, StoreFull."""
        with self._changing(check):
            removed = self._versions(tenant).delete(ref.name, ref.version)
        if not removed:
            raise _not_found(f"{ref.name}@{ref.version}" if ref.version else ref.name)
        return removed

    def is_named(self, digest: str) -> bool:
        """Whether any tenant's version has this model."""
        tenants = self._tenants()
        versions = (v for t in tenants for name in self.names(t) for v in self.readable_versions(t, name))
        return any(v.digest == digest for v in versions)

    # ---- tensors -----------------------------------------------------------------------------------------------

    def put_tensor(self, tenant: str, array: Array, check: Callable[[], None] = unchecked) -> str:
        """Store a tensor and return the digest over its dtype, shape and elements. Raises StoreFull."""
        data = serialise(array)
        check()
        return self._tensors(tenant).put(data)

    def get_tensor(self, tenant: str, digest: str) -> Array:
        """A stored tensor. Raises TensorNotFound, DataLoss, StoreFull."""
        try:
            return deserialise(self._tensors(tenant).get(digest))
        except FileNotFoundError:
            raise TensorNotFound(
                f"no tensor {digest[:80]} is stored; put it again", metadata={"digest": digest[:80]}
            ) from None


def _found(blobs: Blobs, digest: str) -> bytes:
    try:
        return blobs.get(digest)
    except FileNotFoundError:
        raise DataLoss(f"the bytes of {digest} are gone; upload them again", metadata={"digest": digest}) from None


def _not_found(what: str, but: str = "") -> ModelNotFound:
    return ModelNotFound(f"there is no model {what!r}{but}", field="model", metadata={"model": what})
