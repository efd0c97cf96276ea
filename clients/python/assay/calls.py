"""What every method of a client asks for and what it makes of the answer; no connection in sight."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from assay import requests, responses
from assay.channel import call_metadata
from assay.errors import invalid
from assay.explanation import Explanation
from assay.methods import Method
from assay.models import Model, ModelSpec, decode_model, is_immutable
from assay.perinput import PerInput
from assay.plans import Call, Plan, Stream, Work
from assay.requests import Budget, Settings
from assay.responses import Asked, ServerInfo, StreamReader
from assay.targets import Targets, has_target_axis
from assay.tensors import Array, is_digest, to_tensor
from assay.uploads import Source, upload_requests
from assay.v1 import explain_service_pb2, model_service_pb2, server_service_pb2

if TYPE_CHECKING:
    from typing_extensions import Unpack

Inputs: TypeAlias = Mapping[str, ArrayLike] | ArrayLike
"""{input name: array with the batch axis in front, or a stored one's digest}; the array alone for a one-input model."""


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
        return_rows: return the masks and their scores too.
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
        with self._lock:
            stored = {name: self._stored.get(value) for name, value in named.items() if isinstance(value, str)}
        shapes = {name: requests.instance_shape(value) for name, value in named.items()}
        shapes |= {name: shape[1:] for name, shape in stored.items() if shape is not None}
        return request, Asked(shapes, has_target_axis(target))

    def _named(self, model: Model | str, inputs: Inputs) -> Plan[tuple[str, dict[str, ArrayLike]]]:
        """The model's reference and its inputs by name."""
        ref = model.ref if isinstance(model, Model) else model
        if isinstance(inputs, Mapping):
            values = {name: v if is_digest(v) else np.asarray(v) for name, v in inputs.items()}
            return ref, values
        described = model if isinstance(model, Model) and model.inputs else (yield from self._describe(ref))
        if len(described.inputs) != 1:
            names = ", ".join(info.name for info in described.inputs)
            raise invalid("inputs", f"{described.ref} has several inputs ({names}): give {{input name: array}}")
        value = inputs if is_digest(inputs) else np.asarray(inputs)
        # A bare name may get a newer version in between; the one looked up is the one asked.
        return ref if is_immutable(ref) else described.ref, {described.inputs[0].name: value}

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
