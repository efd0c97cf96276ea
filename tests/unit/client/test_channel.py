from __future__ import annotations

import subprocess

import grpc
import pytest

import assay
from assay import InvalidArgument
from assay.channel import MAX_MESSAGE_BYTES, OPTIONS, call_metadata, credentials
from tests.unit.client.fake_server import FakeServer, serving


def test_messages_of_64_mib_pass_both_ways():
    assert MAX_MESSAGE_BYTES == 64 * 1024 * 1024
    assert dict(OPTIONS) == {
        "grpc.max_send_message_length": MAX_MESSAGE_BYTES,
        "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
    }


def test_metadata_holds_what_there_is():
    assert call_metadata(None, "", None) == []
    assert call_metadata("t", "r", "00-a-b-01") == [
        ("authorization", "Bearer t"),
        ("x-request-id", "r"),
        ("traceparent", "00-a-b-01"),
    ]


def test_plain_text_needs_no_credentials():
    assert credentials(None) is None
    assert credentials(False) is None
    assert credentials(True) is not None


def test_no_file_is_no_plain_text():
    with pytest.raises(OSError, match="directory"):
        credentials("")


def test_half_a_client_certificate_is_refused(tmp_path):
    with pytest.raises(assay.InvalidArgument, match="together"):
        credentials(assay.TLS(cert=b"x"))
    with pytest.raises(OSError, match="nowhere"):
        credentials(assay.TLS(ca=tmp_path / "nowhere.pem"))


def test_a_key_stays_out_of_logs():
    assert "secret" not in repr(assay.TLS(key=b"secret"))


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Key and self-signed certificate of 127.0.0.1."""
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    extra = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    try:
        subprocess.run([*command, *extra], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("needs openssl to make a certificate")
    return key, cert


def test_tls_trusts_the_given_authority_and_no_other(pair):
    key, cert = pair
    credentials = grpc.ssl_server_credentials([(key.read_bytes(), cert.read_bytes())])
    with serving(FakeServer(), credentials) as server:
        for ca in (cert, str(cert), cert.read_bytes()):
            for tls in (assay.TLS(ca=ca), ca):
                with assay.Client(server.address, tls, token="t") as client:
                    assert client.info().version == "0.1.0"
        assert server.metadata[0]["authorization"] == "Bearer t"
        with assay.Client(server.address, tls=True) as client, pytest.raises(assay.Unavailable):
            client.info(timeout=5)


async def test_the_client_for_asyncio_has_the_same_tls(pair):
    key, cert = pair
    credentials = grpc.ssl_server_credentials([(key.read_bytes(), cert.read_bytes())])
    with serving(FakeServer(), credentials) as server:
        async with assay.AsyncClient(server.address, assay.TLS(ca=cert), token="t") as client:
            assert (await client.info()).version == "0.1.0"
        assert server.metadata[0]["authorization"] == "Bearer t"
        async with assay.AsyncClient(server.address, tls=True) as client:
            with pytest.raises(assay.Unavailable):
                await client.info(timeout=5)


def test_a_client_shows_its_certificate(pair):
    key, cert = pair
    credentials = grpc.ssl_server_credentials(
        [(key.read_bytes(), cert.read_bytes())], root_certificates=cert.read_bytes(), require_client_auth=True
    )
    with serving(FakeServer(), credentials) as server:
        with assay.Client(server.address, assay.TLS(ca=cert, cert=cert, key=key)) as client:
            assert client.info().version == "0.1.0"
        with assay.Client(server.address, assay.TLS(ca=cert)) as client, pytest.raises(assay.Unavailable):
            client.info(timeout=5)


@pytest.mark.parametrize(
    ("field", "metadata"),
    [("token", ("ä", "r", None)), ("request_id", ("t", "ä", None)), ("request_id", (None, "a\nb", None))],
)
def test_what_no_header_can_hold_names_its_field(field, metadata):
    with pytest.raises(InvalidArgument, match="printable ASCII") as refused:
        call_metadata(*metadata)
    assert [name for name, _ in refused.value.violations] == [field]
