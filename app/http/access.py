"""Who calls, by the key in the Authorization header, and whether it is good for what is asked."""

from __future__ import annotations

import ipaddress
import math
from typing import Final

from fastapi import Security
from fastapi.security import HTTPBearer
from starlette.requests import Request

from app.access import Callers, Quota, Quotas, Scope

from .problems import HttpError

#: The caller's name where callers have no keys.
ANONYMOUS: Final = "anonymous"
#: What anybody may do where there are no keys. All else needs somebody who answers for it.
OPEN_WITHOUT_KEYS: Final[frozenset[Scope]] = frozenset({"score", "metrics"})
#: Of a route that needs a key: for its documentation alone, ``Access.require`` does the work.
KEY: Final = Security(
    HTTPBearer(auto_error=False, description="A key that cxr-gate new-key made, where the service has CXR_KEYS_FILE.")
)


class Access:
    """What callers may do.

    Parameters
    ----------
    callers : Callers or None
        None: there are no keys.
    quota : Quota or None
        Of callers whose entry has none. Where there are no keys nobody has one.
    """

    def __init__(self, callers: Callers | None, quota: Quota | None = None) -> None:
        self._callers = callers
        self._quota = quota
        self._quotas = Quotas()

    def require(self, request: Request, *scopes: Scope) -> str:
        """The caller's name, if it has one of the scopes. Call it before anything of the body is read.

        Raises
        ------
        HttpError
            ``unauthenticated``: there is no key, or it is none of a caller's. ``quota``: the caller asks too much.
            ``forbidden``: the key is not good for this.
        """
        name, held, quota = self._caller(request, scopes)
        if quota and (seconds := self._quotas.take(name, quota)):
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
        """Charge the caller of a request for a further film of it."""
        if quota := request.state.quota:
            self._quotas.owe(request.state.caller, quota)

    def _caller(self, request: Request, scopes: tuple[Scope, ...]) -> tuple[str, frozenset[Scope], Quota | None]:
        if self._callers is None:
            if OPEN_WITHOUT_KEYS.isdisjoint(scopes):
                raise HttpError(
                    "forbidden",
                    "this needs a key, and the service has none: its operator must set CXR_KEYS_FILE, and make keys with "
                    "cxr-gate new-key",
                )
            return ANONYMOUS, OPEN_WITHOUT_KEYS, None
        given = request.headers.getlist("authorization")
        kind, _, key = given[0].partition(" ") if len(given) == 1 else ("", "", "")
        if kind.lower() != "bearer" or not key.strip():
            raise HttpError(
                "unauthenticated",
                "send one header 'Authorization: Bearer KEY', with a key of the service's operator (cxr-gate new-key)",
                {"WWW-Authenticate": 'Bearer realm="cxr-gate"'},
            )
        caller = self._callers.find(key.strip())
        if caller is None:
            raise HttpError(
                "unauthenticated",
                "the key is not known, was revoked, or has expired; ask the service's operator for a new one",
                {"WWW-Authenticate": 'Bearer realm="cxr-gate", error="invalid_token"'},
            )
        return caller.name, caller.scopes, caller.quota or self._quota


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address that a server listens on."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
