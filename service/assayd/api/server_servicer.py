"""assay.v1.ServerService."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc.aio

from assay.v1 import server_service_pb2 as pb
from assay.v1 import server_service_pb2_grpc
from assayd.api.codec.methods import revisions
from assayd.api.codec.vet import vet
from assayd.engine.fleet import Fleet

Context = grpc.aio.ServicerContext[Any, Any]


class ServerServicer(server_service_pb2_grpc.ServerServiceServicer):
    """Says what this server is."""

    def __init__(self, version: str, limits: pb.Limits, versions: Mapping[str, str], fleet: Fleet) -> None:
        self._version = version
        self._limits = limits
        self._versions = versions
        self._fleet = fleet

    async def GetInfo(self, request: pb.GetInfoRequest, context: Context) -> pb.GetInfoResponse:
        """Version, methods, limits and what really computes."""
        vet(request)
        methods = [pb.MethodInfo(name=name, revision=revision) for name, revision in revisions().items()]
        return pb.GetInfoResponse(
            version=self._version,
            methods=methods,
            limits=self._limits,
            providers=self._fleet.providers(),
            versions=self._versions,
            devices=[pb.Device(name=d.name, serving=d.serving, models_loaded=d.models) for d in self._fleet.states()],
        )
