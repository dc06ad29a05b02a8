"""Finds the caller by the key or token in the Authorization header, and checks that the caller may make the request."""

from __future__ import annotations

import ipaddress
import math
from typing import Annotated, Final

from fastapi import Security
from fastapi.security import HTTPBearer, SecurityScopes
from starlette.requests import HTTPConnection, Request

from app.access import Callers, Quota, Quotas, Scope
from app.access.oidc import Provider, TokenRefused, looks_like_token

from .problems import HttpError

#: The caller's name where callers have no keys.
ANONYMOUS: Final = "anonymous"
#: The quota's name in the RateLimit headers.
_POLICY: Final = "caller"
#: The scopes of everybody where there are no keys. Each other scope needs a caller who is known by name.
OPEN_WITHOUT_KEYS: Final[frozenset[Scope]] = frozenset({"score"})


_BEARER: Final = HTTPBearer(
    scheme_name="HTTPBearer",
    auto_error=False,
    description="A key that cxr-gate new-key made, where the service has CXR_KEYS_FILE, or a token of CXR_OIDC_ISSUER's.",
)


async def require(request: Request, needed: SecurityScopes, _: Annotated[object, Security(_BEARER)]) -> str:
    """The caller's name, if it has one of the scopes: ``Security(require, scopes=[...])`` of a route documents and enforces it.

    FastAPI solves a dependency before anything of the body is read.

    Raises
    ------
    HttpError, ProviderUnavailable
        As ``Access.require`` raises them.
    """
    access: Access = request.app.state.access
    await access.prepare(request)
    return access.require(request, *needed.scopes)


class Access:
    """What callers may do.

    Parameters
    ----------
    callers : Callers or None
        None: there are no keys.
    quota : Quota or None
        The quota of callers whose entry has none. Nobody has a quota where there are neither keys nor tokens.
    provider : Provider or None
        The identity provider whose tokens are good too.
    metrics_open : bool
        Whether anybody may read ``/metrics`` where there are neither keys nor tokens.
    """

    def __init__(
        self,
        callers: Callers | None,
        quota: Quota | None = None,
        provider: Provider | None = None,
        *,
        metrics_open: bool = False,
    ) -> None:
        self._open: frozenset[Scope] = OPEN_WITHOUT_KEYS | ({"metrics"} if metrics_open else set())
        self._callers = callers
        self._provider = provider
        self._quota = quota
        self._quotas = Quotas()

    async def prepare(self, request: HTTPConnection) -> None:
        """Fetch the provider's keys that ``require`` will need; this refuses nothing."""
        credential = _credential(request)
        if self._provider and looks_like_token(credential):
            await self._provider.prepare(credential)

    def require(self, request: Request, *scopes: str) -> str:
        """The caller's name, if it has one of the scopes. Call it before anything of the body is read.

        Raises
        ------
        HttpError
            ``unauthenticated``: there is neither key nor token, or no caller has it. ``quota``: the caller asks too often.
            ``forbidden``: the key lacks the scope.
        ProviderUnavailable
        """
        name, held, quota = self._caller(request, scopes)
        seconds = self._quotas.take(name, quota) if quota else 0.0
        self._tell(request, name, quota)
        if quota and seconds:
            raise HttpError(
                "quota",
                f"the caller may ask {quota.per_minute:g} times a minute, and {quota.burst} times at once; wait, and retry",
                {"Retry-After": str(math.ceil(seconds))},
            )
        if held.isdisjoint(scopes):
            needed = " or ".join(scopes)
            raise HttpError(
                "forbidden",
                f"the key has not the scope {needed}; ask the service's operator for one that has (cxr-gate new-key)",
                # RFC 6750 section 3.1
                {
                    "WWW-Authenticate": f'Bearer realm="cxr-gate", error="insufficient_scope", scope="{" ".join(scopes)}"'
                },
            )
        request.state.caller, request.state.scopes, request.state.quota = name, held, quota
        return name

    def owe(self, request: Request) -> None:
        """Charge the caller for a further film of a request."""
        if quota := request.state.quota:
            self._quotas.owe(request.state.caller, quota)
            self._tell(request, request.state.caller, quota)

    def _tell(self, request: Request, caller: str, quota: Quota | None) -> None:
        """Put the rest of the quota into any answer's headers (draft-ietf-httpapi-ratelimit-headers-10)."""
        if quota is None:
            return
        left, full = self._quotas.left(caller, quota)
        request.state.answer_headers.update(
            {
                "RateLimit-Policy": f'"{_POLICY}";q={quota.burst};w={quota.window_seconds}',
                "RateLimit": f'"{_POLICY}";r={left};t={full}',
            }
        )

    def _caller(self, request: Request, scopes: tuple[str, ...]) -> tuple[str, frozenset[Scope], Quota | None]:
        if self._callers is None and self._provider is None:
            if self._open.isdisjoint(scopes):
                raise HttpError(
                    "forbidden",
                    "this needs a key, and the service has none: its operator must set CXR_KEYS_FILE, and make keys with "
                    "cxr-gate new-key"
                    + ("; CXR_METRICS_OPEN=true lets anybody read this page" if "metrics" in scopes else ""),
                )
            return ANONYMOUS, self._open, None
        credential = _credential(request)
        if not credential:
            raise HttpError(
                "unauthenticated",
                "send one header 'Authorization: Bearer KEY', with a key of the service's operator (cxr-gate new-key)",
                {"WWW-Authenticate": 'Bearer realm="cxr-gate"'},
            )
        caller = None
        reason = "the key is not known, was revoked, or has expired; ask the service's operator for a new one"
        if self._provider and looks_like_token(credential):
            try:
                caller = self._provider.caller(credential)
            except TokenRefused as error:
                reason = f"{error}; ask the identity provider for a new one"
        elif self._callers:
            caller = self._callers.find(credential)
        if caller is None:
            invalid = {"WWW-Authenticate": 'Bearer realm="cxr-gate", error="invalid_token"'}
            raise HttpError("unauthenticated", reason, invalid)
        return caller.name, caller.scopes, caller.quota or self._quota


def _credential(request: HTTPConnection) -> str:
    """The bearer credential of a single Authorization header; empty if there is none."""
    given = request.headers.getlist("authorization")
    kind, _, credential = given[0].partition(" ") if len(given) == 1 else ("", "", "")
    return credential.strip() if kind.lower() == "bearer" else ""


def sharer(request: Request) -> str:
    """The sharer of places and bytes: the caller that ``Access.require`` found, or its address if it has no name.

    An IPv6 address counts by its first 64 bits, which one machine has for itself. Without keys, the address behind a proxy is the
    proxy's, unless FORWARDED_ALLOW_IPS names the proxy; the proxy's ``X-Forwarded-For`` is then believed. A caller's name has no
    space, so it equals no address here.
    """
    if request.state.caller != ANONYMOUS:
        return str(request.state.caller)
    address = request.client.host if request.client else ""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return f"address {address}"
    # A socket for both versions gives these; as IPv6, all of IPv4 would be one network.
    if found.version == 6 and found.ipv4_mapped:
        found = found.ipv4_mapped
    if found.version == 6 and not found.is_loopback:
        return f"address {ipaddress.ip_network((found.packed, 64), strict=False)}"
    return f"address {found}"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
