"""What is reached from this machine alone."""

import pytest

from assayd.api.auth.tls import is_loopback


@pytest.mark.parametrize("address", ["127.0.0.1:0", "127.8.9.1:50051", "[::1]:1", "localhost:50051"])
def test_loopback(address):
    assert is_loopback(address)


@pytest.mark.parametrize(
    "address",
    ["0.0.0.0:1", "[::]:1", "*:1", "10.0.0.1:1", "localhost.example.org:1", "127.0.0.1.example.org:1", "host:1", "1:1",
     "[::ffff:8.8.8.8]:1"],
)  # fmt: skip
def test_others(address):
    assert not is_loopback(address)
