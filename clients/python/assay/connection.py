"""What the clients have in common besides their plans: how they are made, and how they open and end."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

import grpc

from assay.calls import Calls
from assay.channel import PEM, TLS, credentials
from assay.v1 import explain_service_pb2_grpc, model_service_pb2_grpc, server_service_pb2_grpc

Channel = TypeVar("Channel", grpc.Channel, grpc.aio.Channel)

# The generated stubs' constructors carry no types.
_STUBS: tuple[Any, ...] = (
    model_service_pb2_grpc.ModelServiceStub,
    explain_service_pb2_grpc.ExplainServiceStub,
    server_service_pb2_grpc.ServerServiceStub,
)


def rpcs(channel: grpc.Channel | grpc.aio.Channel) -> dict[str, Any]:
    """The server's RPCs by name."""
    return {name: rpc for stub in _STUBS for name, rpc in vars(stub(channel)).items()}


class Connection(ABC, Generic[Channel]):
    """One connection to one server, made by the first call."""

    def __init__(
        self,
        address: str,
        tls: TLS | PEM | bool | None = None,
        token: str | None = None,
        *,
        traceparent: Callable[[], str | None] | None = None,
    ) -> None:
        self._address = address
        self._credentials = credentials(tls)
        self._calls = Calls(token, traceparent)
        self._opening = threading.Lock()
        self._closed = False
        self._channel: Channel | None = None
        self._by_name: dict[str, Any] = {}

    @staticmethod
    @abstractmethod
    def _open(address: str, secure: grpc.ChannelCredentials | None) -> Channel:
        """A channel of this client's kind."""

    def _rpcs(self) -> Mapping[str, Any]:
        with self._opening:
            if self._closed:
                raise ValueError("the client is closed")
            if self._channel is None:
                # Not before it's needed: a channel of asyncio belongs to the event loop that it is opened in.
                self._channel = self._open(self._address, self._credentials)
                self._by_name = rpcs(self._channel)
            return self._by_name

    def _end(self) -> Channel | None:
        """The channel to be closed, if there is one; no other will be opened."""
        with self._opening:
            self._closed = True
            return self._channel
