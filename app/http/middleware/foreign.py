"""A service without keys trusts whoever reaches it, and a browser reaches it for every page that its user opens.

So without keys a request must name this machine, or a host of ``CXR_ALLOWED_HOSTS``: a name of the attacker's that was made to
lead here (DNS rebinding) would let his page read what is answered. And no other site's page may ask: to post a film, a browser
needs nobody's leave.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from ..problems import problem_response
from ..security import is_loopback

#: Orchestrators check by address whether the service is there, without its name. These answers reveal nothing.
OPEN_TO_ALL: Final = frozenset({"/healthz", "/readyz"})
#: Values that a browser sends for requests of the page itself, and for an address that its user typed.
_OWN_SITES: Final = frozenset({"same-origin", "none"})
ANY: Final = "*"


class RefuseForeign:
    """Refuse requests for other hosts, and those that other sites' pages send.

    Parameters
    ----------
    hosts : collection of str
        Beside this machine's own, in lower case and without ports; ``*`` is any.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str]) -> None:
        self.app = app
        self.hosts = frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].removeprefix(scope.get("root_path", "")) in OPEN_TO_ALL:
            await self.app(scope, receive, send)
        elif fault := self._fault(scope["method"], Headers(scope=scope)):
            await problem_response(Request(scope), "foreign-request", fault)(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _fault(self, method: str, headers: Headers) -> str:
        """Why a request is refused; empty if it is not."""
        host = headers.get("host", "")
        if not self._is_ours(host):
            return (
                "Host names neither this machine (localhost, 127.0.0.1) nor a host of CXR_ALLOWED_HOSTS, and the service has no "
                "keys; ask by one of these names, or let the operator add the name, or give callers keys (CXR_KEYS_FILE)"
            )
        site = headers.get("sec-fetch-site")
        if site in _OWN_SITES:
            return ""
        # A link that is followed to the pages; the site that has it reads nothing of the answer.
        followed = headers.get("sec-fetch-mode") == "navigate" and method in {"GET", "HEAD"}
        origin = headers.get("origin")
        if (site is not None and not followed) or (origin is not None and not self._is_own_origin(origin, host)):
            return (
                "another site's page sent this (Origin, Sec-Fetch-Site), and the service has no keys by which it could tell "
                "whom it answers; give callers keys (CXR_KEYS_FILE)"
            )
        return ""

    def _is_ours(self, host: str) -> bool:
        name = _name_in(f"//{host}")
        return bool(name) and (ANY in self.hosts or name in self.hosts or is_loopback(name))

    def _is_own_origin(self, origin: str, host: str) -> bool:
        own = _with_port(f"{origin.partition('://')[0]}://{host}")
        return _name_in(origin) in self.hosts or (own is not None and own == _with_port(origin))


def _name_in(url: str) -> str:
    """The host in lower case, without a port or a final dot; empty where there is none, or it cannot be read."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return ""
    if parts.username is not None or parts.path:
        return ""
    return (parts.hostname or "").rstrip(".")


def _with_port(url: str) -> tuple[str, int] | None:
    name = _name_in(url)
    if not name:
        return None
    parts = urlsplit(url)
    return name, parts.port or (443 if parts.scheme == "https" else 80)
