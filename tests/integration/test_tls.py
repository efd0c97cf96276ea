"""TLS and mutual TLS from files that change, and the refusal to serve others without."""

import os
import shutil
import socket
import ssl
import subprocess
import sys

import pytest

import assay
from assayd.__main__ import main
from tests.integration.certificates import Authority
from tests.integration.server import ServerProcess, wait_until
from tests.robustness.good_caller import GoodCaller


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("stranger"), "stranger")


def put(source, target):
    """As a careful owner does it: the whole file at once."""
    beside = target.with_name(target.name + ".new")
    shutil.copy(source, beside)
    beside.replace(target)


@pytest.fixture(scope="module")
def secured(authority, tmp_path_factory):
    folder = tmp_path_factory.mktemp("secured")
    cert, key, ca = folder / "tls.crt", folder / "tls.key", folder / "clients.pem"
    for source, target in zip((*authority.issue("first"), authority.ca), (cert, key, ca), strict=True):
        put(source, target)
    flags = ("--tls-cert", cert, "--tls-key", key, "--tls-client-ca", ca, "--probes", "127.0.0.1:0")
    with ServerProcess(folder / "store", *map(str, flags)) as server:
        server.files = cert, key, ca
        yield server


@pytest.fixture(scope="module")
def caller(authority):
    cert, key = authority.issue("caller")
    return assay.TLS(authority.ca, cert, key)


def info(address, tls):
    with assay.Client(address, tls) as client:
        return client.info(timeout=20)


def test_callers_with_a_certificate_come_in(secured, caller):
    assert info(secured.address, caller).version


@pytest.mark.parametrize("who", ["plain text", "no certificate", "another authority's", "another server's authority"])
def test_no_handshake_for_others(secured, caller, authority, stranger, who):
    tls = {
        "plain text": None,
        "no certificate": assay.TLS(authority.ca),
        "another authority's": assay.TLS(authority.ca, *stranger.issue("intruder")),
        "another server's authority": assay.TLS(stranger.ca, caller.cert, caller.key),
    }[who]

    def refused():
        with pytest.raises(assay.Unavailable):
            info(secured.address, tls)

    with GoodCaller(secured.address, tls=caller) as good:
        good.beside(refused)
    assert info(secured.address, caller).version


def serial(address):
    host, port = address.split(":")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection((host, int(port)), timeout=20) as plain, context.wrap_socket(plain) as secure:
        return secure.getpeercert(binary_form=True)


def test_a_new_certificate_is_served_without_a_restart_and_the_old_one_no_more(secured, caller, authority):
    cert, key, _ = secured.files
    with assay.Client(secured.address, caller) as connected:
        connected.info()
        before = serial(secured.address)
        new_cert, new_key = authority.issue("second")
        put(new_key, key)
        # Half of a pair serves nobody: what was there before goes on.
        wait_until(lambda: serial(secured.address) == before and "kept what was read before" in secured.log())
        assert info(secured.address, caller).version
        put(new_cert, cert)
        wanted = ssl.PEM_cert_to_DER_cert(new_cert.read_text())
        wait_until(lambda: serial(secured.address) == wanted)
        assert {serial(secured.address) for _ in range(5)} == {wanted}
        assert connected.info().version  # a connection that stands isn't cut


def test_callers_of_a_new_authority_come_in_and_those_of_the_old_one_do_not(secured, caller, authority, stranger):
    *_, ca = secured.files
    theirs = assay.TLS(authority.ca, *stranger.issue("guest"))
    put(stranger.ca, ca)

    def comes_in():
        try:
            return info(secured.address, theirs).version
        except assay.Unavailable:
            return ""

    wait_until(comes_in, 20)
    with pytest.raises(assay.Unavailable):
        info(secured.address, caller)
    put(authority.ca, ca)


def start(tmp_path, *flags):
    return subprocess.run(
        [sys.executable, "-m", "assayd", "serve", "--store", str(tmp_path / "s"), "--metrics", "127.0.0.1:0", *flags],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "192.0.2.1", "example.org"])
def test_others_are_not_served_in_plain_text(tmp_path, host):
    got = start(tmp_path, "--listen", f"{host}:0")
    assert got.returncode == 1
    assert "--tls-cert and --tls-key, or --insecure" in got.stderr.splitlines()[-1]
    assert "Traceback" not in got.stderr


def test_unless_that_is_asked_for(tmp_path):
    with ServerProcess(tmp_path / "store", "--listen", "0.0.0.0:0", "--insecure") as server:
        assert info(server.address.replace("0.0.0.0", "127.0.0.1"), None).version
        assert "everybody who can connect may do everything" in server.log()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--tls-cert", "{cert}"), "--tls-cert and --tls-key come together"),
        (("--tls-client-ca", "{cert}"), "--tls-client-ca needs"),
        (("--tls-cert", "{cert}", "--tls-key", "{other}"), "belong together"),
        (("--tls-cert", "{cert}", "--tls-key", "{cert}"), "belong together"),
        (("--tls-cert", "{cert}", "--tls-key", "{key}", "--tls-client-ca", "{key}"), "PEM certificates"),
    ],
)
def test_files_that_do_not_fit_are_said_at_start(tmp_path, authority, flags, said):
    (cert, key), (_, other) = authority.issue("one"), authority.issue("two")
    got = start(tmp_path, *(flag.format(cert=cert, key=key, other=other) for flag in flags))
    assert got.returncode == 1
    assert said in got.stderr.splitlines()[-1]
    assert "Traceback" not in got.stderr


def test_health_has_a_door_of_its_own_where_the_main_one_is_locked(authority, tmp_path, monkeypatch):
    cert, key = authority.issue("probed")
    free = free_port()
    flags = ("--tls-cert", cert, "--tls-key", key, "--tls-client-ca", authority.ca, "--probes", f"127.0.0.1:{free}")
    with ServerProcess(tmp_path / "store", *map(str, flags)) as server:
        assert main(["health", server.address]) == 1
        assert main(["health", f"127.0.0.1:{free}"]) == 0
        monkeypatch.setitem(os.environ, "ASSAYD_PROBES", f"127.0.0.1:{free}")
        assert main(["health"]) == 0
        with assay.Client(f"127.0.0.1:{free}") as client, pytest.raises(assay.AssayError) as got:
            client.info()
        assert got.value.code == "UNIMPLEMENTED"


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]
