"""Bearer tokens of an OpenID Connect provider (RFC 9068, OpenID Connect Discovery 1.0) -> callers.

    token -> its kid among the provider's keys -> signature, issuer, audience, times -> name and scopes

A token's own content decides nothing until its signature is known to be the provider's. The key determines the algorithm.
Keys come from the provider alone, never from an address in the token (jku, x5u). Whatever callers send, the service asks
the provider at most once in LEAST_SECONDS.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import ssl
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from .file import SCOPES, Caller, Scope

log = logging.getLogger("cxr_gate")

#: Signatures by private keys that only the provider has: not "none", and no algorithm with a secret that both sides know.
ALGORITHMS: Final = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
    "Ed25519",
)
REQUIRED: Final = ["exp", "iss", "aud", "sub"]
LEEWAY_SECONDS: Final = 30
LEAST_RSA_BITS: Final = 2048
MOST_TOKEN_BYTES: Final = 8192
MOST_DOCUMENT_BYTES: Final = 1 << 20
FETCH_SECONDS: Final = 5.0
#: The least time between two fetches.
LEAST_SECONDS: Final = 10.0
#: Keys older than this are fetched again even if none is missing: the provider may have withdrawn one.
FRESH_SECONDS: Final = 600.0
#: Names of callers with tokens begin with this; no name in a file of keys can, since it has a colon.
NAME_PREFIX: Final = "oidc:"
#: A subject is at most 255 ASCII characters (OpenID Connect Core 1.0 section 2).
_SUBJECT: Final = re.compile(r"[\x21-\x7e]{1,255}")
_LOCAL: Final = re.compile(r"http://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?(/.*)?")


class OidcError(Exception):
    """A setting of the provider cannot be used; the message says what is wrong."""


class TokenRefused(Exception):
    """The token is not the provider's, not for this service, or not valid now; its sender may see the message."""


class ProviderUnavailable(Exception):
    """No key of the provider is known yet, so no token can be checked."""


class _FetchFailed(Exception):
    pass


class Provider:
    """Fetches the provider's keys, and checks tokens with them. Used in the event loop's thread.

    Parameters
    ----------
    issuer : str
        The provider, as its tokens name it (``iss``).
    audience : str
        This service's name at the provider.
    jwks_url : str
        Address of the keys; empty: the provider's discovery document names it.
    scopes : mapping of str to collection of str
        Which of our scopes each word in a token gives; any other word gives none.
    clock : callable
        Monotonic seconds.

    Raises
    ------
    OidcError
        No audience, or an address that is neither https nor this machine's.
    """

    def __init__(
        self,
        issuer: str,
        audience: str,
        jwks_url: str,
        scopes: Mapping[str, Collection[Scope]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not audience:
            raise OidcError(
                "CXR_OIDC_AUDIENCE is required: without it a token for any other service of the provider would work here"
            )
        for url in filter(None, (issuer, jwks_url)):
            if not (url.startswith("https://") or _LOCAL.fullmatch(url)):
                raise OidcError("CXR_OIDC_ISSUER and CXR_OIDC_JWKS_URL must be https (or of this machine, for tests)")
        self._issuer = issuer
        self._audience = audience
        self._jwks_url = jwks_url
        self._scopes = scopes
        self._clock = clock
        self._tls = ssl.create_default_context()
        self._keys: dict[str, jwt.PyJWK] = {}
        self._asked = -LEAST_SECONDS
        self._fetched = 0.0
        self._fetching: asyncio.Task[None] | None = None
        self.fetched_at = 0.0  # Unix time; 0: never

    def fetch(self) -> asyncio.Task[None] | None:
        """Begin to fetch the keys, unless that is too soon; returns the latest fetch, or None before the first."""
        now = self._clock()
        if (self._fetching is None or self._fetching.done()) and now - self._asked >= LEAST_SECONDS:
            self._asked = now
            self._fetching = asyncio.create_task(self._fetch())
        return self._fetching

    async def stop(self) -> None:
        """End a fetch that runs."""
        if self._fetching:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)

    async def prepare(self, token: str) -> None:
        """Make sure that the token's key is known, if the provider has it; waits at most FETCH_SECONDS.

        Other requests do not wait, and neither does a token whose key is known.
        """
        if len(token) > MOST_TOKEN_BYTES:
            return
        try:
            known = jwt.get_unverified_header(token).get("kid") in self._keys
        except (jwt.InvalidTokenError, TypeError):
            return
        if known and self._clock() - self._fetched < FRESH_SECONDS:
            return
        running = self.fetch()
        if not known and running:
            await asyncio.wait([running])

    def caller(self, token: str) -> Caller:
        """The caller to whom the provider gave this token.

        Raises
        ------
        TokenRefused, ProviderUnavailable
        """
        if len(token) > MOST_TOKEN_BYTES:
            raise TokenRefused(f"the token is over {MOST_TOKEN_BYTES} bytes")
        if not self._keys:
            raise ProviderUnavailable("the identity provider has not given its keys yet; try again shortly")
        try:
            kid = jwt.get_unverified_header(token).get("kid")
            if not isinstance(kid, str) or kid not in self._keys:
                raise TokenRefused("the token's key (kid) is not one of the provider's")
            claims = jwt.decode(
                token,
                self._keys[kid],
                algorithms=ALGORITHMS,
                audience=self._audience,
                issuer=self._issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": REQUIRED},
            )
        except jwt.InvalidTokenError as error:
            raise TokenRefused(_REASONS.get(type(error), "the token is not a valid token of the provider")) from error
        subject = claims["sub"]
        if not _SUBJECT.fullmatch(subject):
            raise TokenRefused("the token's subject (sub) is not 1 to 255 printable ASCII characters")
        held = {ours for theirs in _said(claims) for ours in self._scopes.get(theirs, ())}
        return Caller(NAME_PREFIX + subject, frozenset(held), "")

    async def _fetch(self) -> None:
        try:
            async with asyncio.timeout(FETCH_SECONDS), self._client() as client:
                keys = _keys(await _document(client, self._jwks_url or await self._discover(client)))
        except (TimeoutError, httpx.HTTPError, httpx.InvalidURL, _FetchFailed) as error:
            reason = str(error) if isinstance(error, _FetchFailed) else type(error).__name__
            log.error(
                "the identity provider's keys could not be fetched; the known keys still hold",
                extra={"reason": reason, "known": len(self._keys)},
            )
            return
        if keys.keys() != self._keys.keys():
            log.info("the identity provider's keys were fetched", extra={"keys": len(keys)})
        self._keys, self._fetched, self.fetched_at = keys, self._clock(), time.time()

    def _client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(timeout=FETCH_SECONDS, trust_env=False, verify=self._tls)

    async def _discover(self, client: httpx.AsyncClient) -> str:
        found = await _document(client, self._issuer.rstrip("/") + "/.well-known/openid-configuration")
        url = found.get("jwks_uri")
        if found.get("issuer") != self._issuer:
            raise _FetchFailed("the discovery document is another issuer's than CXR_OIDC_ISSUER")
        if not isinstance(url, str) or not (url.startswith("https://") or _LOCAL.fullmatch(url)):
            raise _FetchFailed("the discovery document names no https address of keys (jwks_uri)")
        return url


def parse_scopes(text: str) -> dict[str, set[Scope]]:
    """``"Films.Score=score Radiologist=review Radiologist=score"`` -> our scopes that each word in a token gives.

    An empty text maps the name of each scope to that scope.

    Raises
    ------
    OidcError
    """
    if not text.strip():
        return {scope: {scope} for scope in SCOPES}
    mapping: dict[str, set[Scope]] = {}
    for pair in text.split():
        theirs, _, given = pair.rpartition("=")
        ours = next((scope for scope in SCOPES if scope == given), None)
        if not theirs or ours is None:
            raise OidcError(
                f"CXR_OIDC_SCOPES: {pair!r} is not of the form THEIRS=OURS, with OURS of {', '.join(SCOPES)}"
            )
        mapping.setdefault(theirs, set()).add(ours)
    return mapping


def looks_like_token(credential: str) -> bool:
    """Whether the credential has the form of a token; no key of ours has."""
    return credential.count(".") == 2


_REASONS: Final[dict[type[Exception], str]] = {
    jwt.ExpiredSignatureError: "the token has expired",
    jwt.ImmatureSignatureError: "the token is not valid yet (nbf, iat)",
    jwt.InvalidAudienceError: "the token is for another service (aud)",
    jwt.InvalidIssuerError: "the token is another provider's (iss)",
    jwt.MissingRequiredClaimError: f"the token lacks one of {', '.join(REQUIRED)}",
}


def _said(claims: Mapping[str, Any]) -> set[str]:
    """A token's words for rights: in ``scope`` (RFC 9068), ``scp`` or ``roles`` (Entra ID, Okta)."""
    words: set[str] = set()
    for name in ("scope", "scp", "roles"):
        value = claims.get(name)
        parts = value.split() if isinstance(value, str) else value if isinstance(value, list) else []
        words.update(part for part in parts if isinstance(part, str))
    return words


def _keys(document: Mapping[str, Any]) -> dict[str, jwt.PyJWK]:
    """The keys that may sign tokens; other keys in the set are ignored."""
    found = {}
    entries = document.get("keys")
    for entry in entries if isinstance(entries, list) else ():
        if not isinstance(entry, dict) or not isinstance(entry.get("kid"), str) or entry.get("use", "sig") != "sig":
            continue
        try:
            key = jwt.PyJWK(entry)
        except Exception:  # whatever is wrong with one key, the others are good
            continue
        small = isinstance(key.key, RSAPublicKey) and key.key.key_size < LEAST_RSA_BITS
        if key.algorithm_name in ALGORITHMS and not small:
            found[entry["kid"]] = key
    if not found:
        raise _FetchFailed("there is no key among them by which tokens may be signed")
    return found


async def _document(client: httpx.AsyncClient, url: str) -> dict[str, Any]:
    content = bytearray()
    async with client.stream("GET", url) as answer:
        if answer.status_code != 200:
            raise _FetchFailed(f"the provider answered {answer.status_code}")
        async for chunk in answer.aiter_bytes():
            content += chunk
            if len(content) > MOST_DOCUMENT_BYTES:
                raise _FetchFailed("the provider's answer is too long")
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _FetchFailed("the provider's answer is not JSON") from error
    if not isinstance(document, dict):
        raise _FetchFailed("the provider's answer is no JSON object")
    return document
