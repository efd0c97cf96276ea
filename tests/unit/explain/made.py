"""Requests, and everything that answers them, over an in-process backend."""

import asyncio
from contextlib import asynccontextmanager
from types import SimpleNamespace

from assayd.engine.fleet import Device, Fleet
from assayd.engine.in_process import InProcessBackend
from assayd.engine.models import LoadedModels
from assayd.engine.onnxruntime_session import SessionOptions
from assayd.explain.explainer import Explainer
from assayd.explain.offload import Offload
from assayd.explain.predictor import Predictor
from assayd.explain.record import Stack
from assayd.explain.request import ExplainRequest
from assayd.methods import METHODS
from assayd.metrics import Metrics
from assayd.scheduler.scheduler import Scheduler
from assayd.scheduler.work import Caller, Job
from assayd.types.model import ModelSpec, ModelVersion
from assayd.types.request import Elements, TargetSpec


def a_request(inputs, *, method=None, target=None, **kind):
    """Ablation of every element of the inputs, for the default target."""
    name, made = method or ("occlusion", METHODS["occlusion"](features=Elements()))
    instances = len(next(iter(inputs.values())))
    targets = kind.pop("targets", [(target or TargetSpec(),)] * instances)
    kind = {"model": ModelVersion("m", "1", "sha256:m", "", 1, 0.0), "spec": ModelSpec()} | kind
    return ExplainRequest(caller=Caller("t"), inputs=inputs, method_name=name, method=made, targets=targets, **kind)


class OneModel:
    """A store that holds these bytes under any digest."""

    def __init__(self, data):
        self.data = data

    def model_bytes(self, tenant, digest):
        return self.data


@asynccontextmanager
async def service(
    data, *, backend=None, beside=(), max_request_rows=10_000, instances_in_flight=4, gather_ms=1, device="cpu"
):
    """Everything behind the servicers, for one model; `explain(request)` and `predict(request)` run. beside: backends
    of further devices.
    """
    metrics = Metrics()
    backend = backend or InProcessBackend(SessionOptions(threads=1), 8)
    backends = (backend, *beside)
    models = Fleet([Device(b, LoadedModels(b, OneModel(data), metrics, 10**9)) for b in backends], metrics)
    scheduler = Scheduler(backends, metrics, models, gather_ms=gather_ms, max_queued_rows=10**6, max_batch_s=60)
    offload = Offload()
    scheduler.start()
    explainer = Explainer(
        models,
        scheduler,
        offload,
        metrics,
        Stack({}, device),
        max_request_rows=max_request_rows,
        instances_in_flight=instances_in_flight,
    )
    predictor = Predictor(models, scheduler, metrics, max_request_rows=max_request_rows)

    async def explain(request, on_instance=None, data_set=False):
        evenly = request.budget.partial and request.budget.until is not None
        job = Job("r", request.caller, request.deadline, evenly, data_set)
        return await explainer.explain(request, job, on_instance)

    async def predict(request):
        return await predictor.predict(request, Job("r", request.caller, request.deadline))

    try:
        yield SimpleNamespace(
            explain=explain,
            predict=predict,
            backend=backend,
            models=models,
            scheduler=scheduler,
            offload=offload,
            metrics=metrics,
        )
    finally:
        await scheduler.stop()
        offload.close()
        models.close()
        for each in backends:
            each.close()


async def until(condition):
    """Wait for something that happens on the event loop or on another thread."""
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it didn't happen")
