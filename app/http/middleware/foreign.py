"""A service without keys trusts everyone who reaches it, and a browser reaches it for every page that its user opens.

So without keys a request must name this machine, or a host of ``CXR_ALLOWED_HOSTS``. Otherwise an attacker could point a name
at this machine (DNS rebinding), and the attacker's page could read the answers. Pages of other sites are refused too, because a
browser posts a film for them without asking anybody.
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
from ..wire.origins import Origins

#: Orchestrators probe these by the service's address, not by its name. The answers reveal nothing.
OPEN_TO_ALL: Final = frozenset({"/healthz", "/readyz"})
#: Values of Sec-Fetch-Site for requests of the page itself, and for an address that the user typed.
_OWN_SITES: Final = frozenset({"same-origin", "none"})
ANY: Final = "*"


class RefuseForeign:
    """Refuse requests for other hosts, and requests that other sites' pages send.

    Parameters
    ----------
    hosts : collection of str
        Allowed hosts beside this machine's own names, in lower case and without ports; ``*`` is any.
    origins : Origins
        Sites whose pages may send requests all the same.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str], origins: Origins) -> None:
        self.app = app
        self.hosts = frozenset(hosts)
        self.origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].removeprefix(scope.get("root_path", "")) in OPEN_TO_ALL:
            await self.app(scope, receive, send)
        elif fault := self._fault(scope["method"], Headers(scope=scope)):
            await problem_response(Request(scope), "foreign-request", fault)(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _fault(self, method: str, headers: Headers) -> str:
        """Why a request is refused; empty if it is allowed."""
        host = headers.get("host", "")
        if not self._is_ours(host):
            return (
                "Host names neither this machine (localhost, 127.0.0.1) nor a host of CXR_ALLOWED_HOSTS, and the service has no "
                "keys; ask by one of these names, or let the operator add the name, or give callers keys (CXR_KEYS_FILE)"
            )
        site = headers.get("sec-fetch-site")
        if site in _OWN_SITES:
            return ""
        # The user followed a link to the pages; the site with the link cannot read the answer.
        followed = headers.get("sec-fetch-mode") == "navigate" and method in {"GET", "HEAD"}
        origin = headers.get("origin")
        if origin in self.origins:
            return ""
        if (site is not None and not followed) or (origin is not None and not self._is_own_origin(origin, host)):
            return (
                "another site's page sent this (Origin, Sec-Fetch-Site), and the service has no keys by which it could tell "
                "whom it answers; let the operator allow the site (CXR_ALLOWED_ORIGINS), or give callers keys (CXR_KEYS_FILE)"
            )
        return ""

    def _is_ours(self, host: str) -> bool:
        name = _name_in(f"//{host}")
        return bool(name) and (ANY in self.hosts or name in self.hosts or is_loopback(name))

    def _is_own_origin(self, origin: str, host: str) -> bool:
        own = _with_port(f"{origin.partition('://')[0]}://{host}")
        return _name_in(origin) in self.hosts or (own is not None and own == _with_port(origin))


def _name_in(url: str) -> str:
    """The host in lower case, without a port or a final dot; empty if the URL has none, or cannot be read."""
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
