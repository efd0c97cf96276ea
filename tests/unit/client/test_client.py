from __future__ import annotations

import concurrent.futures
import gc
from functools import partial

import numpy as np
import pytest
from google.rpc import error_details_pb2, status_pb2

import assay
from assay.uploads import CHUNK_BYTES
from tests.unit.client.fake_server import DIGEST, digits

IMAGES = np.zeros((2, 1, 8, 8), np.float32)
METHOD = assay.Occlusion(window=4)


@pytest.fixture
def client(server):
    with assay.Client(server.address) as client:
        yield client


def names(server):
    return [type(seen).__name__ for seen in server.seen]


def test_upload_streams_a_path_and_bytes_in_chunks(client, server, tmp_path):
    content = bytes(range(256)) * (CHUNK_BYTES // 256) * 2 + b"end"
    path = tmp_path / "digits.onnx"
    path.write_bytes(content)
    spec = assay.ModelSpec(layouts={"image": "NCHW"})
    for source in (path, str(path), content):
        model = client.upload_model(source, name="digits", version="7", spec=spec)
        assert (model.ref, model.digest) == ("digits@1", DIGEST)
        assert [len(part.chunk) for part in server.seen[-1][1:]] == [CHUNK_BYTES, CHUNK_BYTES, 3]
        header = server.seen[-1][0].header
        assert (header.name, header.version, header.spec.inputs[0].layout) == ("digits", "7", 1)


def test_a_missing_file_is_told_before_anything_is_sent(client, server, tmp_path):
    with pytest.raises(FileNotFoundError):
        client.upload_model(tmp_path / "none.onnx", name="digits")
    assert server.seen == []


def test_all_pages_are_listed(client, server):
    assert [model.ref for model in client.models("digits")] == ["digits@1", "digits@2"]
    assert [seen.page_token for seen in server.seen] == ["", "2"]
    assert server.seen[0].name == "digits"


def test_delete_takes_names_and_models(client, server):
    assert client.delete_model("digits") == 2
    client.delete_model(assay.Model("digits", "3", DIGEST))
    assert [seen.model for seen in server.seen] == ["digits", "digits@3"]


def test_explain_by_name(client, server):
    ex = client.explain("digits", {"image": IMAGES}, METHOD, target=3, request_id="mine", timeout=5)
    assert ex.attributions["image"].shape == IMAGES.shape
    assert ex.request_id == "mine"
    assert server.seen[0].model == "digits"
    assert server.metadata[0]["x-request-id"] == "mine"
    assert "authorization" not in server.metadata[0]


def test_a_model_stands_for_its_version(client, server):
    client.explain(assay.Model("digits", "4", DIGEST), {"image": IMAGES}, METHOD)
    client.explain(assay.Model("", "", DIGEST), {"image": IMAGES}, METHOD)
    assert [seen.model for seen in server.seen] == ["digits@4", DIGEST]


@pytest.mark.parametrize("timeout", [0, -1.0, float("nan")])
def test_a_timeout_that_leaves_no_time_is_refused_before_anything_is_sent(client, server, timeout):
    sent = len(server.seen)
    for call in (partial(client.explain, "digits", {"image": IMAGES}, METHOD), client.info):
        with pytest.raises(assay.InvalidArgument, match="above 0 seconds") as got:
            call(timeout=timeout)
        assert got.value.violations[0][0] == "timeout"
    assert not any(type(seen).__name__ == "ExplainRequest" for seen in server.seen[sent:])


def test_an_empty_file_is_refused_before_anything_is_sent(client, server, tmp_path):
    sent = len(server.seen)
    (tmp_path / "none.onnx").touch()
    with pytest.raises(assay.InvalidArgument, match=r"none\.onnx is empty"):
        client.upload_model(tmp_path / "none.onnx", name="digits")
    assert len(server.seen) == sent


def test_every_call_has_an_id_of_its_own(client, server):
    for _ in range(2):
        client.explain("digits", {"image": IMAGES}, METHOD)
    ids = [seen.request_id for seen in server.seen]
    assert len(set(ids)) == 2
    assert ids == [metadata["x-request-id"] for metadata in server.metadata]


def test_a_bare_array_needs_the_inputs_name_which_is_looked_up_once(client, server):
    uploaded = client.upload_model(b"onnx", name="digits")
    client.explain(uploaded, IMAGES, METHOD)
    client.explain("digits@1", IMAGES, METHOD)
    client.predict(DIGEST, IMAGES)
    assert names(server) == ["list", "ExplainRequest", "ExplainRequest", "PredictRequest"]
    assert all("image" in seen.inputs for seen in server.seen[1:])
    assert [seen.model for seen in server.seen[1:]] == ["digits@1", "digits@1", DIGEST]


def test_a_bare_name_is_looked_up_each_time_since_it_may_be_newer(client, server):
    client.explain("digits", IMAGES, METHOD)
    server.model = digits("2")
    client.explain("digits", IMAGES, METHOD)
    assert names(server) == ["GetModelRequest", "ExplainRequest"] * 2
    assert [server.seen[1].model, server.seen[3].model] == ["digits@1", "digits@2"]


def test_a_deleted_version_is_forgotten(client, server):
    client.get_model("digits@1")
    client.delete_model("digits")
    client.explain("digits@1", IMAGES, METHOD)
    assert names(server) == ["GetModelRequest", "DeleteModelRequest", "GetModelRequest", "ExplainRequest"]


def test_a_listed_model_has_no_inputs_and_is_looked_up(client, server):
    client.explain(assay.Model("digits", "1", DIGEST), IMAGES, METHOD)
    assert names(server) == ["GetModelRequest", "ExplainRequest"]


def test_a_bare_array_for_several_inputs_is_refused(client, server):
    server.model.inputs.add(name="mask", dtype=1)
    with pytest.raises(assay.InvalidArgument, match="image, mask"):
        client.explain("digits", IMAGES, METHOD)


def test_a_stored_tensor_stands_for_an_array_and_its_shape_is_known(client, server):
    digest = client.put_tensor(np.zeros((1, 3, 8, 8), np.float32))
    assert digest == DIGEST
    ex = client.explain("digits", {"image": digest}, METHOD)
    assert server.seen[-1].inputs["image"].digest == digest
    assert ex.attributions["image"].shape == (1, 3, 8, 8)
    elsewhere = client.explain("digits", {"image": "sha256:" + "0" * 64}, METHOD)
    assert elsewhere.attributions["image"].shape == (1, 1, 8, 8)


def test_the_stream_yields_progress_instances_and_the_explanation(client, server):
    events = list(client.explain_stream("digits", {"image": IMAGES}, METHOD, target=[0], seed=3))
    kinds = [type(event).__name__ for event in events]
    assert kinds == ["Progress", "Instance", "Instance", "Explanation"]
    assert events[0] == assay.Progress(0, 4, 0, 2)
    assert [event.position for event in events[1:3]] == [1, 0]
    assert events[1].attributions["image"].shape == (1, 1, 8, 8)
    assert [i.position for i in events[3].instances] == [0, 1]
    assert server.seen[0].seed == 3
    whole = client.explain("digits", {"image": IMAGES}, METHOD, target=[0])
    np.testing.assert_array_equal(events[3].attributions["image"], whole.attributions["image"])
    np.testing.assert_array_equal(events[3].feature_values, whole.feature_values)


def test_a_stream_may_be_left_early_and_the_client_goes_on(client):
    stream = client.explain_stream("digits", {"image": IMAGES}, METHOD)
    next(stream)
    stream.close()
    gc.collect()
    assert client.info().version == "0.1.0"


def test_a_stream_without_its_end_is_an_error(client, server):
    server.summarises = False
    with pytest.raises(assay.Internal, match="without its summary"):
        list(client.explain_stream("digits", {"image": IMAGES}, METHOD))


def test_predict_returns_arrays_of_the_callers_own(client, server):
    outputs = client.predict("digits", {"image": IMAGES}, outputs=["logits"])
    assert outputs["logits"].tolist() == [[0.5, 2.0, -1.0]]
    outputs["logits"] += 1
    assert list(server.seen[0].outputs) == ["logits"]


def test_info(client):
    info = client.info()
    assert info.methods == {"occlusion": 1}
    assert info.limits.max_batch_rows == 64
    assert info.providers == ("CPUExecutionProvider",)
    assert info.versions == {"onnxruntime": "1.31.1"}
    assert info.devices == (assay.DeviceInfo("cuda:0", True, 2), assay.DeviceInfo("cuda:1", False, 0))


def test_token_and_trace_context_go_with_each_call(server):
    with assay.Client(server.address, token="secret", traceparent=lambda: "00-a-b-01") as client:
        client.info()
        list(client.explain_stream("digits", {"image": IMAGES}, METHOD))
    for metadata in server.metadata:
        assert metadata["authorization"] == "Bearer secret"
        assert metadata["traceparent"] == "00-a-b-01"


def test_errors_of_calls_and_streams_carry_their_details(client, server):
    status = status_pb2.Status(code=5, message="no model 'digits'")
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason="MODEL_NOT_FOUND", metadata={"model": "digits"}))
    server.status = status
    server.trailers = (("grpc-status-details-bin", status.SerializeToString()), ("x-request-id", "theirs"))
    calls = [
        lambda: client.explain("digits", {"image": IMAGES}, METHOD, request_id="mine"),
        lambda: list(client.explain_stream("digits", {"image": IMAGES}, METHOD)),
        lambda: client.upload_model(b"x", name="digits"),
        client.info,
    ]
    for call in calls:
        with pytest.raises(assay.NotFound) as caught:
            call()
        assert caught.value.reason == "MODEL_NOT_FOUND"
        assert caught.value.metadata == {"model": "digits"}
        assert caught.value.request_id == "theirs"
        assert caught.value.__cause__ is not None


def test_no_server_is_unavailable_and_named_by_the_callers_id():
    with assay.Client("127.0.0.1:1") as client, pytest.raises(assay.Unavailable) as caught:
        client.explain("digits", {"image": IMAGES}, METHOD, request_id="mine")
    assert caught.value.request_id == "mine"


def test_too_little_time(client, server):
    server.delay = 0.5
    with pytest.raises(assay.DeadlineExceeded):
        client.info(timeout=0.05)


def test_threads_share_a_client(client):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: client.explain("digits@1", IMAGES, METHOD).scores.tolist(), range(32)))
    assert found == [[5.0, 5.0]] * 32


@pytest.mark.parametrize("request_id", ["ä", "a\nb", 7])
def test_an_id_that_cannot_be_sent_names_its_field_and_nothing_is_sent(client, server, request_id, capfd):
    asked = len(server.seen)
    for ask in (
        lambda: client.explain("digits@2", {"image": IMAGES}, assay.Lime(), request_id=request_id),
        lambda: list(client.explain_stream("digits@2", {"image": IMAGES}, assay.Lime(), request_id=request_id)),
        lambda: client.predict("digits@2", {"image": IMAGES}, request_id=request_id),
    ):
        with pytest.raises(assay.InvalidArgument) as refused:
            ask()
        assert refused.value.violations[0][0] == "request_id"
    assert len(server.seen) == asked
    assert capfd.readouterr() == ("", "")
