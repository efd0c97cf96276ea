"""assay.v1.ModelService."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio

from assay.v1 import model_service_pb2 as pb
from assay.v1 import model_service_pb2_grpc
from assayd.api.call import CURRENT
from assayd.api.catalogue import Catalogue
from assayd.api.codec.models import encode_version
from assayd.api.codec.tensors import decode_tensor
from assayd.api.codec.vet import vet
from assayd.api.pace import Pace
from assayd.errors import InvalidRequest
from assayd.store.names import check_name, parse_ref
from assayd.types.model import ModelVersion

_DEFAULT_PAGE, _MAX_PAGE = 100, 1000

Context = grpc.aio.ServicerContext[Any, Any]


class ModelServicer(model_service_pb2_grpc.ModelServiceServicer):
    """Keeps models. pace: what an upload must keep."""

    def __init__(self, catalogue: Catalogue, pace: Pace | None = None) -> None:
        self._catalogue = catalogue
        self._pace = pace or Pace()

    async def UploadModel(
        self, request_iterator: AsyncIterator[pb.UploadModelRequest], context: Context
    ) -> pb.UploadModelResponse:
        """Store a model that comes in parts."""
        first = await anext(request_iterator, None)
        if first is None or first.WhichOneof("part") != "header":
            raise InvalidRequest("the first message of an upload carries the header", field="header")
        vet(first)
        call = CURRENT.get()
        call.model = first.header.name
        chunks = self._pace.kept(_chunks(request_iterator))
        model = await self._catalogue.upload(call.tenant, first.header, chunks, call.deadline)
        return pb.UploadModelResponse(model=model)

    async def GetModel(self, request: pb.GetModelRequest, context: Context) -> pb.GetModelResponse:
        """Describe one model."""
        vet(request)
        CURRENT.get().model = request.model[:128]
        return pb.GetModelResponse(model=await self._catalogue.describe(CURRENT.get().tenant, request.model))

    async def ListModels(self, request: pb.ListModelsRequest, context: Context) -> pb.ListModelsResponse:
        """List versions, a page at a time."""
        vet(request)
        if not 0 <= request.page_size <= _MAX_PAGE:
            raise InvalidRequest(f"a page has 1 to {_MAX_PAGE} versions", field="page_size")
        if request.name:
            check_name(request.name)
        after = _read_token(request.page_token)
        found = await asyncio.to_thread(self._after, CURRENT.get().tenant, request.name, after)
        page = found[: request.page_size or _DEFAULT_PAGE]
        token = _token(page[-1]) if len(found) > len(page) else ""
        return pb.ListModelsResponse(models=[encode_version(v) for v in page], next_page_token=token)

    def _after(self, tenant: str, only: str, after: tuple[str, float]) -> list[ModelVersion]:
        store = self._catalogue.store
        names = [only] if only else store.names(tenant)
        versions = (v for name in names if name >= after[0] for v in store.readable_versions(tenant, name))
        return [v for v in versions if (v.name, v.created) > after]

    async def DeleteModel(self, request: pb.DeleteModelRequest, context: Context) -> pb.DeleteModelResponse:
        """Remove a name or one version."""
        vet(request)
        ref = parse_ref(request.model)
        if ref.digest:
            raise InvalidRequest(
                "names and versions can be deleted; bytes go when the server purges them", field="model"
            )
        call = CURRENT.get()
        removed = await self._catalogue.delete(call.tenant, ref, call.deadline)
        return pb.DeleteModelResponse(deleted_versions=removed)

    async def PutTensor(self, request: pb.PutTensorRequest, context: Context) -> pb.PutTensorResponse:
        """Store a tensor."""
        vet(request)
        if request.tensor.WhichOneof("content") == "digest":
            raise InvalidRequest("a tensor is stored by its content", field="tensor.digest")
        call = CURRENT.get()
        array = decode_tensor(request.tensor, "tensor", lambda digest: self._catalogue.fetch(call.tenant, digest))
        return pb.PutTensorResponse(digest=await self._catalogue.keep_tensor(call.tenant, array, call.deadline))


async def _chunks(requests: AsyncIterator[pb.UploadModelRequest]) -> AsyncIterator[bytes]:
    async for request in requests:
        vet(request)
        if request.WhichOneof("part") != "chunk":
            raise InvalidRequest("after the header come chunks only", field="chunk")
        yield request.chunk


def _token(last: ModelVersion) -> str:
    return base64.urlsafe_b64encode(f"{last.name} {last.created!r}".encode()).decode()


def _read_token(token: str) -> tuple[str, float]:
    if not token:
        return "", 0.0
    try:
        name, _, created = base64.urlsafe_b64decode(token.encode()).decode().partition(" ")
        return name, float(created)
    except (ValueError, binascii.Error):
        raise InvalidRequest("not a token that this server gave", field="page_token") from None
