"""Nothing a caller sets is ignored in silence: every field of every request is read by the server, or refused by name.

The descriptors of all requests are walked; for each field below them a request is made that sets it, and handed to the
servicer as a message that writes down what is read of it.
"""

import asyncio
import hashlib
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.duration_pb2 import Duration

from assay.v1 import (
    explain_pb2,
    explain_service_pb2,
    model_service_pb2,
    server_service_pb2,
    tensor_pb2,
)
from assayd.api import catalogue as catalogue_module
from assayd.api import explain_servicer, model_servicer, server_servicer
from assayd.api.call import CURRENT, Call
from assayd.api.catalogue import Catalogue
from assayd.api.codec import memo
from assayd.api.codec import requests as requests_codec
from assayd.api.codec.vet import vet, vet_wrapped
from assayd.api.data_set import settings_of
from assayd.api.explain_servicer import ExplainServicer
from assayd.api.model_servicer import ModelServicer
from assayd.api.server_servicer import ServerServicer
from assayd.engine.backend import LoadedModel
from assayd.errors import AssayError, InvalidRequest
from assayd.explain.outcome import Explained, Predicted, Used
from assayd.metrics import Metrics
from assayd.scheduler.work import JobUsage
from assayd.store.store import Store
from assayd.types.model import Batching, ModelSpec, ModelVersion, Signature, TensorSignature
from assayd.types.request import PerInput
from tests.conformance.populate import paths, populate
from tests.conformance.tracked import Tracked, untracked

SERVICES = {
    file.services_by_name[name].full_name: file.services_by_name[name]
    for file, name in (
        (model_service_pb2.DESCRIPTOR, "ModelService"),
        (explain_service_pb2.DESCRIPTOR, "ExplainService"),
        (server_service_pb2.DESCRIPTOR, "ServerService"),
    )
}
RPCS = {method.name: method.input_type for service in SERVICES.values() for method in service.methods}

WHOLE_RPCS = {"ExplainMany": "protobuf itself merges its settings and parts into requests of Explain"}
"""RPCs whose fields aren't read one by one -> how they come to be read."""

MODEL = b"the model"
DIGEST = "sha256:" + hashlib.sha256(MODEL).hexdigest()
VALUES = {
    "model": "m",
    "header.name": "m",
    "header.sha256": DIGEST,
    "chunk": MODEL,
    "page_token": "",
    "page_size": 10,
    "budget.rows": 10,
    "budget.time": Duration(seconds=1),
    "budget.on_exhausted": explain_pb2.ON_BUDGET_FAIL,
    "validate_only": True,
    "assay.v1.Tensor.dtype": tensor_pb2.DATA_TYPE_UINT8,
    "assay.v1.Tensor.shape": [1],
    "assay.v1.Tensor.digest": DIGEST,
    "assay.v1.Member.index": 0,
}


def exclude(path, must):
    """What can't stand beside `must`."""
    if path[-1] == "method_revision":  # methods differ in theirs; by itself it stands beside the first one, whose is 1
        return True
    return path[-1] == "instance_targets" or (path[-1] == "targets" and "instance_targets" in must)


SIGNATURE = Signature(
    (TensorSignature("x", np.dtype(np.uint8), (1, 1, 1)),), (TensorSignature("x", np.dtype(np.float32), (1,)),)
)
LOADED = LoadedModel(DIGEST, SIGNATURE, Batching(True, "", 8), "CPU", len(MODEL), 0.0)
USED = Used(JobUsage(), 0, 0.0, 0.0)
VERSION = ModelVersion("m", "1", DIGEST, "", len(MODEL), 1.0)


class Models:
    """Loads anything."""

    async def load(self, tenant, digest, data):
        return LOADED

    def use(self, tenant, digest):
        return Using()

    def drop(self, *digests):
        pass


class Using:
    async def __aenter__(self):
        return SimpleNamespace(loaded=LOADED)

    async def __aexit__(self, *_):
        pass


class Found(Catalogue):
    """Every model there may be, with an empty spec; any stored tensor."""

    async def resolve(self, tenant, ref):
        return VERSION, model_service_pb2.ModelSpec(), ModelSpec()

    def fetch(self, tenant, digest):
        return np.zeros(1, np.uint8)


class Explains:
    async def explain(self, request, job, on_instance=None):
        return Explained(LOADED, [], USED, (), 1)

    async def predict(self, request, job):
        return Predicted(LOADED, {}, USED)


@pytest.fixture
def servicers(tmp_path, monkeypatch):
    """The real servicers and the real codec; what lies behind them answers at once."""
    for module in (explain_servicer, model_servicer, server_servicer):
        monkeypatch.setattr(module, "vet", lambda message, **_: vet(untracked(message)))  # a vet looks at everything
    monkeypatch.setattr(explain_servicer, "vet_wrapped", lambda message: vet_wrapped(untracked(message)))

    def as_it_came(take):  # a record holds everything
        def taken(message, *more):
            plain = explain_service_pb2.ExplainRequest.FromString(untracked(message).SerializeToString())
            return take(plain, *more)

        return taken

    monkeypatch.setattr(memo, "_LARGEST_BYTES", -1)  # each message is decoded
    monkeypatch.setattr(memo, "without_instances", as_it_came(memo.without_instances))
    monkeypatch.setattr(requests_codec, "own_targets", as_it_came(requests_codec.own_targets))
    encode = catalogue_module.encode_model

    def encode_with_the_spec_as_it_came(version, loaded, spec, facts):
        return encode(version, loaded, untracked(spec), facts)

    monkeypatch.setattr(catalogue_module, "encode_model", encode_with_the_spec_as_it_came)
    store = Store(tmp_path)
    with store.draft() as draft:
        draft.write(MODEL)
        store.publish("default", "m", "1", draft, b"")
    catalogue = Found(store, Models(), Metrics(), 10**9)
    scheduler = SimpleNamespace(expect=nullcontext)
    behind = Explains()
    return [
        ModelServicer(catalogue),
        ExplainServicer(catalogue, behind, behind, scheduler, max_message_bytes=10**6, part_s=60),
        ServerServicer("", server_service_pb2.Limits(), {}, SimpleNamespace(providers=tuple, states=tuple)),
    ]


async def answer(servicers, rpc, message):
    """Call an RPC as gRPC does. Uploads need a header before a chunk, and a chunk after a header."""
    CURRENT.set(Call(rpc))
    method = next(getattr(s, rpc) for s in servicers if hasattr(s, rpc))
    requests = [message]
    if rpc == "UploadModel":
        header = model_service_pb2.UploadModelRequest(header=model_service_pb2.UploadModelHeader(name="m"))
        chunk = model_service_pb2.UploadModelRequest(chunk=MODEL)
        requests = [message, chunk] if message.WhichOneof("part") == "header" else [header, message]

    async def stream():
        for request in requests:
            yield request

    streaming = next(m for s in SERVICES.values() for m in s.methods if m.name == rpc)
    called = method(stream() if streaming.client_streaming else message, None)
    if streaming.server_streaming:
        async for _ in called:
            pass
    else:
        await called


def silent(servicers, rpc, kind, blind=frozenset()):
    """Fields below an RPC's request that are neither read nor refused by name."""

    async def one(must, reads):
        message = populate(kind, must, VALUES, exclude)
        try:
            await answer(servicers, rpc, Tracked(message, reads, blind=blind))
        except AssayError as error:
            return error
        return None

    async def every():
        missing = set()
        for must in paths(kind.DESCRIPTOR):
            reads = set()
            error = await one(must, reads)
            if must not in reads and not (error is not None and refuses(error, must)):
                missing.add(".".join(must))
        return missing

    return asyncio.run(every())


def refuses(error, path):
    """Whether an error names a field, or one that holds it."""
    named = [part.partition("[")[0] for part in (error.field or "").split(".") if part]
    holders = [path[start:stop] for start in (0, 1) for stop in range(start + 1, len(path) + 1)]
    return bool(named) and tuple(named) in holders


def concrete(rpc):
    return message_factory.GetMessageClass(RPCS[rpc])


SERVED = [rpc for rpc in RPCS if rpc not in WHOLE_RPCS]


@pytest.mark.parametrize("rpc", SERVED)
def test_every_field_is_read_or_refused_by_name(rpc, servicers):
    assert not silent(servicers, rpc, concrete(rpc))


@pytest.mark.parametrize("rpc", SERVED)
def test_a_good_request_with_every_field_is_answered(rpc, servicers):
    """Else the walk above would show what is read before a refusal, and no more."""
    message = populate(concrete(rpc), (), VALUES, exclude)
    if rpc == "PutTensor":
        message.tensor.data = b"x"
    asyncio.run(answer(servicers, rpc, Tracked(message, set())))


@pytest.mark.parametrize("rpc", WHOLE_RPCS)
def test_settings_and_parts_together_hold_every_field(rpc):
    message = populate(concrete(rpc), (), VALUES, exclude)
    settings, part = settings_of(message)
    assert part is not None
    assert not {f.name for f, _ in settings.ListFields()} & {f.name for f, _ in part.ListFields()}
    settings.MergeFrom(part)
    assert settings == message.request


@pytest.mark.parametrize("rpc", SERVED)
def test_a_field_that_no_version_knows_is_refused(rpc, servicers):
    message = populate(concrete(rpc), (), VALUES, exclude)
    message.MergeFromString(b"\xfa\x7f\x01x")
    with pytest.raises(InvalidRequest, match="field number 2047"):
        asyncio.run(answer(servicers, rpc, message))


# ---- the walk can fail -----------------------------------------------------------------------------------------


def found_in_explain(servicers, kind=None, blind=frozenset()):
    return silent(servicers, "Explain", kind or concrete("Explain"), blind)


def test_a_read_that_is_missing_is_found(servicers):
    blind = frozenset([("keys",), ("occlusion", "baseline", "gaussian_blur", "sigma")])
    assert found_in_explain(servicers, blind=blind) == {".".join(path) for path in blind}


def test_a_codec_that_forgets_a_field_is_found(servicers, monkeypatch):
    monkeypatch.setattr(requests_codec, "_layouts", lambda message: PerInput())
    assert found_in_explain(servicers) == {"layouts", "layouts.input", "layouts.layout"}


def test_a_field_added_to_the_contract_is_found(servicers):
    assert found_in_explain(servicers, extended("Explain", "Budget", "joules")) == {"budget.joules"}
    assert silent(servicers, "Predict", extended("Predict", "PredictRequest", "mood")) == {"mood"}


def extended(rpc, message, field):
    """An RPC's request as it would be if a message of the contract had one more field."""
    pool, done = descriptor_pool.DescriptorPool(), set()

    def add(file):
        if file.name in done:
            return
        done.add(file.name)
        for needed in file.dependencies:
            add(needed)
        copy = FileDescriptorProto()
        file.CopyToProto(copy)
        for found in copy.message_type:
            if found.name == message:
                kind = FieldDescriptorProto
                found.field.add(name=field, number=1000, type=kind.TYPE_INT32, label=kind.LABEL_OPTIONAL)
        pool.Add(copy)

    add(RPCS[rpc].file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(RPCS[rpc].full_name))
