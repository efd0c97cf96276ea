"""All settings of a server, the unit in each name. A flag --like-this is also ASSAYD_LIKE_THIS in the environment."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, DirectoryPath, Field, FilePath, StringConstraints
from pydantic_settings import BaseSettings, SettingsConfigDict

_LEAST_MEMORY = 2**28

Address = Annotated[str, StringConstraints(pattern=r"^.+:\d{1,5}$")]


def _none_or_much(value: int) -> int:
    if value and value < _LEAST_MEMORY:
        raise ValueError(f"0 for no limit, or at least {_LEAST_MEMORY} bytes")
    return value


class Settings(BaseSettings):
    """Serve ONNX models and explain their answers over gRPC."""

    model_config = SettingsConfigDict(
        frozen=True,
        env_prefix="ASSAYD_",
        cli_prog_name="assayd serve",
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
    )

    listen: Address = Field("127.0.0.1:50051", description="gRPC address; port 0 picks a free one")
    metrics: Address = Field("127.0.0.1:9464", description="address of the Prometheus page; port 0 picks a free one")
    tls_cert: FilePath | None = Field(None, description="certificate chain, PEM; read again when it changes")
    tls_key: FilePath | None = Field(None, description="private key of the certificate, PEM without a password")
    tls_client_ca: FilePath | None = Field(
        None, description="authorities, PEM: callers must show a certificate that one of them signed"
    )
    insecure: bool = Field(False, description="serve plain text also where others than this machine can connect")
    probes: Address | None = Field(
        None, description="address of health alone, in plain text without credentials; port 0 picks a free one"
    )
    tokens: FilePath | None = Field(
        None, description="tokens that callers must show, a line each as `assayd token` prints it; read when it changes"
    )
    jwks: FilePath | None = Field(
        None, description="public keys (JWKS) of those who sign callers' JWTs; read again when it changes"
    )
    jwt_issuer: str | None = Field(None, description="what iss of a JWT must say; needed with --jwks")
    jwt_audience: str | None = Field(None, description="what aud of a JWT must say; needed with --jwks")
    quotas: FilePath | None = Field(
        None, description="what tenants may use of rows, bytes and models, TOML; read again when it changes"
    )
    store: Path = Field(description="folder that keeps models, specs and tensors")
    models: DirectoryPath | None = Field(
        None, description="folder of NAME/VERSION/model.onnx (and spec.json) to load at start and keep in memory"
    )
    provider: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="auto takes CUDA where a session really gets it"
    )
    devices: str = Field(
        "all",
        pattern=r"^(all|\d{1,4}(,\d{1,4})*)$",
        description="numbers of the GPUs to use, such as 0,2, as CUDA numbers those that it sees, or all. On the CPU, "
        "0,1 shares it out to two that each have half of the cores; all is one that has all of them",
    )
    spread_after_s: float = Field(
        1.0,
        gt=0,
        description="device time that waits for a model, beyond its load, when another device loads it too",
    )
    precision: Literal["fp32", "tf32", "fp16"] = Field(
        "fp32", description="of a GPU's arithmetic; Jacobians and reproducible requests are always in fp32"
    )
    threads: int = Field(
        0, ge=0, description="threads of one model run; default by a sweep, else as onnxruntime chooses"
    )
    isolation: Literal["process", "none"] = Field(
        "process" if sys.platform == "linux" else "none",
        description="process runs each model in one of its own; none is for models you trust",
    )
    worker_memory_bytes: Annotated[int, AfterValidator(_none_or_much)] | None = Field(
        None,
        description="address space of a model's process, 0 for no limit; default 80 % of what the server may use, at "
        "least 2 GiB. On CUDA: memory of a session there, by default without a limit",
    )
    max_batch_s: float = Field(60.0, gt=0, description="longest run of one batch")
    max_load_s: float = Field(300.0, gt=0, description="longest load of a model, with its proof")
    batch_rows: int | None = Field(
        None, ge=1, le=4096, description="most rows in a batch; default by a sweep, or by the size of a row"
    )
    sweep_ms: float = Field(
        1000.0,
        ge=0,
        description="time to find a model's batch size and threads where they aren't given, when it is first loaded, "
        "or a quarter of its load where that is longer; 0 for none",
    )
    gather_ms: float = Field(50.0, ge=0, le=1000, description="longest wait of a batch for jobs being planned")
    max_queued_rows: int = Field(5_000_000, ge=1, description="rows waiting before new work is refused")
    max_request_rows: int = Field(5_000_000, ge=1, description="rows one request may ask for")
    max_message_bytes: int = Field(64 * 1024 * 1024, ge=1024, description="largest gRPC message, both ways")
    max_metadata_bytes: int = Field(16 * 1024, ge=1024, description="most metadata of a call")
    max_concurrent_calls: int = Field(1000, ge=1, description="calls under way before more are refused")
    max_concurrent_uploads: int = Field(8, ge=1, description="uploads under way before more are refused")
    tenant_share: float = Field(
        0.5, gt=0, le=1, description="of calls, uploads and bytes of messages, what one tenant may have under way"
    )
    max_bytes_in_flight: int | None = Field(
        None,
        ge=1024,
        description="bytes of messages that are read or held at once; default an eighth of the memory that the server "
        "may use, and at least 16 of the largest messages",
    )
    max_connections: int = Field(1000, ge=1, description="connections before more are closed")
    max_handshake_s: float = Field(
        20.0, gt=0, description="longest wait for a connection's TLS and HTTP/2 handshakes before it is closed"
    )
    max_message_s: float = Field(120.0, gt=0, description="longest wait for a call's first message")
    max_part_s: float = Field(
        3600.0, gt=0, description="longest wait for a data set's next part when all answers to those before are sent"
    )
    max_unread_s: float = Field(
        600.0, gt=0, description="longest wait until a caller takes an answer, or a message of a stream"
    )
    min_upload_bytes_per_s: int = Field(
        16 * 1024, ge=1, description="pace that an upload must keep, after --max-message-s"
    )
    min_ping_interval_s: float = Field(
        60.0, gt=0, description="pings that come faster, without an answer in between, end their connection"
    )
    keepalive_s: float = Field(60.0, gt=0, description="silence after which a connection is pinged, to find dead ones")
    keepalive_timeout_s: float = Field(
        20.0, gt=0, description="longest wait for the answer to such a ping before the connection is closed"
    )
    max_connection_age_s: float = Field(
        0.0, ge=0, description="age at which a connection takes no new calls, so that callers connect anew; 0 for none"
    )
    max_connection_grace_s: float = Field(3600.0, gt=0, description="time that calls on such a connection have to end")
    max_model_bytes: int = Field(2_000_000_000, ge=1, description="largest model accepted")
    max_model_nodes: int = Field(
        200_000, ge=1, description="nodes of a model, each call of a function counted as its body"
    )
    max_model_ends: int = Field(1_000, ge=1, description="inputs of a model, and outputs")
    max_model_depth: int = Field(
        32, ge=1, le=32, description="graphs within graphs of a model, or calls within its functions"
    )
    max_model_weights_bytes: int = Field(
        2_000_000_000, ge=1, description="weights of a model, sparse ones counted as dense"
    )
    max_folded_bytes: int = Field(
        64 * 1024 * 1024,
        ge=1,
        description="largest constant that is made of others when a model is loaded; a larger one is made in each run",
    )
    max_loaded_bytes: int = Field(
        8_000_000_000,
        ge=1,
        description="memory of a device's models, or files if larger; the least used leave first",
    )
    max_loaded_models: int = Field(
        64, ge=1, description="models on a device, each a process; fewer where the system gives fewer descriptors"
    )
    default_deadline_s: float = Field(
        600.0, gt=0, description="deadline of a call that sets none, but ExplainMany, which has none, and UploadModel"
    )
    max_deadline_s: float = Field(
        3600.0, gt=0, description="longest deadline a caller may set, and that of an UploadModel that sets none"
    )
    drain_grace_s: float = Field(30.0, ge=0, description="time that accepted calls get after SIGTERM")
    instances_in_flight: int = Field(32, ge=1, description="instances of one request that are explained at once")
    max_model_labels: int = Field(100, ge=0, description="named models with metrics labels of their own")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least level that is logged")
