"""TLS of the service itself: what uvicorn is told, and when the certificate ends."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509

from .settings import Settings, SettingsError


@dataclass(frozen=True)
class Tls:
    """A certificate and its key, and whose certificates callers must have.

    Attributes
    ----------
    certificate, key : Path
        PEM; the certificate's own first, then those between it and its authority.
    client_ca : Path or None
        PEM of the authorities of callers; None: callers need no certificate.
    ends : float
        When the first certificate of the chain that ends does so, Unix time.
    """

    certificate: Path
    key: Path
    client_ca: Path | None
    ends: float

    @classmethod
    def of(cls, settings: Settings) -> Tls | None:
        """As the settings say; None: plain HTTP.

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
        """Of ``uvicorn.run``. Without a certificate of `client_ca`'s a caller does not get past the handshake."""
        required = {"ssl_ca_certs": str(self.client_ca), "ssl_cert_reqs": ssl.CERT_REQUIRED} if self.client_ca else {}
        return {"ssl_certfile": str(self.certificate), "ssl_keyfile": str(self.key), **required}


def _no_password() -> str:
    """Instead of a prompt, at which a service would hang."""
    raise ValueError("the key is encrypted, and a service cannot ask for its password; decrypt it, and chmod 600 it")
