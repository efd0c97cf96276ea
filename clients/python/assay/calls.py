"""What every method of a client asks for and what it makes of the answer; no connection in sight."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from assay import requests, responses
from assay.channel import call_metadata
from assay.data.parts import Encoded, Inputs, Part, PartMessages, Parts
from assay.errors import invalid
from assay.explanation import Explanation
from assay.methods import Method
from assay.models import Model, ModelSpec, decode_model, is_immutable
from assay.perinput import PerInput
from assay.plans import Call, Items, Plan, Stream, Work
from assay.requests import Budget, Settings
from assay.responses import Asked, ServerInfo, StreamReader
from assay.targets import PerInstance, Targets, has_target_axis
from assay.tensors import Array, is_digest, to_tensor
from assay.uploads import Source, upload_requests
from assay.v1 import explain_service_pb2, model_service_pb2, server_service_pb2

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Calls:
    """The plans of the clients' methods, and the models and shapes that a client remembers.

    Each method here is one of every client, with its parameters and its description.
    """

    def __init__(self, token: str | None = None, traceparent: Callable[[], str | None] | None = None) -> None:
        self._token = token
        self._traceparent = traceparent
        self._lock = threading.Lock()  # guards the two caches, both of things that never change
        self._described: dict[str, Model] = {}
        self._stored: dict[str, tuple[int, ...]] = {}

    # ---- models and tensors --------------------------------------------------------------------------------------

    def upload_model(
        self,
        model: Source,
        name: str,
        version: str | None = None,
        spec: ModelSpec | Mapping[str, Any] | None = None,
        *,
        timeout: float | None = 300.0,
    ) -> Plan[Model]:
        """Stores a model under a name and proves whether its rows may share a batch.

        model: path of an .onnx file, or its bytes. version: immutable; None is the next integer, or the newest if that
        is the same model and spec. spec: facts the file lacks, also as a mapping in the form of its protobuf JSON.

        Raises `AlreadyExists` where the version belongs to another model or spec, `InvalidArgument` for bytes that are
        no model, OSError for a file that can't be read.
        """
        messages = yield Work(partial(upload_requests, model, name, version, spec))
        response = yield self._call("UploadModel", messages, timeout)
        return self._remember(decode_model(response.model))

    def models(self, name: str | None = None, *, timeout: float | None = 30.0) -> Plan[list[Model]]:
        """All versions by name, oldest first; of one name only if one is given. Inputs and outputs are left out."""
        found: list[Model] = []
        request = model_service_pb2.ListModelsRequest(name=name or "")
        while True:
            page = yield self._call("ListModels", request, timeout)
            found += map(decode_model, page.models)
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    def get_model(self, model: str, *, timeout: float | None = 30.0) -> Plan[Model]:
        """Describes "name" (its newest version), "name@version" or "sha256:…"; `NotFound` if there is none."""
        response = yield self._call("GetModel", model_service_pb2.GetModelRequest(model=model), timeout)
        return self._remember(decode_model(response.model))

    def delete_model(self, model: Model | str, *, timeout: float | None = 30.0) -> Plan[int]:
        """Removes "name" with all its versions, or "name@version"; returns how many. A `Model` is its one version."""
        ref = model.ref if isinstance(model, Model) else model
        request = model_service_pb2.DeleteModelRequest(model=ref)
        response = yield self._call("DeleteModel", request, timeout)
        with self._lock:
            for known in [k for k in self._described if k == ref or k.startswith(f"{ref}@")]:
                del self._described[known]
        return int(response.deleted_versions)

    def put_tensor(self, array: ArrayLike, *, timeout: float | None = 30.0) -> Plan[str]:
        """Stores an array and returns its digest "sha256:…", which may stand wherever the array could."""
        request = model_service_pb2.PutTensorRequest(tensor=to_tensor(array))
        response = yield self._call("PutTensor", request, timeout)
        digest = str(response.digest)
        with self._lock:
            self._stored[digest] = np.shape(array)
        return digest

    # ---- explanations --------------------------------------------------------------------------------------------

    def explain(
        self,
        model: Model | str,
        inputs: Inputs,
        method: Method,
        target: Targets = None,
        *,
        inputs_to_explain: Sequence[str] | None = None,
        keys: Sequence[str] | None = None,
        seed: int = 0,
        timeout: float | None = 30.0,
        layout: PerInput[str] | None = None,
        request_id: str | None = None,
        priority: str = "normal",
        budget: Budget | None = None,
        on_instance_error: str = "fail",
        validate_only: bool = False,
        reproducible: bool = False,
        return_rows: bool = False,
        element_maps: bool = True,
        method_revision: int | None = None,
    ) -> Plan[Explanation]:
        """Explains why the model scored these instances as it did.

        model: a `Model`, "name" (its newest version), "name@version" or "sha256:…".
        inputs: {input name: array [B, *input] in the model's dtype, or the digest of a stored one}, all inputs of the
            model with the same B. The array alone for a one-input model; with a bare "name" that costs a call more.
        method: an `Occlusion`, `Lime`, `Jacobian` or `Rows`.
        target: the score explained: a `Target`, its index alone, a list for several at once, or `PerInstance`; None
            is the top score.
        inputs_to_explain: inputs that are perturbed; None: all floating-point ones, or a lone integer input.
        keys: one identity for each instance, which keys its random draws; None: all are drawn alike.
        seed: seed of all random draws.
        layout: "NCHW", "NHWC", "NCDHW", "NTC" or "NF", or {input: layout}, over the model's spec.
        request_id: the id in the server's log and record; None makes one.
        priority: "low", "normal" or "high".
        budget: most it may spend.
        on_instance_error: "fail" raises the first failed instance's error; "skip" leaves NaN and the error in
            `statuses`.
        validate_only: check everything and return an `estimate` only.
        reproducible: the same bits whatever the company, or `FailedPrecondition`.
        return_rows: return the perturbed copies and their scores in `rows`: of masks `keep`, of tables `samples`, of a
            Jacobian `features` and `steps`. Either of the first two may be given to `Lime(samples=...)` again.
        element_maps: return maps over the elements of the inputs; feature values always come.
        method_revision: `FailedPrecondition` unless this revision of the method is served.

        Raises `ResourceExhausted` if the answer is larger than 64 MiB: use `explain_stream`.
        """
        request, asked = yield from self._explain_request(
            model,
            inputs,
            method,
            target,
            request_id,
            inputs_to_explain=inputs_to_explain,
            keys=keys,
            seed=seed,
            layout=layout,
            priority=priority,
            budget=budget,
            on_instance_error=on_instance_error,
            validate_only=validate_only,
            reproducible=reproducible,
            return_rows=return_rows,
            element_maps=element_maps,
            method_revision=method_revision,
        )
        response = yield self._call("Explain", request, timeout, request.request_id)
        return responses.read_explanation(response, asked)

    def explain_stream(
        self,
        model: Model | str,
        inputs: Inputs,
        method: Method,
        target: Targets = None,
        *,
        timeout: float | None = 30.0,
        request_id: str | None = None,
        **settings: Unpack[Settings],
    ) -> Plan[Stream]:
        """The same with the same settings, yielding `Progress`, each `Instance` as it finishes, then the `Explanation`.

        Answers of any size. Leaving the loop early cancels the call.
        """
        request, asked = yield from self._explain_request(model, inputs, method, target, request_id, **settings)
        message = explain_service_pb2.ExplainStreamRequest(request=request)
        return Stream(self._call("ExplainStream", message, timeout, request.request_id), StreamReader(asked))

    def explain_message(
        self, request: explain_service_pb2.ExplainRequest, *, timeout: float | None = 30.0
    ) -> Plan[Stream]:
        """The same of a request that is a message already, such as the one of a record; results always have the axis T.

        Maps that vary along some axes only aren't broadcast.
        """
        yield from ()  # a plan is a generator, and this one has nothing to wait for
        message = explain_service_pb2.ExplainStreamRequest(request=request)
        call = self._call("ExplainStream", message, timeout, request.request_id)
        return Stream(call, StreamReader(Asked({}, target_axis=True)))

    def explain_many(
        self,
        model: Model | str,
        parts: Parts,
        method: Method,
        target: Targets = None,
        *,
        timeout: float | None = None,
        request_id: str | None = None,
        **settings: Unpack[Settings],
    ) -> Plan[Stream]:
        """Explains a data set of any size with the settings of `explain`, in parts that share one call.

        Yields `Progress`, each `Instance` as it finishes, its `position` counted over all parts, then an `Explanation`
        without instances: model, usage of all parts, warnings, completion. Neither side holds more than a few parts.

        parts: any iterable of `Part`, or of inputs alone; for `AsyncClient` an asynchronous one as well. It is pulled
            part by part as the answers are read, never further ahead than three parts, in a thread of its own (an
            asynchronous one in the event loop). A part of some hundred rows, well below 64 MiB, keeps a device busy.
        target: for all instances; those of single instances, and `keys`, stand in their `Part`.
        timeout: for the whole data set; None, since that takes what it takes. `DeadlineExceeded` comes all the same
            where the server is sent no part for an hour, unless it is told otherwise, after its last answer.
        on_instance_error: "skip" unless told otherwise, since one bad row shouldn't end a data set: it comes as an
            `Instance` with its error in `status`. So does every row where the settings suit none.
        budget: most that each part may spend.

        What iterating over the parts raises is raised here, once the parts before it were answered. Leaving the loop
        early cancels the call and closes a generator of parts.
        """
        if settings.get("keys") is not None:
            raise invalid("keys", "they belong to the parts of a data set: assay.Part(inputs, keys=[...])")
        settings.setdefault("on_instance_error", "skip")
        ref = model.ref if isinstance(model, Model) else model
        request = requests.explain_request(ref, {}, method, target, request_id=request_id or _new_id(), **settings)
        if request.instance_targets:
            raise invalid("target", "PerInstance belongs to the parts of a data set: assay.Part(inputs, targets=[...])")
        described = model if isinstance(model, Model) and model.inputs else (yield from self._describe(ref))
        request.model = ref if is_immutable(ref) else described.ref
        items = yield Items(parts)
        messages = PartMessages(items, request, partial(self._part, described, target))
        call = self._call("ExplainMany", messages, timeout, request.request_id)
        return Stream(call, StreamReader(messages, collects=False), messages)

    def predict(
        self,
        model: Model | str,
        inputs: Inputs,
        outputs: Sequence[str] | None = None,
        *,
        timeout: float | None = 30.0,
        request_id: str | None = None,
        priority: str = "normal",
    ) -> Plan[dict[str, Array]]:
        """{output name: [B, *output] in the model's dtype} of the model as it is; outputs: those wanted, None: all."""
        ref, named = yield from self._named(model, inputs)
        request = requests.predict_request(ref, named, outputs, request_id=request_id or _new_id(), priority=priority)
        response = yield self._call("Predict", request, timeout, request.request_id)
        return responses.read_outputs(response)

    def info(self, *, timeout: float | None = 30.0) -> Plan[ServerInfo]:
        """What this server is: version, methods with their revisions, limits, what really computes."""
        response = yield self._call("GetInfo", server_service_pb2.GetInfoRequest(), timeout)
        return responses.read_info(response)

    # ---- within --------------------------------------------------------------------------------------------------

    def _call(self, rpc: str, message: Any, timeout: float | None, request_id: str = "") -> Call:
        if timeout is not None and not timeout > 0:
            raise invalid("timeout", f"above 0 seconds, or None for as long as it takes, not {timeout}")
        # An id made here names the call even where no answer comes.
        request_id = request_id or _new_id()
        trace = self._traceparent() if self._traceparent else None
        return Call(rpc, message, timeout, request_id, call_metadata(self._token, request_id, trace))

    def _explain_request(
        self,
        model: Model | str,
        inputs: Inputs,
        method: Method,
        target: Targets,
        request_id: str | None,
        **settings: Unpack[Settings],
    ) -> Plan[tuple[explain_service_pb2.ExplainRequest, Asked]]:
        ref, named = yield from self._named(model, inputs)
        request = requests.explain_request(ref, named, method, target, request_id=request_id or _new_id(), **settings)
        return request, Asked(self._instance_shapes(named), has_target_axis(target))

    def _part(self, model: Model, target: Targets, given: Part | Inputs) -> Encoded:
        """One part of a data set, all of which was asked for `target` unless the part says more."""
        part = given if isinstance(given, Part) else Part(given)
        if part.targets is not None and target is not None:
            raise invalid("targets", "either the data set has a target, or its parts have one for each instance")
        named = _by_name(model, part.inputs)
        request = requests.part_request(named, part.keys, part.targets)
        count = requests.instance_count(named, self._stored_shapes(named))
        if count is None:
            # Positions count over all parts, also those of which this client never saw an array.
            count = len(request.keys) or len(request.instance_targets)
            if not count:
                raise invalid("inputs", "how many instances these digests hold isn't known here: give the part keys")
        if not count:
            raise invalid("inputs", "a part holds one instance at least")
        axis = has_target_axis(target)
        if part.targets is not None:
            values = part.targets.values if isinstance(part.targets, PerInstance) else part.targets
            axis = has_target_axis(PerInstance(values))
        return Encoded(request, count, Asked(self._instance_shapes(named), axis))

    def _stored_shapes(self, named: Mapping[str, ArrayLike]) -> dict[str, tuple[int, ...] | None]:
        """Shapes of the inputs that are given by digest; None of those that another client stored."""
        with self._lock:
            return {name: self._stored.get(value) for name, value in named.items() if isinstance(value, str)}

    def _instance_shapes(self, named: Mapping[str, ArrayLike]) -> dict[str, tuple[int, ...] | None]:
        stored = self._stored_shapes(named)
        shapes = {name: requests.instance_shape(value) for name, value in named.items()}
        return shapes | {name: shape[1:] for name, shape in stored.items() if shape is not None}

    def _named(self, model: Model | str, inputs: Inputs) -> Plan[tuple[str, dict[str, ArrayLike]]]:
        """The model's reference and its inputs by name."""
        ref = model.ref if isinstance(model, Model) else model
        if isinstance(inputs, Mapping):
            return ref, _arrays(inputs)
        described = model if isinstance(model, Model) and model.inputs else (yield from self._describe(ref))
        # A bare name may get a newer version in between; the one looked up is the one asked.
        return ref if is_immutable(ref) else described.ref, _by_name(described, inputs)

    def _describe(self, ref: str) -> Plan[Model]:
        with self._lock:
            known = self._described.get(ref)
        return known or (yield from self.get_model(ref))

    def _remember(self, model: Model) -> Model:
        with self._lock:
            self._described |= {model.ref: model, model.digest: model}  # never a bare name, which may get newer
        return model


def _new_id() -> str:
    return uuid.uuid4().hex


def _arrays(inputs: Mapping[str, ArrayLike]) -> dict[str, ArrayLike]:
    return {name: value if is_digest(value) else np.asarray(value) for name, value in inputs.items()}


def _by_name(model: Model, inputs: Inputs) -> dict[str, ArrayLike]:
    """The inputs of a model by name, where one may stand alone."""
    if isinstance(inputs, Mapping):
        return _arrays(inputs)
    if len(model.inputs) != 1:
        names = ", ".join(info.name for info in model.inputs)
        raise invalid("inputs", f"{model.ref} has several inputs ({names}): give {{input name: array}}")
    return _arrays({model.inputs[0].name: inputs})
