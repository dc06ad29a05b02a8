"""TLS of the service itself: the arguments for uvicorn, the end of the certificate, and its replacement."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography import x509

from .settings import Settings, SettingsError

log = logging.getLogger("cxr_gate")

#: Between two looks at the files.
RENEW_SECONDS: Final = 10.0


@dataclass(frozen=True)
class Tls:
    """A certificate and its key, and the authorities whose certificates callers must have.

    Attributes
    ----------
    certificate, key : Path
        PEM; the service's own certificate first, then those between it and its authority.
    client_ca : Path or None
        PEM of the authorities of callers; None: callers need no certificate.
    ends : float
        The earliest end of a certificate in the chain, Unix time.
    """

    certificate: Path
    key: Path
    client_ca: Path | None
    ends: float

    @classmethod
    def of(cls, settings: Settings) -> Tls | None:
        """The TLS of the settings; None: plain HTTP.

        Raises
        ------
        SettingsError
            A file is not there or not what it should be, the key is another certificate's, or one setting lacks the other.
        """
        if not settings.tls_certificate and not settings.tls_key:
            if settings.tls_client_ca:
                raise SettingsError("CXR_TLS_CLIENT_CA needs CXR_TLS_CERTIFICATE and CXR_TLS_KEY")
            return None
        if not (settings.tls_certificate and settings.tls_key):
            raise SettingsError("CXR_TLS_CERTIFICATE and CXR_TLS_KEY need each other")
        certificate, key = Path(settings.tls_certificate), Path(settings.tls_key)
        client_ca = Path(settings.tls_client_ca) if settings.tls_client_ca else None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            chain = x509.load_pem_x509_certificates(certificate.read_bytes())
            context.load_cert_chain(certificate, key, password=_no_password)
        except (OSError, ValueError) as error:  # SSLError is an OSError
            raise SettingsError(f"CXR_TLS_CERTIFICATE and CXR_TLS_KEY are no pair that can be used: {error}") from error
        try:
            if client_ca:
                context.load_verify_locations(client_ca)
        except OSError as error:
            raise SettingsError(f"CXR_TLS_CLIENT_CA {client_ca} cannot be used: {error}") from error
        return cls(certificate, key, client_ca, min(each.not_valid_after_utc.timestamp() for each in chain))

    def options(self) -> dict[str, Any]:
        """Options of ``uvicorn.run``. With `client_ca`, the handshake refuses callers without a certificate of that authority."""
        required = {"ssl_ca_certs": str(self.client_ca), "ssl_cert_reqs": ssl.CERT_REQUIRED} if self.client_ca else {}
        return {"ssl_certfile": str(self.certificate), "ssl_keyfile": str(self.key), **required}


class Renewal:
    """Follows the files of certificate and key while the service runs.

    Parameters
    ----------
    settings : Settings
    tls : Tls
        The TLS at the start.
    announce : callable
        Gets each later ``Tls``.
    """

    def __init__(self, settings: Settings, tls: Tls, announce: Callable[[Tls], None]) -> None:
        self._settings = settings
        self._files = tls.certificate, tls.key
        self._announce = announce
        self._seen = [_stamp(file) for file in self._files]

    def context(self, _: object, make: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
        """The context for uvicorn (``ssl_context_factory``), which calls this within the loop that will serve.

        Only that loop's thread changes the context: OpenSSL forbids a change while another thread begins a handshake.
        """
        context = make()
        asyncio.get_running_loop().call_later(RENEW_SECONDS, self._look, context)
        return context

    def _look(self, context: ssl.SSLContext) -> None:
        asyncio.get_running_loop().call_later(RENEW_SECONDS, self._look, context)
        stamps = [_stamp(file) for file in self._files]
        if stamps == self._seen:
            return
        self._seen = stamps  # taken before the files are read, so that later changes are noticed
        try:
            # ``Tls.of`` tries the pair on a context of its own: a pair that does not fit would leave the live one without a key.
            tls = Tls.of(self._settings)
            assert tls
            context.load_cert_chain(tls.certificate, tls.key, password=_no_password)
        except (SettingsError, OSError) as error:
            log.error(
                "the certificate's files changed and cannot be used; the certificate before holds",
                extra={"error": str(error)},
            )
            return
        self._announce(tls)
        log.info("another certificate is served")


def _stamp(file: Path) -> tuple[int, ...] | None:
    """Changes when the file does; None: it is not there."""
    try:
        told = file.stat()
    except OSError:
        return None
    return told.st_mtime_ns, told.st_size, told.st_ino


def _no_password() -> str:
    """Raises instead of a prompt, at which a service would hang."""
    raise ValueError("the key is encrypted, and a service cannot ask for its password; decrypt it, and chmod 600 it")
