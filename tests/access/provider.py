"""A small OpenID Connect provider on this machine, with real keys, that does as it is told."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from tests.support.answering import Handler, answering

AUDIENCE = "https://cxr.example"
Private = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def new_key(algorithm: str, bits: int = 2048) -> Private:
    if algorithm.startswith(("RS", "PS")):
        return rsa.generate_private_key(65537, bits)
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key(ec.SECP256R1())


def jwk(key: Private, kid: str, algorithm: str, **more: str) -> dict[str, Any]:
    kinds: dict[type, Any] = {rsa.RSAPrivateKey: RSAAlgorithm, ec.EllipticCurvePrivateKey: ECAlgorithm}
    kind = next((made for of, made in kinds.items() if isinstance(key, of)), OKPAlgorithm)
    return {**kind.to_jwk(key.public_key(), as_dict=True), "kid": kid, "alg": algorithm, "use": "sig", **more}


class Provider:
    """Its keys by kid; ``published`` is what it shows, ``down`` makes it fail and ``held`` makes it wait."""

    def __init__(self) -> None:
        self.keys: dict[str, tuple[Private, str]] = {}
        self.published: list[dict[str, Any]] = []
        self.down = False
        self.held = threading.Event()
        self.held.set()
        self.asked: list[str] = []
        self.issuer = ""

    def add(self, kid: str, algorithm: str = "RS256") -> None:
        key = new_key(algorithm)
        self.keys[kid] = key, algorithm
        self.published.append(jwk(key, kid, algorithm))

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Of a good token; a claim that is changed to None is left out."""
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": AUDIENCE, "sub": "u-1", "iat": now, "exp": now + 300, "scope": "score"}
        return {name: value for name, value in {**claims, **changes}.items() if value is not None}

    def token(self, kid: str = "one", headers: dict[str, Any] | None = None, **changes: Any) -> str:
        key, algorithm = self.keys[kid]
        return jwt.encode(self.claims(**changes), key, algorithm, headers={"kid": kid, **(headers or {})})


@contextmanager
def providing() -> Iterator[Provider]:
    provider = Provider()

    class Asked(Handler):
        protocol_version = "HTTP/1.0"

        def get(self) -> None:
            provider.asked.append(self.path)
            assert provider.held.wait(30)
            found: dict[str, Any] | None = {
                "/.well-known/openid-configuration": {"issuer": provider.issuer, "jwks_uri": f"{provider.issuer}/keys"},
                "/keys": {"keys": provider.published},
            }.get(self.path)
            self.answer(503 if provider.down else 404 if found is None else 200, json.dumps(found).encode())

    with answering(Asked) as provider.issuer:
        try:
            yield provider
        finally:
            provider.held.set()
