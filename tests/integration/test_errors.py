"""What a careless or hostile caller gets: code, reason, field, request id; and the next good call works."""

import gzip
import io
import zipfile

import grpc
import numpy as np
import onnx
import pytest
from google.rpc import error_details_pb2, status_pb2

import assay
from assay.v1 import explain_pb2, explain_service_pb2, explain_service_pb2_grpc, model_service_pb2, tensor_pb2
from tests.models import zoo

X = np.random.default_rng(0).standard_normal((2, 8)).astype(np.float32)
ELEMENTS = assay.Occlusion(features=assay.Elements())


@pytest.fixture(scope="module")
def mlp(server):
    with assay.Client(server.address) as client:
        yield client.upload_model(zoo.mlp(), name="errors-mlp")


@pytest.fixture(autouse=True)
def a_good_call_after_each(client, mlp):
    yield
    assert client.explain(mlp, X, ELEMENTS, target=0).feature_values.shape == (2, 8)


def refused(error, kind, reason, field=""):
    assert isinstance(error, kind), repr(error)
    assert error.reason == reason
    assert error.request_id
    if field:
        assert any(field in f for f, _ in error.violations), error.violations
    assert "/" not in str(error).replace("and/or", "") or "site-packages" not in str(error)
    assert "Traceback" not in str(error)


def random_bytes(n):
    return np.random.default_rng(1).bytes(n)


def zipped(data):
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as file:
        file.writestr("model.onnx", data)
    return held.getvalue()


def edited(change):
    model = onnx.load_from_string(zoo.mlp())
    change(model)
    return model.SerializeToString()


def external(model):
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../../etc/passwd")


def wrong_raw(model):
    model.graph.initializer[0].raw_data = b"123"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a model",
        random_bytes(10_000),
        zoo.mlp()[:200],
        zipped(zoo.mlp()),
        gzip.compress(zoo.mlp()),
        edited(external),
        edited(wrong_raw),
        edited(lambda m: m.graph.ClearField("output")),
        edited(lambda m: m.graph.node.add(op_type="NoSuchOp", output=["z"])),
    ],
    ids=["empty", "text", "random", "truncated", "zip", "gzip", "external", "raw_data", "no outputs", "unknown op"],
)
def test_bytes_that_are_no_model(client, data):
    with pytest.raises(assay.AssayError) as got:
        client.upload_model(data, name="bad")
    refused(got.value, assay.InvalidArgument, "INVALID_MODEL")
    with pytest.raises(assay.NotFound):
        client.get_model("bad")


def test_a_stated_digest_that_differs(server):
    header = model_service_pb2.UploadModelHeader(name="bad", sha256="0" * 64)
    parts = [
        model_service_pb2.UploadModelRequest(header=header),
        model_service_pb2.UploadModelRequest(chunk=zoo.mlp()),
    ]
    with grpc.insecure_channel(server.address) as channel:
        from assay.v1 import model_service_pb2_grpc

        with pytest.raises(grpc.RpcError) as got:
            model_service_pb2_grpc.ModelServiceStub(channel).UploadModel(iter(parts))
    code, info = wire(got.value)
    assert (code, info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "DIGEST_MISMATCH")
    assert info.metadata["stated"] == "sha256:" + "0" * 64


def wire(error):
    metadata = dict(error.trailing_metadata())
    status = status_pb2.Status.FromString(metadata["grpc-status-details-bin"])
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert len(metadata["grpc-status-details-bin"]) < 4096
    assert metadata["x-request-id"]
    assert info.domain == "assay.v1"
    return error.code(), info


BAD_CALLS = {
    "wrong name": (dict(inputs={"nope": X}), "INVALID_TENSOR", "inputs[nope]"),
    "wrong dtype": (dict(inputs={"x": X.astype(np.float64)}), "INVALID_TENSOR", "inputs[x]"),
    "strings": (dict(inputs={"x": np.array([["a"] * 8], dtype=object)}), "INVALID_TENSOR", "inputs[x]"),
    "wrong rank": (dict(inputs={"x": X[0]}), "INVALID_TENSOR", "inputs[x]"),
    "wrong extent": (dict(inputs={"x": X[:, :5]}), "INVALID_TENSOR", "inputs[x]"),
    "no instance": (dict(inputs={"x": X[:0]}), "INVALID_PARAMETER", "inputs[x]"),
    "target out of range": (dict(target=3), "INVALID_PARAMETER", "targets[0].index"),
    "negative target": (dict(target=-1), "INVALID_PARAMETER", "targets[0].index"),
    "unknown output": (dict(target=assay.Target(output="z")), "INVALID_PARAMETER", "targets[0].output"),
    "unknown label": (dict(target=assay.Target(label="z")), "INVALID_PARAMETER", "targets[0].label"),
    "rank 0": (dict(target=assay.Target(top_rank=0)), "INVALID_PARAMETER", "targets[0].top_rank"),
    "rank 9": (dict(target=assay.Target(top_rank=9)), "INVALID_PARAMETER", "targets[0].top_rank"),
    "weights shape": (dict(target=assay.Target(weights=np.ones(9))), "INVALID_TENSOR", "targets[0].weights"),
    "window 0": (dict(method=assay.Occlusion(window=(0,))), "INVALID_PARAMETER", "occlusion.window"),
    "window negative": (dict(method=assay.Occlusion(window=(-4,))), "INVALID_PARAMETER", "occlusion.window"),
    "window too long": (dict(method=assay.Occlusion(window=(9,))), "INVALID_PARAMETER", "occlusion.window"),
    "window rank": (dict(method=assay.Occlusion(window=(2, 2))), "INVALID_PARAMETER", "occlusion.window"),
    "stride 0": (dict(method=assay.Occlusion(window=(2,), stride=(0,))), "INVALID_PARAMETER", "occlusion.stride"),
    "no window": (dict(method=assay.Occlusion()), "INVALID_PARAMETER", "occlusion.window"),
    "baseline shape": (
        dict(method=assay.Occlusion(window=(2,), baseline=np.zeros(7, np.float32))),
        "INVALID_TENSOR",
        "occlusion.baseline.tensor",
    ),
    "baseline too large": (
        dict(method=assay.Occlusion(window=(2,), baseline=1e300)),
        "INVALID_PARAMETER",
        "occlusion.baseline.constant",
    ),
    "segments shape": (
        dict(method=assay.Occlusion(features=assay.Segments(np.zeros(7, np.int32)))),
        "INVALID_TENSOR",
        "occlusion.features.segments",
    ),
    "grid 0": (dict(method=assay.Occlusion(features=assay.Grid(0, 2))), "INVALID_PARAMETER", "occlusion.features.grid"),
    "masks": (dict(method=assay.Rows(np.ones((3, 9)), assay.Elements())), "INVALID_TENSOR", "rows.keep"),
    "masks above 1": (
        dict(method=assay.Rows(np.full((3, 8), 2.0), assay.Elements())),
        "INVALID_PARAMETER",
        "rows.keep",
    ),
    "unknown input": (dict(inputs_to_explain=["z"]), "INVALID_PARAMETER", "inputs_to_explain[0]"),
    "keys": (dict(keys=["a"]), "INVALID_PARAMETER", "keys"),
    "layout": (dict(layout="NCHW"), "INVALID_PARAMETER", "layouts"),
    "budget 0": (dict(budget=assay.Budget(rows=0)), "INVALID_PARAMETER", "budget.rows"),
    "NaN x": (dict(inputs={"x": np.full((1, 8), np.nan, np.float32)}), "NOT_FINITE", "inputs"),
    "NaN baseline": (dict(method=assay.Occlusion(window=(2,), baseline=np.nan)), "NOT_FINITE", "baseline"),
    "deadline": (dict(timeout=1e7), "INVALID_PARAMETER", "timeout"),
    "request id": (dict(request_id="x" * 129), "INVALID_PARAMETER", "request_id"),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_bad_arguments_name_their_field(client, mlp, name):
    change, reason, field = BAD_CALLS[name]
    arguments = {"inputs": {"x": X}, "method": ELEMENTS, "target": 0} | change
    with pytest.raises(assay.AssayError) as got:
        client.explain(mlp, **arguments)
    refused(got.value, assay.InvalidArgument, reason, field)


def raw(**change):
    x = tensor_pb2.Tensor(dtype=tensor_pb2.DATA_TYPE_FLOAT, shape=[1, 8], data=b"\0" * 32)
    features = explain_pb2.Features(elements=explain_pb2.Features.Elements())
    request = explain_service_pb2.ExplainRequest(
        model="errors-mlp", inputs={"x": x}, occlusion=explain_pb2.Occlusion(features=features)
    )
    for field, value in change.items():
        request.ClearField(field) if value is None else getattr(request, field).CopyFrom(value)
    return request


def tensor(**change):
    made = tensor_pb2.Tensor(dtype=tensor_pb2.DATA_TYPE_FLOAT, shape=[1, 8], data=b"\0" * 32)
    for field, value in change.items():
        made.ClearField(field)
        made.MergeFrom(tensor_pb2.Tensor(**{field: value}))
    return made


def with_input(message):
    request = raw()
    request.inputs["x"].CopyFrom(message)
    return request


def with_enum(path, number):
    request = raw()
    message = request
    *parents, last = path.split(".")
    for parent in parents:
        message = getattr(message, parent)
    setattr(message, last, number)
    return request


RAW_CALLS = {
    "no method": (raw(occlusion=None), "INVALID_PARAMETER", "method"),
    "no inputs": (raw(inputs=None), "INVALID_PARAMETER", "inputs"),
    "an unknown method": (
        explain_service_pb2.ExplainRequest.FromString(raw(occlusion=None).SerializeToString() + b"\xa2\x1f\x00"),
        "INVALID_PARAMETER",
        "",
    ),
    "an unknown enum value": (with_enum("occlusion.edge", 17), "INVALID_PARAMETER", "occlusion.edge"),
    "an unknown priority": (with_enum("priority", 99), "INVALID_PARAMETER", "priority"),
    "too few bytes": (with_input(tensor(data=b"\0" * 31)), "INVALID_TENSOR", "inputs[x].data"),
    "too many bytes": (with_input(tensor(data=b"\0" * 33)), "INVALID_TENSOR", "inputs[x].data"),
    "no dtype": (with_input(tensor(dtype=0)), "INVALID_TENSOR", "inputs[x].dtype"),
    "a negative extent": (with_input(tensor(shape=[-1, 8])), "INVALID_TENSOR", "inputs[x].shape"),
    "an overflowing shape": (with_input(tensor(shape=[2**62, 2**62])), "INVALID_TENSOR", "inputs[x].data"),
    "a false digest": (with_input(tensor_pb2.Tensor(digest="../../x")), "DIGEST_MISMATCH", ""),
}


@pytest.mark.parametrize("name", RAW_CALLS)
def test_messages_no_client_would_send(server, mlp, name):
    request, reason, field = RAW_CALLS[name]
    with grpc.insecure_channel(server.address) as channel, pytest.raises(grpc.RpcError) as got:
        explain_service_pb2_grpc.ExplainServiceStub(channel).Explain(request)
    code, info = wire(got.value)
    assert (code, info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, reason), got.value.details()
    assert field in got.value.details()


def test_unknown_models_are_not_found(client):
    for ref in ("nobody", "errors-mlp@99", "sha256:" + "0" * 64):
        with pytest.raises(assay.NotFound) as got:
            client.explain(ref, {"x": X}, ELEMENTS)
        assert got.value.reason == "MODEL_NOT_FOUND"
        assert got.value.metadata["model"] == ref


def test_an_unknown_tensor_is_not_found(client, mlp):
    with pytest.raises(assay.NotFound) as got:
        client.explain(mlp, X, assay.Occlusion(window=(2,), baseline="sha256:" + "0" * 64))
    assert got.value.reason == "TENSOR_NOT_FOUND"


def test_a_version_never_changes(client):
    first = client.upload_model(zoo.mlp(), name="pinned", version="v1")
    assert client.upload_model(zoo.mlp(), name="pinned", version="v1").digest == first.digest
    with pytest.raises(assay.AlreadyExists) as got:
        client.upload_model(zoo.linear(), name="pinned", version="v1")
    assert got.value.reason == "VERSION_TAKEN"


def test_unknown_rpcs_are_unimplemented(server):
    with grpc.insecure_channel(server.address) as channel:
        call = channel.unary_unary("/assay.v1.ExplainService/Divine", lambda m: m, lambda m: m)
        with pytest.raises(grpc.RpcError) as got:
            call(b"")
    assert got.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_row_budget_is_kept_before_anything_runs(client, mlp, server):
    before = server.metrics()["assayd_rows_run_total"]
    with pytest.raises(assay.ResourceExhausted) as got:
        client.explain(mlp, X, ELEMENTS, target=0, budget=assay.Budget(rows=15))
    assert got.value.reason == "ROW_BUDGET"
    assert (got.value.metadata["rows"], got.value.metadata["limit"]) == ("20", "15")
    assert server.metrics()["assayd_rows_run_total"] == before


def log_model():
    b = zoo.Builder(0)
    b.op("Log", "x", outputs=["y"])
    return b.model({"x": (zoo.FLOAT, ["N", 3])}, {"y": (zoo.FLOAT, ["N", 3])})


def test_an_instance_that_fails_fails_alone_where_that_is_asked(client):
    model = client.upload_model(log_model(), name="log")
    x = np.array([[1, 2, 3], [-1, 2, 3], [4, 5, 6]], dtype=np.float32)
    method = assay.Occlusion(features=assay.Elements(), baseline=1.0)
    ex = client.explain(model, x, method, target=0, on_instance_error="skip")
    assert [s is None for s in ex.statuses] == [True, False, True]
    assert ex.statuses[1].reason == "MODEL_NOT_FINITE"
    np.testing.assert_allclose(ex.feature_values[[0, 2], 0], np.log([1, 4]), atol=1e-6)
    assert np.isnan(ex.feature_values[1]).all()
    with pytest.raises(assay.FailedPrecondition) as got:
        client.explain(model, x, method, target=0)
    assert got.value.reason == "MODEL_NOT_FINITE"
    assert got.value.metadata["instance"] == "1"


def test_a_baseline_where_the_model_is_not_finite(client):
    model = client.upload_model(log_model(), name="log")
    with pytest.raises(assay.InvalidArgument) as got:
        client.explain(model, np.ones((1, 3), np.float32), assay.Occlusion(features=assay.Elements()), target=0)
    assert got.value.reason == "NOT_FINITE"


def test_a_pinned_revision_is_honoured_or_refused(client, mlp):
    assert client.explain(mlp, X, ELEMENTS, method_revision=1).feature_values.shape == (2, 8)
    with pytest.raises(assay.FailedPrecondition) as got:
        client.explain(mlp, X, ELEMENTS, method_revision=2)
    assert got.value.metadata == {"method": "occlusion", "served": "1"}


def test_the_callers_request_id_comes_back_and_stands_in_the_log(client, mlp, server):
    with pytest.raises(assay.AssayError) as got:
        client.explain(mlp, X, ELEMENTS, target=77, request_id="order-4711")
    assert got.value.request_id == "order-4711"
    assert '"request_id": "order-4711"' in server.log()


@pytest.mark.parametrize(
    "method", ["ExplainService/Explain", "ExplainService/ExplainStream", "ModelService/UploadModel"]
)
def test_bytes_that_are_no_message(server, method):
    with grpc.insecure_channel(server.address) as channel:
        kinds = {"ExplainStream": channel.unary_stream, "UploadModel": channel.stream_unary}
        call = kinds.get(method.rpartition("/")[2], channel.unary_unary)(
            f"/assay.v1.{method}", lambda m: m, lambda m: m
        )
        request = iter([b"\xff\xff\xff\xff"]) if "Upload" in method else b"\xff\xff\xff\xff"
        with pytest.raises(grpc.RpcError) as got:
            list(call(request))
    code, info = wire(got.value)
    assert (code, info.reason) == (grpc.StatusCode.INTERNAL, "UNPARSABLE")
