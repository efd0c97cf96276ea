"""Builds the server, starts it and stops it, in order. The only file that builds objects."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from importlib.metadata import version as distribution_version
from pathlib import Path

import grpc
import grpc.aio
from google.protobuf import json_format
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health
from grpc_reflection.v1alpha import reflection
from prometheus_client import start_http_server

from assay.v1 import (
    explain_service_pb2,
    explain_service_pb2_grpc,
    model_service_pb2,
    model_service_pb2_grpc,
    server_service_pb2,
    server_service_pb2_grpc,
)
from assayd.api.auth.bearer import Bearer
from assayd.api.auth.quotas import QuotaFile, Quotas
from assayd.api.auth.tokens import TokenFile
from assayd.api.catalogue import Catalogue
from assayd.api.codec.vet import vet
from assayd.api.deadlines import Deadlines
from assayd.api.door import Door
from assayd.api.explain_servicer import ExplainServicer
from assayd.api.holding import Room
from assayd.api.interceptor import CallInterceptor
from assayd.api.listener import Listener, channel_arguments
from assayd.api.model_servicer import ModelServicer
from assayd.api.pace import Pace
from assayd.api.server_servicer import ServerServicer
from assayd.api.unread import Unread
from assayd.engine.backend import Backend
from assayd.engine.fleet import Device, Fleet
from assayd.engine.models import LoadedModels
from assayd.engine.options import SessionOptions, fingerprint, provider_of, visible_gpus
from assayd.engine.pulse import Pulse
from assayd.engine.quarantine import Quarantine
from assayd.errors import AssayError, DeviceGone
from assayd.explain.explainer import Explainer
from assayd.explain.offload import Offload
from assayd.explain.predictor import Predictor
from assayd.explain.record import Stack
from assayd.metrics import Metrics
from assayd.scheduler.keeper import Keeper
from assayd.scheduler.scheduler import Scheduler
from assayd.settings import Settings
from assayd.store.store import Store
from assayd.types.admission import AdmissionLimits

log = logging.getLogger("assayd")

_SWITCH_S = 0.0005
_KEEP_S = 0.25
_LOADS_AT_ONCE = 4
_FAREWELL_S, _STOP_S = 0.5, 1.0
_LINGER_S, _LAST_WORDS_S = 0.25, 0.1
"""Who was answered last asks again at once and shall hear why not: a call that comes as the library shuts down is
CANCELLED. And time for answers that are written and not yet sent.
"""

_SERVICES = (
    model_service_pb2.DESCRIPTOR.services_by_name["ModelService"].full_name,
    explain_service_pb2.DESCRIPTOR.services_by_name["ExplainService"].full_name,
    server_service_pb2.DESCRIPTOR.services_by_name["ServerService"].full_name,
)
_COMPUTING = ("onnxruntime-gpu", "onnxruntime", "onnx", "numpy", "scikit-image", "scikit-learn", "scipy")


class App:
    """One server: `start`, then `wait`, then `stop`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        asks_who = settings.tokens is not None or settings.jwks is not None
        self._listener = Listener(settings, asks_who=asks_who)
        self._metrics = Metrics(settings.max_model_labels)
        store = self._store = Store(settings.store)
        self._devices = _devices(settings, store, self._metrics)
        self._models = Fleet(self._devices, self._metrics, spread_after_s=settings.spread_after_s)
        self._scheduler = Scheduler(
            [device.backend for device in self._devices],
            self._metrics,
            self._models,
            max_batch_s=settings.max_batch_s,
            gather_ms=settings.gather_ms,
            max_queued_rows=settings.max_queued_rows,
        )
        self._models.waiting, self._models.changed = self._scheduler.queued_seconds, self._scheduler.changed
        self._keepers = [Keeper(d.backend, d.models.in_memory, self._scheduler, self._metrics) for d in self._devices]
        self._offload = Offload()
        self._quotas = Quotas(QuotaFile(settings.quotas).of) if settings.quotas else Quotas()
        self._catalogue = Catalogue(store, self._models, self._metrics, settings.max_model_bytes, self._quotas)
        door = Door(
            _bearer(settings),
            max_calls=settings.max_concurrent_calls,
            max_uploads=settings.max_concurrent_uploads,
            share=settings.tenant_share,
        )
        room = Room(_bytes_in_flight(settings), settings.max_message_bytes, settings.tenant_share if asks_who else 1.0)
        deadlines = Deadlines(settings.default_deadline_s, settings.max_deadline_s)
        self._interceptor = CallInterceptor(
            self._metrics, door, room, deadlines, Unread(settings.max_unread_s), message_s=settings.max_message_s
        )
        self._health = health.HealthServicer()
        self._server = grpc.aio.server(interceptors=[self._interceptor], options=channel_arguments(settings))
        self._probes = grpc.aio.server(options=channel_arguments(settings, probes=True))
        self._add_services()
        self._ready = False
        self.address = ""
        self.metrics_address = ""

    def _add_services(self) -> None:
        s = self._settings
        explainer = Explainer(
            self._models,
            self._scheduler,
            self._offload,
            self._metrics,
            Stack(_versions(), self._devices[0].name),
            max_request_rows=s.max_request_rows,
            instances_in_flight=s.instances_in_flight,
        )
        predictor = Predictor(self._models, self._scheduler, self._metrics, max_request_rows=s.max_request_rows)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(
            ModelServicer(self._catalogue, Pace(s.max_message_s, s.min_upload_bytes_per_s)), self._server
        )
        explain_service_pb2_grpc.add_ExplainServiceServicer_to_server(
            ExplainServicer(
                self._catalogue,
                explainer,
                predictor,
                self._scheduler,
                max_message_bytes=s.max_message_bytes,
                part_s=s.max_part_s,
                quotas=self._quotas,
            ),
            self._server,
        )
        limits = server_service_pb2.Limits(
            max_message_bytes=s.max_message_bytes,
            max_model_bytes=s.max_model_bytes,
            max_request_rows=s.max_request_rows,
            max_queued_rows=s.max_queued_rows,
            max_deadline_seconds=s.max_deadline_s,
            max_batch_rows=self._devices[0].backend.max_batch_rows,
        )
        server_service_pb2_grpc.add_ServerServiceServicer_to_server(
            ServerServicer(_version("onnx-assay"), limits, _versions(), self._models), self._server
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._probes)
        names = (*_SERVICES, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)

    @property
    def calls_in_flight(self) -> int:
        """Calls being answered."""
        return self._interceptor.in_flight

    async def start(self) -> None:
        """Serve. Raises OSError or RuntimeError: an address is taken; CUDA was insisted on and no GPU computes."""
        if self._settings.provider == "cuda":
            try:
                await self._models.check()
            except DeviceGone as error:
                await self._close_devices()
                raise RuntimeError(f"no GPU computes here. {error.message}") from error
        await asyncio.to_thread(self._store.clean)
        host, _, port = self._settings.metrics.rpartition(":")
        self._page, self._page_thread = start_http_server(int(port), _bare(host), self._metrics.registry)
        self.metrics_address = f"{host}:{self._page.server_port}"
        self._scheduler.start()
        self._keeping = asyncio.create_task(self._keep(), name="keeper")
        if self._settings.models is not None:
            await self._preload(self._settings.models)
        self.address = self._listener.open(self._server)
        await self._server.start()
        if self._settings.probes is not None:
            self._probes.add_insecure_port(self._settings.probes)
            await self._probes.start()
        self._ready = True
        await self._tell_health()

    async def _keep(self) -> None:
        """Look after the workers, and let health tell the truth of them."""
        while True:
            before = self._serving
            await asyncio.gather(*(keeper.look() for keeper in self._keepers))
            self._models.look()
            self._scheduler.changed()
            if self._ready and self._serving != before:
                await self._tell_health()
            await asyncio.sleep(_KEEP_S)

    @property
    def _serving(self) -> bool:
        """Whether some device computes, and no worker that it has is missing to all of its models."""
        kept = zip(self._devices, self._keepers, strict=True)
        return any(keeper.serving and not device.lost for device, keeper in kept)

    async def _tell_health(self) -> None:
        status = health_pb2.HealthCheckResponse
        for name in ("", *_SERVICES):
            await self._health.set(name, status.SERVING if self._serving else status.NOT_SERVING)

    async def _preload(self, folder: Path) -> None:
        """Store and load NAME/VERSION/model.onnx; one that fails is logged and holds up nobody else."""
        for path in await asyncio.to_thread(lambda: sorted(folder.glob("*/*/model.onnx"))):
            name, version = path.parts[-3:-1]
            try:
                spec = model_service_pb2.ModelSpec()
                beside = path.with_name("spec.json")
                if beside.exists():
                    json_format.Parse(beside.read_text(), spec)
                    vet(spec)
                header = model_service_pb2.UploadModelHeader(name=name, version=version, spec=spec)
                uploaded = await self._catalogue.upload("default", header, _once(path))
                self._models.pin(uploaded.digest)
            except (AssayError, OSError, json_format.ParseError) as error:
                said = {"model": f"{name}@{version}", "why": str(error)}
                log.error("model not loaded", extra=said)  # noqa: TRY400 - what is wrong is the model, not the code
            else:
                log.info("model loaded", extra={"model": f"{name}@{version}"})

    async def stop(self) -> None:
        """Health first, then no new calls, then the accepted ones within the grace, then the rest."""
        await self._health.enter_graceful_shutdown()
        self._interceptor.draining = True
        # The listener stays open meanwhile, so that new calls hear why they are refused.
        self._scheduler.drain(self._settings.drain_grace_s)
        await self._interceptor.idle(self._settings.drain_grace_s)
        self._scheduler.refuse()
        await self._interceptor.idle(_FAREWELL_S)
        await self._interceptor.end(_FAREWELL_S)
        await asyncio.sleep(_LINGER_S)
        await self._server.stop(_LAST_WORDS_S)
        await self._probes.stop(0)
        self._keeping.cancel()
        for keeper in self._keepers:
            keeper.close()
        stopping = asyncio.create_task(self._scheduler.stop())
        await asyncio.wait({stopping}, timeout=_STOP_S)
        await self._close_devices()
        await stopping
        self._page.shutdown()
        self._page.server_close()
        self._page_thread.join()

    async def _close_devices(self) -> None:
        self._offload.close()
        self._catalogue.close()
        # First the processes: a load that is stuck in one would hold up the other's threads.
        for device in self._devices:
            await asyncio.to_thread(device.backend.close)
        await asyncio.to_thread(self._models.close)


def _bearer(settings: Settings) -> Bearer:
    """Who knows credentials. PyJWT is an extra, imported where it is asked for."""
    jwks = None
    if settings.jwks is not None:
        try:
            from assayd.api.auth.jwks import Jwks
        except ImportError as error:
            raise ValueError("--jwks needs PyJWT with cryptography: install onnx-assay[jwt]") from error
        if settings.jwt_issuer is None or settings.jwt_audience is None:
            raise ValueError(
                "--jwks needs --jwt-issuer and --jwt-audience: other tokens of the same issuer are not ours"
            )
        jwks = Jwks(settings.jwks, settings.jwt_issuer, settings.jwt_audience)
    return Bearer(TokenFile(settings.tokens) if settings.tokens is not None else None, jwks)


def _devices(settings: Settings, store: Store, metrics: Metrics) -> list[Device]:
    """All that run models. Raises ValueError where one is named that isn't there."""
    chosen = _session_options(settings)
    each = [replace(chosen, device=number) for number in _numbers(settings, chosen.provider)]
    if chosen.provider == "cpu" and len(each) > 1 and not chosen.threads:
        cores = os.cpu_count() or 1
        each = [replace(options, threads=max(1, cores // len(each))) for options in each]
    quarantine = Quarantine(time.monotonic)
    devices = []
    for options in each:
        backend = _backend(settings, options, metrics)
        models = LoadedModels(
            backend,
            store,
            metrics,
            settings.max_loaded_bytes,
            max_models=_most_models(settings, len(each)),
            max_load_s=settings.max_load_s,
            max_decide_s=settings.max_batch_s,
            loads_at_once=_LOADS_AT_ONCE if settings.isolation == "process" else 1,
            fingerprint=fingerprint(options, settings.batch_rows) if settings.sweep_ms else "",
            quarantine=quarantine,
            pulse=Pulse(backend, strict=options.required or len(each) > 1),
        )
        devices.append(Device(backend, models))
    return devices


def _numbers(settings: Settings, provider: str) -> list[int | None]:
    """Of the devices; None is the whole CPU."""
    named = [] if settings.devices == "all" else list(dict.fromkeys(map(int, settings.devices.split(","))))
    if provider == "cpu":
        return [*named] if len(named) > 1 else [None]
    there = visible_gpus()
    if there and (missing := [n for n in named if n >= there]):
        raise ValueError(f"--devices names {missing}, and CUDA numbers its devices here from 0 to {there - 1}")
    return [*(named or range(max(1, there)))]


def _session_options(settings: Settings) -> SessionOptions:
    provider = provider_of(settings.provider)
    return SessionOptions(
        settings.threads,
        provider,
        required=settings.provider == "cuda",
        # CUDA reserves far more of a process's addresses than it uses: there the limit is that of each session's arena.
        gpu_memory_bytes=(settings.worker_memory_bytes or None) if provider == "cuda" else None,
        sweep_s=settings.sweep_ms / 1000,
        precision=settings.precision,
        admission=AdmissionLimits(
            settings.max_model_nodes,
            settings.max_model_ends,
            settings.max_model_depth,
            settings.max_model_weights_bytes,
            settings.max_folded_bytes,
        ),
    )


def _backend(settings: Settings, options: SessionOptions, metrics: Metrics) -> Backend:
    """What runs models. Imported as it is chosen: with workers this process holds neither onnx nor onnxruntime."""
    if settings.isolation == "process":
        from assayd.engine.worker.backend import WorkerBackend
        from assayd.engine.worker.room import worker_memory

        limit = settings.worker_memory_bytes
        if limit is None:
            limit = worker_memory()
        backend = WorkerBackend(options, settings.batch_rows, None if options.provider == "cuda" else limit or None)
        backend.counters.told = metrics.worker_counted
        return backend
    from assayd.engine.in_process import InProcessBackend

    return InProcessBackend(options, settings.batch_rows)


def _bytes_in_flight(settings: Settings) -> int:
    if settings.max_bytes_in_flight is not None:
        return settings.max_bytes_in_flight
    least = 16 * settings.max_message_bytes
    if sys.platform != "linux":
        return least
    from assayd.engine.worker.room import usable_memory

    return max(least, usable_memory() // 8)


def _most_models(settings: Settings, devices: int) -> int:
    """On each of so many devices."""
    if sys.platform != "linux":
        return settings.max_loaded_models
    from assayd.engine.worker.room import most_workers, take_descriptors

    descriptors = take_descriptors()
    if settings.isolation != "process":
        return settings.max_loaded_models
    most = max(1, most_workers(descriptors) // devices)
    if most < settings.max_loaded_models:
        log.warning(
            "fewer models are loaded at once than wanted: raise the limit of open files", extra={"models": most}
        )
    return min(settings.max_loaded_models, most)


async def serve(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT."""
    try:
        app = App(settings)
    except ValueError as error:  # what a file says, or settings that don't go together
        raise RuntimeError(str(error)) from error
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    await app.start()
    # What start-up made stays. Looking through all of it again and again would stop everybody for tens of milliseconds.
    gc.collect()
    gc.freeze()
    # A thread that plans or solves keeps the interpreter for so long each time; answers wait for it many times a call.
    sys.setswitchinterval(_SWITCH_S)
    print(f"assayd serves gRPC on {app.address} and metrics on http://{app.metrics_address}/metrics", flush=True)  # noqa: T201
    await stopping.wait()
    log.info("draining", extra={"calls": app.calls_in_flight})
    await app.stop()


async def _once(path: Path) -> AsyncIterator[bytes]:
    yield await asyncio.to_thread(path.read_bytes)


def _bare(host: str) -> str:
    return host.strip("[]")


def _version(distribution: str) -> str:
    try:
        return distribution_version(distribution)
    except ImportError:  # PackageNotFoundError: not installed, or the other runtime is
        return ""


def _versions() -> dict[str, str]:
    found = {name: _version(name) for name in _COMPUTING}
    return {"onnx-assay": _version("onnx-assay"), "python": sys.version.split()[0]} | {
        name: v for name, v in found.items() if v
    }
