"""Signed tokens: by whom, for whom, until when, and by no trick."""

import base64
import json
import time

import pytest

jwt = pytest.importorskip("jwt", reason="PyJWT is an extra")
pytest.importorskip("cryptography", reason="PyJWT needs it for these signatures")

from cryptography.hazmat.primitives import serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa  # noqa: E402
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm  # noqa: E402

from assayd.api.auth.identity import Identity, Role  # noqa: E402
from assayd.api.auth.jwks import Jwks  # noqa: E402
from assayd.errors import Unauthenticated  # noqa: E402

RSA, OTHER = (rsa.generate_private_key(65537, 2048) for _ in range(2))
EC, ED = ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()


def public(algorithm, key, **more):
    return json.loads(algorithm.to_jwk(key.public_key())) | more


KEYS = [
    public(RSAAlgorithm, RSA, kid="r", alg="RS256", use="sig"),
    public(ECAlgorithm, EC, kid="e"),
    public(OKPAlgorithm, ED, kid="o"),
]


def written(path, keys):
    path.write_text(json.dumps({"keys": keys}))
    return path


@pytest.fixture
def jwks(tmp_path):
    return Jwks(written(tmp_path / "jwks.json", KEYS), "https://issuer", "assay")


def claims(**changes):
    base = {"iss": "https://issuer", "aud": "assay", "exp": time.time() + 300, "tenant": "acme", "roles": ["explain"]}
    return {k: v for k, v in (base | changes).items() if v is not None}


def signed(key=RSA, algorithm="RS256", kid="r", **changes):
    return jwt.encode(claims(**changes), key, algorithm, headers={"kid": kid} if kid else None)


@pytest.mark.parametrize(("key", "algorithm", "kid"), [(RSA, "RS256", "r"), (EC, "ES256", "e"), (ED, "EdDSA", "o")])
def test_a_signed_token_says_who_it_is(jwks, key, algorithm, kid):
    assert jwks.identify(signed(key, algorithm, kid)) == Identity("acme", frozenset({Role.EXPLAIN}))


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": time.time() - 3600},
        {"exp": None},
        {"nbf": time.time() + 3600},
        {"iss": "https://another"},
        {"iss": None},
        {"aud": "elsewhere"},
        {"aud": None},
        {"tenant": None},
        {"tenant": "../up"},
        {"tenant": 7.5},
        {"roles": None},
        {"roles": "explain"},
        {"roles": []},
        {"roles": ["root"]},
        {"roles": [{}]},
        {"kid": "unknown"},
        {"kid": None},
        {"kid": "e"},
        {"key": OTHER},
        {"algorithm": "PS256"},
    ],
    ids=lambda changes: (
        " ".join(f"{k} {v}" for k, v in changes.items() if isinstance(v, (str, list))) or str([*changes])
    ),
)
def test_what_is_expired_foreign_or_half_is_refused(jwks, changes):
    with pytest.raises(Unauthenticated):
        jwks.identify(signed(**changes))


def segment(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def test_none_is_no_signature(jwks):
    for name in ("none", "None", "NONE"):
        with pytest.raises(Unauthenticated):
            jwks.identify(f"{segment({'alg': name, 'kid': 'r'})}.{segment(claims())}.")


def test_the_public_key_is_no_shared_secret(jwks):
    import hashlib
    import hmac

    pem = RSA.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    body = f"{segment({'alg': 'HS256', 'kid': 'r'})}.{segment(claims())}"
    mac = base64.urlsafe_b64encode(hmac.digest(pem, body.encode(), hashlib.sha256)).rstrip(b"=").decode()
    with pytest.raises(Unauthenticated):
        jwks.identify(f"{body}.{mac}")


@pytest.mark.parametrize("text", ["", "a", "a.b.c", "...", "é.é.é", "a" * 5000])
def test_what_is_no_token_is_refused(jwks, text):
    with pytest.raises(Unauthenticated):
        jwks.identify(text)


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ([], "no key"),
        ([{"kty": "oct", "k": "AAAA", "kid": "s"}], "type oct"),
        ([{"kty": "RSA", "kid": "x"}], "no JWKS"),
        ([KEYS[0], KEYS[0]], "kid of its own"),
        ([json.loads(RSAAlgorithm.to_jwk(RSA))], "private key"),
        ("x", "no JWKS"),
        ([3], "no JWKS"),
    ],
)
def test_keys_that_can_not_be_are_named_at_start(tmp_path, keys, why):
    with pytest.raises(ValueError, match=why):
        Jwks(written(tmp_path / "jwks.json", keys), "i", "a")


def test_one_key_needs_no_kid(tmp_path):
    jwks = Jwks(written(tmp_path / "jwks.json", [public(RSAAlgorithm, RSA)]), "https://issuer", "assay")
    assert jwks.identify(signed(kid=None)).tenant == "acme"
