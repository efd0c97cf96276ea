"""Models as callers see them: resolved, with their specs, loaded when that is needed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TypeAlias, TypeVar, TypeVarTuple

from assay.v1 import model_service_pb2 as pb
from assayd.api.auth.quotas import Quotas
from assayd.api.call import not_over
from assayd.api.codec.models import check_spec, decode_spec, encode_model
from assayd.engine.backend import LoadedModel
from assayd.engine.fleet import Fleet
from assayd.errors import DigestMismatch, InvalidModel, TooLarge, within
from assayd.metrics import Metrics
from assayd.store.digests import normal_digest
from assayd.store.drafts import Draft
from assayd.store.names import ModelRef, check_name, check_version, parse_ref
from assayd.store.store import Store
from assayd.types.arrays import Array
from assayd.types.model import ModelSpec, ModelVersion

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

Resolved: TypeAlias = tuple[ModelVersion, pb.ModelSpec, ModelSpec]
"""A version, with its spec as it came and decoded."""


_RESOLVED_S = 0.5
"""So long is what a reference means remembered: what another server does to the store is seen no later than that."""
_MOST_RESOLVED = 10_000
_CHANGES_AT_ONCE = 4


class Catalogue:
    """Store and loaded models together. max_model_bytes: largest upload.

    deadline: of a call, monotonic; what it would change isn't begun later, nor once its task is cancelled.
    """

    def __init__(
        self,
        store: Store,
        models: Fleet,
        metrics: Metrics,
        max_model_bytes: int,
        quotas: Quotas | None = None,
    ) -> None:
        self.store = store
        self._models = models
        self._metrics = metrics
        self._max_model_bytes = max_model_bytes
        self._quotas = quotas or Quotas()
        self._resolved: dict[tuple[str, str], tuple[Resolved, float]] = {}
        # Another server may hold the store's lock for seconds; who only reads shall not wait for those who change it.
        self._changing = ThreadPoolExecutor(_CHANGES_AT_ONCE, "store-change")

    def close(self) -> None:
        """Change nothing any more; what is under way ends."""
        self._changing.shutdown(wait=False)

    async def resolve(self, tenant: str, ref: str) -> Resolved:
        """The version a reference means, with its spec. Raises ModelNotFound, InvalidRequest, DataLoss."""
        known = self._resolved.get((tenant, ref))
        if known is not None and time.monotonic() < known[1]:
            return known[0]
        if len(self._resolved) >= _MOST_RESOLVED:
            self._resolved.clear()
        until, resolved = time.monotonic() + _RESOLVED_S, self._resolved
        found = await asyncio.to_thread(self._resolve, tenant, ref)
        resolved[tenant, ref] = found, until  # of no use to anybody where the store was changed meanwhile
        return found

    async def delete(self, tenant: str, ref: ModelRef, deadline: float | None = None) -> int:
        """Remove a name or a version; so many versions went. Models without a name leave memory when nobody uses them.

        Raises ModelNotFound, DeadlinePassed.
        """
        nameless: list[str] = []  # filled, not returned: a call that was cancelled gets no result
        try:
            return await self._to_its_end(self._delete, tenant, ref, not_over(deadline), nameless)
        finally:
            self._resolved = {}
            for digest in nameless:
                self._models.drop(digest)

    def _delete(self, tenant: str, ref: ModelRef, check: Callable[[], None], nameless: list[str]) -> int:
        digests = {v.digest for v in self.store.readable_versions(tenant, ref.name) if ref.version in ("", v.version)}
        removed = self.store.delete(tenant, ref, check)
        nameless += [digest for digest in digests if not self.store.is_named(digest)]
        return removed

    def _resolve(self, tenant: str, ref: str) -> Resolved:
        version = self.store.resolve(tenant, parse_ref(ref))
        spec = pb.ModelSpec()
        if version.spec_digest:
            spec.ParseFromString(self.store.spec_bytes(tenant, version.spec_digest))
        return version, spec, decode_spec(spec, partial(self.fetch, tenant))

    def fetch(self, tenant: str, digest: str) -> Array:
        """A stored tensor. Raises TensorNotFound, DataLoss."""
        return self.store.get_tensor(tenant, digest)

    async def describe(self, tenant: str, ref: str) -> pb.Model:
        """A version with what loading it tells."""
        version, spec, facts = await self.resolve(tenant, ref)
        async with self._models.use(tenant, version.digest) as model:
            return encode_model(version, model.loaded, spec, facts)

    async def upload(
        self,
        tenant: str,
        header: pb.UploadModelHeader,
        chunks: AsyncIterator[bytes],
        deadline: float | None = None,
    ) -> pb.Model:
        """Store, load and prove a model. Nothing is left behind unless all of it succeeds.

        Raises InvalidModel, InvalidRequest, DigestMismatch, TooLarge, VersionTaken, StoreFull, ModelFailed, ModelUnfit,
        QuotaUsedUp, DeadlinePassed.
        """
        with within("header"):
            check_name(header.name)
            if header.version:
                check_version(header.version)
            with within("sha256"):
                stated = normal_digest(header.sha256) if header.sha256 else ""
        have = await self._stored_bytes(tenant)
        if have and stated:
            have -= await asyncio.to_thread(self.store.model_size, tenant, stated)  # stored twice it is one file
        with self._quotas.storing(tenant, have) as take:
            async with self._draft() as draft:
                async for chunk in chunks:
                    if draft.size + len(chunk) > self._max_model_bytes:
                        raise TooLarge(
                            f"a model has at most {self._max_model_bytes} bytes here",
                            field="chunk",
                            metadata={"limit": str(self._max_model_bytes)},
                        )
                    take(len(chunk))
                    self._metrics.upload_bytes.inc(len(chunk))
                    await self._to_its_end(draft.write, chunk)
                if not draft.size:
                    raise InvalidModel("no bytes came after the header", field="chunk")
                if stated and stated != draft.digest:
                    raise DigestMismatch(
                        f"the bytes that came have {draft.digest}, not the digest that was stated",
                        field="header.sha256",
                        metadata={"stated": stated, "actual": draft.digest},
                    )
                await asyncio.to_thread(self._check_models, tenant, header.name, draft.digest)
                loaded = await self._models.load(tenant, draft.digest, await self._to_its_end(draft.read))
                try:
                    return await self._to_its_end(self._keep, tenant, header, loaded, draft, not_over(deadline))
                finally:
                    self._resolved = {}

    @asynccontextmanager
    async def _draft(self) -> AsyncIterator[Draft]:
        draft = self.store.draft()
        try:
            yield draft
        finally:
            # Not behind changes that wait for the lock. Cancelled once more, the call leaves it to its thread.
            await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, draft.discard))

    async def keep_tensor(self, tenant: str, array: Array, deadline: float | None = None) -> str:
        """Store a tensor and return its digest. Raises StoreFull, QuotaUsedUp, DeadlinePassed."""
        with self._quotas.storing(tenant, await self._stored_bytes(tenant)) as take:
            take(array.nbytes)
            return await self._to_its_end(self.store.put_tensor, tenant, array, not_over(deadline))

    async def _stored_bytes(self, tenant: str) -> int:
        if self._quotas.of(tenant).stored_bytes is None:
            return 0
        return await asyncio.to_thread(self.store.stored_bytes, tenant)

    def _check_models(self, tenant: str, name: str, digest: str) -> None:
        """A model that has the name already may get it again: then no version is added."""
        if self._quotas.of(tenant).models is None:
            return
        if not any(v.digest == digest for v in self.store.readable_versions(tenant, name)):
            versions = (self.store.readable_versions(tenant, each) for each in self.store.names(tenant))
            self._quotas.check_models(tenant, sum(map(len, versions)))

    def _keep(
        self,
        tenant: str,
        header: pb.UploadModelHeader,
        loaded: LoadedModel,
        draft: Draft,
        check: Callable[[], None],
    ) -> pb.Model:
        facts = self._checked_spec(tenant, header.spec, loaded)
        spec = header.spec.SerializeToString(deterministic=True)
        version = self.store.publish(tenant, header.name, header.version, draft, spec, check)
        return encode_model(version, loaded, header.spec, facts)

    def _checked_spec(self, tenant: str, spec: pb.ModelSpec, loaded: LoadedModel) -> ModelSpec:
        with within("header.spec"):
            facts = decode_spec(spec, partial(self.fetch, tenant))
            check_spec(spec, loaded.signature)
            return facts

    async def _to_its_end(self, function: Callable[[*Ts], T], *arguments: *Ts) -> T:
        """Run on a thread for changes of the store.

        A cancelled call takes back what no thread has begun. It waits for the end of what has, since it may not drop a
        draft that is written, nor forget what was changed.
        """
        change = self._changing.submit(partial(function, *arguments))
        running = asyncio.wrap_future(change)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            change.cancel()
            while not running.done():
                with suppress(asyncio.CancelledError):
                    await asyncio.wait({running})
            if not running.cancelled():
                running.exception()  # seen; nobody is told any more
            raise
