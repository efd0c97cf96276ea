"""Tokens, roles, tenants and quotas over real gRPC: what each refusal says, and that a good caller goes on."""

import json
import time

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

import assay
from assayd.api.auth.tokens import new_token
from tests.integration.server import ServerProcess, wait_until
from tests.models import zoo
from tests.robustness.good_caller import GoodCaller

X = np.random.default_rng(0).standard_normal((2, 8)).astype(np.float32)
ELEMENTS = assay.Occlusion(features=assay.Elements())
WHO = {
    "acme": ("acme", "explain,upload"),
    "acme-reader": ("acme", "explain"),
    "acme-writer": ("acme", "upload"),
    "acme-admin": ("acme", "admin"),
    "other": ("other", "explain,upload"),
    "small": ("small", "explain,upload,admin"),
}
QUOTAS = """
[tenant.small]
rows_per_minute = 60
stored_bytes = {stored_bytes}
models = 2
"""


@pytest.fixture(scope="module")
def tokens():
    return {name: new_token(tenant, roles.split(",")) for name, (tenant, roles) in WHO.items()}


@pytest.fixture(scope="module")
def guarded(tokens, tmp_path_factory):
    folder = tmp_path_factory.mktemp("guarded")
    known, quotas = folder / "tokens", folder / "quotas.toml"
    known.write_text("\n".join(line for _, line in tokens.values()) + "\n")
    quotas.write_text(QUOTAS.format(stored_bytes=len(zoo.mlp()) * 3 // 2))
    with ServerProcess(folder / "store", "--tokens", str(known), "--quotas", str(quotas)) as server:
        server.tokens_file, server.quotas_file = known, quotas
        yield server


@pytest.fixture
def of(guarded, tokens):
    opened = []

    def client(name):
        opened.append(assay.Client(guarded.address, token=tokens[name][0] if name in tokens else name))
        return opened[-1]

    yield client
    for each in opened:
        each.close()


@pytest.fixture(scope="module")
def mlp(guarded, tokens):
    with assay.Client(guarded.address, token=tokens["acme"][0]) as client:
        return client.upload_model(zoo.mlp(), name="mlp")


@pytest.fixture(scope="module")
def good(guarded, tokens):
    with GoodCaller(guarded.address, token=tokens["acme"][0]) as caller:
        yield caller
        assert caller.answers > 0


@pytest.fixture(autouse=True)
def a_good_caller_beside_all(good):
    yield
    good.check()


def put(path, text):
    """As a careful owner does it: the whole file at once."""
    beside = path.with_name(path.name + ".new")
    beside.write_text(text)
    beside.replace(path)


STRANGER = new_token("acme", ["admin"])[0]


@pytest.mark.parametrize("shown", [None, "", pytest.param(STRANGER, id="another server's"), "letmein", "a.b.c"])
def test_strangers_are_refused_whatever_they_ask(guarded, shown, mlp):
    with assay.Client(guarded.address, token=shown) as client:
        calls = [
            lambda: client.explain(mlp, X, ELEMENTS, target=0),
            lambda: list(client.explain_stream(mlp, X, ELEMENTS, target=0)),
            lambda: list(client.explain_many(mlp, [X], ELEMENTS, target=0)),
            lambda: client.predict(mlp, X),
            lambda: client.upload_model(zoo.mlp(), name="theirs"),
            lambda: client.get_model("sha256:" + "0" * 64),
            client.models,
            lambda: client.put_tensor(X),
            lambda: client.delete_model("mlp"),
            client.info,
        ]
        for call in calls:
            with pytest.raises(assay.Unauthenticated) as got:
                call()
            assert got.value.reason == "UNAUTHENTICATED"
            assert got.value.request_id
            assert str(shown or "-") not in str(got.value) or not shown


def test_refused_before_the_message_is_read(guarded):
    """Bytes that are no message, and a message that is too large, are never looked at."""
    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(guarded.address, options) as channel:
        for body in (b"\xff\xff\xff", b"0" * (65 << 20)):
            with pytest.raises(grpc.RpcError) as got:
                channel.unary_unary("/assay.v1.ExplainService/Explain")(body, timeout=60)
            assert got.value.code() is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize(
    ("who", "call", "right"),
    [
        ("acme-reader", lambda c: c.upload_model(zoo.mlp(), name="mlp"), "upload"),
        ("acme-reader", lambda c: c.delete_model("mlp"), "admin"),
        ("acme", lambda c: c.delete_model("mlp"), "admin"),
        ("acme-writer", lambda c: c.explain("mlp", {"x": X}, ELEMENTS), "explain"),
        ("acme-writer", lambda c: c.predict("mlp", {"x": X}), "explain"),
        ("acme-writer", lambda c: list(c.explain_stream("mlp", {"x": X}, ELEMENTS)), "explain"),
    ],
)
def test_a_right_not_held_is_named(of, who, call, right):
    with pytest.raises(assay.PermissionDenied, match=f"needs the right {right}") as got:
        call(of(who))
    assert (got.value.reason, got.value.metadata["right"]) == ("PERMISSION_DENIED", right)


def test_rights_that_are_held(of):
    assert of("acme-reader").explain("mlp", {"x": X}, ELEMENTS, target=0).scores.shape == (2,)
    assert of("acme-writer").upload_model(zoo.mlp(), name="mlp").ref == "mlp@1"
    for who in ("acme-reader", "acme-writer", "acme-admin"):
        assert of(who).get_model("mlp").ref == "mlp@1"
        assert of(who).info().version
    of("acme").upload_model(zoo.mlp(), name="gone")
    assert of("acme-admin").delete_model("gone") == 1


def not_found(call, *arguments):
    with pytest.raises(assay.NotFound) as got:
        call(*arguments)
    return got.value


def said(error, *names):
    text = json.dumps([error.code, error.reason, error.message, error.metadata, error.violations])
    for name in names:
        text = text.replace(name, "NAME")
    return text


def test_anothers_model_is_as_unknown_as_one_that_never_was(of, mlp):
    unknown = "sha256:" + "0" * 64
    other = of("other")
    calls = [
        lambda ref: other.explain(ref, {"x": X}, ELEMENTS),
        lambda ref: list(other.explain_stream(ref, {"x": X}, ELEMENTS)),
        lambda ref: list(other.explain_many(ref, [{"x": X}], ELEMENTS)),
        lambda ref: other.predict(ref, {"x": X}),
        other.get_model,
    ]
    of("acme").predict(mlp, X)  # so that it is in memory
    for call in calls:
        for real, made_up in ((mlp.digest, unknown), ("mlp", "nix"), ("mlp@1", "nix@1")):
            assert said(not_found(call, real), real) == said(not_found(call, made_up), made_up)
    assert other.models() == []
    assert other.models("mlp") == []


def test_anothers_tensor_is_as_unknown_too(of):
    mine = of("acme").put_tensor(X)
    unknown = "sha256:" + "0" * 64
    of("other").upload_model(zoo.mlp(), name="own")
    assert of("acme").explain("mlp", {"x": mine}, ELEMENTS, target=0).scores.shape == (2,)
    other = of("other")
    errors = [not_found(lambda d: other.explain("own", {"x": d}, ELEMENTS), digest) for digest in (mine, unknown)]
    assert errors[0].reason == "TENSOR_NOT_FOUND"
    assert said(errors[0], mine) == said(errors[1], unknown)
    # A setting that one tenant's call has had decoded is not another's.
    baseline = assay.Occlusion(features=assay.Elements(), baseline=of("acme").put_tensor(X[0]))
    of("acme").explain("mlp", {"x": X}, baseline, target=0)
    assert not_found(lambda: of("other").explain("own", {"x": X}, baseline)).reason == "TENSOR_NOT_FOUND"


def test_the_same_bytes_of_two_tenants_are_each_ones_own(of, mlp):
    theirs = of("other").upload_model(zoo.mlp(), name="same")
    assert theirs.digest == mlp.digest
    mine = of("acme").explain(mlp, X, ELEMENTS, target=0)
    other = of("other").explain(theirs, X, ELEMENTS, target=0)
    np.testing.assert_allclose(mine.feature_values, other.feature_values, rtol=1e-5, atol=1e-6)
    assert of("acme").get_model("mlp").digest == mlp.digest
    not_found(lambda: of("acme").get_model("same"))


def test_the_log_knows_whose_call_it_was(guarded, of):
    with assay.Client(guarded.address, token=STRANGER) as client, pytest.raises(assay.Unauthenticated):
        client.info()
    of("other").info()
    wait_until(lambda: '"tenant": "other"' in guarded.log())
    assert STRANGER not in guarded.log()
    assert "assay_" not in guarded.log()


def test_health_is_for_everybody_and_reflection_for_who_is_known(guarded, tokens):
    with grpc.insecure_channel(guarded.address) as channel:
        status = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=20)
        assert status.status == health_pb2.HealthCheckResponse.SERVING
        reflect = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo
        ask = reflection_pb2.ServerReflectionRequest(list_services="")
        with pytest.raises(grpc.RpcError) as got:
            list(reflect(iter([ask]), timeout=20))
        assert got.value.code() is grpc.StatusCode.UNAUTHENTICATED
        shown = [("authorization", f"Bearer {tokens['acme-reader'][0]}")]
        (answer,) = reflect(iter([ask]), timeout=20, metadata=shown)
        assert "assay.v1.ExplainService" in {s.name for s in answer.list_services_response.service}
        with pytest.raises(grpc.RpcError) as got:
            channel.unary_unary("/assay.v1.ExplainService/Divine")(b"", timeout=20)
        assert got.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_token_that_is_taken_out_of_the_file_is_foreign_and_a_new_one_known(guarded, of, tokens):
    token, line = new_token("acme", ["explain"])
    before = guarded.tokens_file.read_text()

    def known():
        try:
            return of(token).info()
        except assay.Unauthenticated:
            return None

    assert known() is None
    put(guarded.tokens_file, before + line + "\n")
    wait_until(known)
    put(guarded.tokens_file, before)
    wait_until(lambda: known() is None)


# ---- quotas --------------------------------------------------------------------------------------------------------


def quota_failure(error):
    """The QuotaFailure of an error, which the client's errors don't carry."""
    while error is not None and not isinstance(error, grpc.RpcError):
        error = error.__cause__ or error.__context__
    status = status_pb2.Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"])
    for detail in status.details:
        found = error_details_pb2.QuotaFailure()
        if detail.Unpack(found):
            return found.violations[0]
    raise AssertionError(status)


def used_up(call, quota):
    with pytest.raises(assay.ResourceExhausted, match=f"tenant small may have {quota}") as got:
        call()
    assert got.value.reason == "QUOTA"
    assert got.value.metadata["quota"] == quota
    assert quota_failure(got.value).subject == "tenant:small"
    return got.value


def test_rows_beyond_the_quota_come_later_and_others_do_not_wait(guarded, of, mlp):
    small = of("small")
    own = small.upload_model(zoo.mlp(), name="own")
    for _ in range(20):
        try:
            small.explain(own, X, ELEMENTS, target=0)
        except assay.ResourceExhausted:
            break
    error = used_up(lambda: [small.explain(own, X, ELEMENTS, target=0) for _ in range(20)], "rows_per_minute")
    assert 0 < error.retry_after <= 60
    many = np.zeros((100, 8), np.float32)
    assert used_up(lambda: small.predict(own, many), "rows_per_minute").retry_after is None
    assert len(of("acme").predict(mlp, many)["y"]) == 100


def test_versions_and_bytes_beyond_the_quota_are_refused_and_leave_nothing(guarded, of):
    small = of("small")
    small.upload_model(zoo.mlp(), name="own")
    small.upload_model(zoo.mlp(), name="own")  # again is no more
    used_up(lambda: small.put_tensor(np.zeros(5000, np.float32)), "stored_bytes")
    used_up(lambda: small.upload_model(zoo.mlp(seed=5), name="second"), "stored_bytes")
    put(guarded.quotas_file, QUOTAS.format(stored_bytes=10**9))
    other = zoo.mlp(seed=5)

    def taken():
        try:
            return small.upload_model(other, name="second")
        except assay.ResourceExhausted:
            return None

    wait_until(taken)
    used_up(lambda: small.upload_model(zoo.mlp(seed=6), name="third"), "models")
    assert [m.name for m in small.models()] == ["own", "second"]
    assert small.delete_model("second") == 1
    assert small.upload_model(zoo.mlp(seed=6), name="third").ref == "third@1"


# ---- signed tokens -------------------------------------------------------------------------------------------------


def test_a_jwt_says_who_calls(tmp_path):
    jwt = pytest.importorskip("jwt", reason="PyJWT is an extra")
    pytest.importorskip("cryptography", reason="PyJWT needs it for these signatures")
    from cryptography.hazmat.primitives.asymmetric import ec

    key, foreign = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    public = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key())) | {"kid": "k"}
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": [public]}))

    def token(by=key, **changes):
        claims = {"iss": "me", "aud": "assay", "exp": time.time() + 600, "tenant": "acme", "roles": ["explain"]}
        return jwt.encode(claims | changes, by, "ES256", {"kid": "k"})

    flags = ("--jwks", str(tmp_path / "jwks.json"), "--jwt-issuer", "me", "--jwt-audience", "assay")
    with ServerProcess(tmp_path / "store", *flags) as server:
        with assay.Client(server.address, token=token()) as client:
            assert client.info().version
            with pytest.raises(assay.PermissionDenied):
                client.upload_model(zoo.mlp(), name="mlp")
        for bad in (token(foreign), token(exp=time.time() - 3600), token(aud="else"), STRANGER):
            with assay.Client(server.address, token=bad) as client, pytest.raises(assay.Unauthenticated):
                client.info()
