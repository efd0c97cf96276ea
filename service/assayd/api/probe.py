"""Asks a running server how it is, for container health checks."""

from __future__ import annotations

from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

_TIMEOUT_S = 5.0


def probe(address: str) -> str:
    """Health of the server at host:port: "SERVING", "NOT_SERVING", or the name of the status code of a failed call."""
    with grpc.insecure_channel(address) as channel:
        try:
            stub: Any = health_pb2_grpc.HealthStub(channel)  # its type stub leaves the calls out
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=_TIMEOUT_S)
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()
            return code.name
    name: str = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    return name
