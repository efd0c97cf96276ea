"""Runs a model on inputs as they are, in the same batches as everybody's rows."""

from __future__ import annotations

from assayd.engine.backend import Whole
from assayd.engine.fleet import Fleet
from assayd.errors import InvalidRequest
from assayd.explain.deadline import before
from assayd.explain.inputs import check_inputs
from assayd.explain.outcome import Predicted, Used
from assayd.explain.request import PredictRequest
from assayd.explain.tally import Tally
from assayd.metrics import Metrics
from assayd.scheduler.scheduler import Scheduler
from assayd.scheduler.work import Job, Work
from assayd.types.rows import Plan, SampleRows
from assayd.types.subject import Subject


class Predictor:
    """Answers Predict."""

    def __init__(self, models: Fleet, scheduler: Scheduler, metrics: Metrics, *, max_request_rows: int) -> None:
        self._models = models
        self._scheduler = scheduler
        self._metrics = metrics
        self._max_request_rows = max_request_rows

    async def predict(self, request: PredictRequest, job: Job) -> Predicted:
        """Outputs for every instance. Raises AssayError."""
        async with before(request.deadline):
            return await self._predict(request, job)

    async def _predict(self, request: PredictRequest, job: Job) -> Predicted:
        async with self._models.use(request.model.tenant, request.model.digest) as model:
            signature = model.loaded.signature
            check_inputs(request.inputs, signature)
            names = [s.name for s in signature.outputs]
            for n, name in enumerate(request.outputs):
                if name not in names:
                    raise InvalidRequest(
                        f"the model has no output {name[:80]!r}; its outputs are {names}", field=f"outputs[{n}]"
                    )
            subject = Subject({name: x[0, ...] for name, x in request.inputs.items()}, {})
            if model.loaded.open_question:
                await self._models.prove(model, subject)
            plan = Plan(
                len(next(iter(request.inputs.values()))),
                lambda a, b: [SampleRows({name: x[a:b] for name, x in request.inputs.items()})],
            )
            tally = Tally(None, self._max_request_rows, self._metrics, request.model.name, "predict")
            tally.planned(plan.size)
            work = Work(job, model.loaded, subject, plan, Whole(request.outputs))
            self._scheduler.submit(work)
            await self._scheduler.wait(work)
            return Predicted(model.loaded, work.outputs(), Used(job.usage, plan.size, 0.0, 0.0))
