"""A model's bytes as the messages of an upload."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from assay.errors import invalid
from assay.models import ModelSpec, encode_spec
from assay.v1 import model_service_pb2

CHUNK_BYTES = 1 << 18
"""Well below the smallest limit of messages that a server is likely to have."""

Source: TypeAlias = str | os.PathLike[str] | bytes
"""A path, or the bytes of the .onnx file."""


def upload_requests(
    source: Source, name: str, version: str | None, spec: ModelSpec | Mapping[str, Any] | None
) -> Iterator[model_service_pb2.UploadModelRequest]:
    """Header and chunks. The file is read twice, first for its digest, and never held as a whole.

    Raises OSError here and now for a file that can't be read, since gRPC would hide what its iterator raises, and
    InvalidArgument for an empty one.
    """
    sha256, size = hashlib.sha256(), 0
    with _open(source) as file:
        for chunk in _chunks(file):
            sha256.update(chunk)
            size += len(chunk)
    if not size and not isinstance(source, bytes):
        raise invalid("model", f"{os.fspath(source)} is empty")  # the server, which sees no file, speaks of chunks
    header = model_service_pb2.UploadModelHeader(
        name=name, version=version or "", sha256=f"sha256:{sha256.hexdigest()}", spec=encode_spec(spec)
    )
    return _messages(source, header)


def _messages(
    source: Source, header: model_service_pb2.UploadModelHeader
) -> Iterator[model_service_pb2.UploadModelRequest]:
    yield model_service_pb2.UploadModelRequest(header=header)
    with _open(source) as file:
        for chunk in _chunks(file):
            yield model_service_pb2.UploadModelRequest(chunk=chunk)


def _open(source: Source) -> BinaryIO:
    return io.BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb")


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(CHUNK_BYTES):
        yield chunk
