"""TLS by uvicorn itself, as ``cxr-gate serve`` starts it: callers with a certificate, without one, and with a wrong one."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from app import tls as tls_module
from app.http.application import create_application
from app.settings import Settings, SettingsError
from app.tls import Renewal, Tls
from tests.http.certificates import Authority, Pair, ends
from tests.support.films import png
from tests.support.screeners import ServedToldScreener
from tests.support.served import Served
from tests.support.told import running
from tests.support.waiting import eventually


@dataclass(frozen=True)
class Mutual:
    """A service that asks for certificates, the two authorities, and a certificate of a caller."""

    port: int
    servers: Authority
    callers: Authority
    server: Pair
    caller: Pair

    def context(self, pair: Pair | None, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.servers.file)
        context.minimum_version = context.maximum_version = version
        if pair:
            context.load_cert_chain(pair.certificate, pair.key)
        return context

    def client(self, pair: Pair | None) -> httpx.Client:
        return httpx.Client(base_url=f"https://127.0.0.1:{self.port}", verify=self.context(pair), timeout=30)


@pytest.fixture(scope="module")
def mutual(accepting_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mutual]:
    folder = tmp_path_factory.mktemp("tls")
    servers, callers = Authority(folder, "servers"), Authority(folder, "callers")
    server = servers.sign("server")
    options = {"--tls-certificate": server.certificate, "--tls-key": server.key, "--tls-client-ca": callers.file}
    service = Served.of(accepting_bundle, folder / "log", *(str(word) for pair in options.items() for word in pair))
    made = Mutual(service.port, servers, callers, server, callers.sign("pacs"))
    try:
        service.launch()
        with made.client(made.caller) as client:
            service.await_answer(lambda: client.get("/readyz"))
        yield made
    finally:
        service.end()


def test_a_caller_with_a_certificate_is_served(mutual: Mutual) -> None:
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        assert refusal(mutual.context(mutual.caller, version), mutual.port) == "answered"
    with mutual.client(mutual.caller) as client:
        answer = client.post("/v1/score", content=png(), headers={"Content-Type": "image/png"})
        assert answer.status_code == 200
        metrics = client.get("/metrics").text
    (line,) = [
        line for line in metrics.splitlines() if line.startswith("cxr_tls_certificate_expiry_timestamp_seconds ")
    ]
    assert float(line.split()[1]) == ends(mutual.server)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
@pytest.mark.parametrize("whose", ["nobody's", "another authority's", "ended"])
def test_a_caller_without_is_refused_at_the_handshake(mutual: Mutual, whose: str, version: ssl.TLSVersion) -> None:
    pairs = {
        "nobody's": lambda: None,
        "another authority's": lambda: mutual.servers.sign("stranger"),
        "ended": lambda: mutual.callers.sign("ended", days=-1),
    }
    context = mutual.context(pairs[whose](), version)
    ended = refusal(context, mutual.port)
    assert ended in {"ssl", "reset"} or (ended == "closed" and version is ssl.TLSVersion.TLSv1_3)


def refusal(context: ssl.SSLContext, port: int) -> str:
    """How a connection ended; "answered" if a byte of HTTP came.

    In TLS 1.3 the server sees the certificate after the client has done its part, so the refusal comes with the first read.
    """
    try:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=30) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as secure,
        ):
            secure.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
            return "answered" if secure.recv(1024) else "closed"
    except ssl.SSLError:
        return "ssl"
    except ConnectionError:
        return "reset"


def test_plain_http_gets_nothing(mutual: Mutual) -> None:
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://127.0.0.1:{mutual.port}/healthz", timeout=30)


def test_without_authorities_of_callers_none_needs_a_certificate(mutual: Mutual, accepting_bundle: Path) -> None:
    settings = Settings(
        record_url="sqlite://", tls_certificate=str(mutual.server.certificate), tls_key=str(mutual.server.key)
    )
    tls = Tls.of(settings)
    assert tls
    with running(create_application([ServedToldScreener(accepting_bundle)], settings), **tls.options()) as port:
        answer = httpx.get(f"https://127.0.0.1:{port}/healthz", verify=mutual.context(None), timeout=30)
        assert answer.status_code == 200
        with pytest.raises(httpx.ConnectError, match=r"(?i)certificate verify failed"):
            httpx.get(f"https://127.0.0.1:{port}/healthz", timeout=30)


def test_a_certificate_that_takes_the_place_of_another_is_served(
    accepting_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tls_module, "RENEW_SECONDS", 0.05)
    authority = Authority(tmp_path, "authority")
    served, renewed = authority.sign("served"), authority.sign("renewed", days=60)
    settings = Settings(record_url="sqlite://", tls_certificate=str(served.certificate), tls_key=str(served.key))
    begun = Tls.of(settings)
    assert begun
    announced: list[float] = []
    renewal = Renewal(settings, begun, lambda tls: announced.append(tls.ends))
    context = ssl.create_default_context(cafile=authority.file)

    def shown() -> bytes | None:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=30) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as secure,
        ):
            return secure.getpeercert(binary_form=True)

    first, second = (ssl.PEM_cert_to_DER_cert(pair.certificate.read_text()) for pair in (served, renewed))
    application = create_application([ServedToldScreener(accepting_bundle)], settings)
    with running(application, **begun.options(), ssl_context_factory=renewal.context) as port:
        assert shown() == first
        served.certificate.write_bytes(renewed.certificate.read_bytes())  # its key is not there yet
        eventually(lambda: "cannot be used" in caplog.text)
        assert shown() == first
        served.key.write_bytes(renewed.key.read_bytes())
        eventually(lambda: shown() == second)
    assert announced == [ends(renewed)]


def test_settings_that_cannot_be_are_refused(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "authority")
    one, two, locked = authority.sign("one"), authority.sign("two"), authority.sign("locked", password=b"x")
    (tmp_path / "empty").touch()

    def of(certificate: Path | str = "", key: Path | str = "", client_ca: Path | str = "") -> Tls | None:
        return Tls.of(Settings(tls_certificate=str(certificate), tls_key=str(key), tls_client_ca=str(client_ca)))

    assert of() is None
    tls = of(one.certificate, one.key, authority.file)
    assert tls
    assert tls.ends == ends(one)
    for message, given in {
        "need each other": (one.certificate, ""),
        "needs CXR_TLS_CERTIFICATE": ("", "", authority.file),
        "no pair": (one.certificate, two.key),
        "No such file": (tmp_path / "none", one.key),
        "is encrypted": (locked.certificate, locked.key),
        "CXR_TLS_CLIENT_CA": (one.certificate, one.key, tmp_path / "empty"),
    }.items():
        with pytest.raises(SettingsError, match=message):
            of(*given)
