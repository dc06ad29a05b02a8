"""Tokens of a real provider over real sockets: the good ones, the hostile ones, new keys, and a provider that is down."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import math
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from app.access import add_key
from app.access.oidc import LEEWAY_SECONDS, MOST_TOKEN_BYTES, OidcError, parse_scopes
from app.access.oidc import Provider as Known
from app.http.application import create_application
from app.settings import Settings, SettingsError
from tests.access.provider import AUDIENCE, Provider, jwk, new_key, providing
from tests.support.films import png
from tests.support.screeners import ServedToldScreener
from tests.support.served import assert_problem
from tests.support.told import Told, running, told


@pytest.fixture
def provider() -> Iterator[Provider]:
    with providing() as made:
        made.add("one")
        yield made


@pytest.fixture
def service(provider: Provider, accepting_bundle: Path) -> Iterator[Told]:
    with told(accepting_bundle, oidc_issuer=provider.issuer, oidc_audience=AUDIENCE) as made:
        yield made


@pytest.fixture(scope="module")
def hostile(accepting_bundle: Path) -> Iterator[tuple[Told, Provider]]:
    """For tokens that change nothing."""
    with providing() as provider:
        for kid, algorithm in {"one": "RS256", "ec": "ES256", "ed": "EdDSA", "pss": "PS256"}.items():
            provider.add(kid, algorithm)
        settings = {"oidc_issuer": provider.issuer, "oidc_audience": AUDIENCE}
        with told(accepting_bundle, oidc_scopes="Films=score Ops=metrics Ops=operate", **settings) as made:
            yield made, provider


def post(service: Told, token: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "image/png"}
    return service.client.post("/v1/score", content=png(), headers=headers)


def refused(answer: httpx.Response, reason: str) -> None:
    body = assert_problem(answer, 401)
    assert body["type"] == "/problems/unauthenticated"
    assert reason in body["detail"]
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The provider may be asked again at once."""
    monkeypatch.setattr("app.access.oidc.LEAST_SECONDS", 0.0)


SECRET = "c2VjcmV0" * 6


# Good tokens.


@pytest.mark.parametrize("kid", ["one", "ec", "ed", "pss"])
def test_a_good_token_is_a_callers(hostile: tuple[Told, Provider], kid: str) -> None:
    service, provider = hostile
    assert post(service, provider.token(kid, scope="openid Films")).status_code == 200


@pytest.mark.parametrize(
    "said",
    [{"scope": "Films openid"}, {"scope": None, "scp": ["Films"]}, {"scope": None, "scp": "Films x"},
     {"scope": "x", "roles": ["Films", 7]}, {"aud": ["other", AUDIENCE], "scope": "Films"},
     {"scope": "Films", "nbf": int(time.time()) + LEEWAY_SECONDS - 15}],
    ids=["scope", "scp", "scp as text", "roles", "audiences", "nbf within the leeway"],
)  # fmt: skip
def test_rights_are_in_scope_scp_or_roles(hostile: tuple[Told, Provider], said: dict[str, Any]) -> None:
    service, provider = hostile
    assert post(service, provider.token(**said)).status_code == 200


def test_a_token_needs_an_end_and_may_do_without_a_beginning(hostile: tuple[Told, Provider]) -> None:
    """RFC 7519 sections 4.1.4 and 4.1.5: both are optional there, and the end is not here."""
    service, provider = hostile
    claims = provider.claims(scope="Films", nbf=now() - 60)
    without = {name: {key: claims[key] for key in claims if key != name} for name in ("nbf", "exp")}
    key, algorithm = provider.keys["one"]
    tokens = {name: jwt.encode(each, key, algorithm, headers={"kid": "one"}) for name, each in without.items()}
    assert post(service, tokens["nbf"]).status_code == 200
    refused(post(service, tokens["exp"]), "lacks one of exp")


@pytest.mark.parametrize(
    "said", [{"scope": "score"}, {"scope": "films"}, {"scope": 7}, {"scope": None}, {"scope": "Ops"}], ids=str
)
def test_what_the_mapping_does_not_name_gives_nothing(hostile: tuple[Told, Provider], said: dict[str, Any]) -> None:
    service, provider = hostile
    assert assert_problem(post(service, provider.token(**said)), 403)["type"] == "/problems/forbidden"


def test_one_word_may_give_several_scopes(hostile: tuple[Told, Provider]) -> None:
    service, provider = hostile
    headers = {"Authorization": f"Bearer {provider.token(scope='Ops')}"}
    for path in ("/metrics", "/v1/versions"):
        assert service.client.get(path, headers=headers).status_code == 200
    assert assert_problem(service.client.get("/v1/quarantine", headers=headers), 403)


def test_keys_and_tokens_are_good_side_by_side_and_both_are_in_the_record(
    provider: Provider, accepting_bundle: Path, tmp_path: Path
) -> None:
    key = add_key(tmp_path / "callers.json", "u-1", ["score"])
    settings = {"keys_file": str(tmp_path / "callers.json"), "oidc_issuer": provider.issuer, "oidc_audience": AUDIENCE}
    record = {"record_url": f"sqlite:///{tmp_path / 'record.sqlite'}", "record_key_file": tmp_path / "record.key"}
    application = create_application([ServedToldScreener(accepting_bundle)], Settings(**settings, **record))  # type: ignore[arg-type]
    with running(application) as port, httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        for credential in (key, provider.token()):
            headers = {"Authorization": f"Bearer {credential}", "Content-Type": "image/png"}
            assert client.post("/v1/score", content=png(), headers=headers).status_code == 200
        connection = sqlite3.connect(tmp_path / "record.sqlite")
        callers = {row[0] for row in connection.execute("SELECT caller FROM entries WHERE caller IS NOT NULL")}
        connection.close()
    assert callers == {"u-1", "oidc:u-1"}  # never taken for each other


# Hostile ones. Each is what a good one is but for one thing.


def unsigned(provider: Provider) -> str:
    return jwt.encode(provider.claims(scope="Films"), None, "none", headers={"kid": "one"})


def with_the_public_key_as_secret(provider: Provider) -> str:
    """HS256, signed by hand: PyJWT itself would refuse to sign so."""
    secret = provider.keys["one"][0].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return _signed_by_hand(
        {"alg": "HS256", "typ": "JWT", "kid": "one"},
        provider.claims(scope="Films"),
        lambda text: hmac.new(secret, text, hashlib.sha256).digest(),
    )


def _signed_by_hand(header: dict[str, Any], claims: dict[str, Any], sign: Callable[[bytes], bytes]) -> str:
    def part(content: bytes) -> bytes:
        return base64.urlsafe_b64encode(content).rstrip(b"=")

    text = b".".join(part(json.dumps(each).encode()) for each in (header, claims))
    return (text + b"." + part(sign(text))).decode()


def signed(provider: Provider, **changes: Any) -> str:
    """Signed by the provider's own key, by hand: PyJWT would not write such claims."""
    key = provider.keys["one"][0]
    assert isinstance(key, RSAPrivateKey)
    claims = {**provider.claims(scope="Films"), **changes}
    return _signed_by_hand(
        {"alg": "RS256", "typ": "JWT", "kid": "one"}, claims, lambda text: key.sign(text, PKCS1v15(), SHA256())
    )


def anothers(provider: Provider, **headers: Any) -> str:
    """Signed by a key that is not the provider's, under the name of one that is."""
    return jwt.encode(provider.claims(scope="Films"), new_key("RS256"), "RS256", headers={"kid": "one", **headers})


def altered(provider: Provider) -> str:
    head, _, signature = provider.token(scope="none").split(".")
    claims = base64.urlsafe_b64encode(json.dumps(provider.claims(scope="Films")).encode()).rstrip(b"=").decode()
    return f"{head}.{claims}.{signature}"


def own_jwk(provider: Provider) -> str:
    key = new_key("RS256")
    return jwt.encode(
        provider.claims(scope="Films"), key, "RS256", headers={"kid": "one", "jwk": jwk(key, "one", "RS256")}
    )


def now() -> int:
    return int(time.time())


HOSTILE: dict[str, tuple[Callable[[Provider], str], str]] = {
    "alg none": (unsigned, "not a valid token"),
    "HS256 with the public key": (with_the_public_key_as_secret, "not a valid token"),
    "another's signature": (anothers, "not a valid token"),
    "altered claims": (altered, "not a valid token"),
    "a key in the token": (own_jwk, "not a valid token"),
    "another algorithm of the same key": (
        lambda p: jwt.encode(p.claims(scope="Films"), p.keys["one"][0], "RS512", headers={"kid": "one"}),
        "not a valid token",
    ),
    "an unknown critical header": (lambda p: p.token(headers={"crit": ["x"], "x": 1}, scope="Films"), "not a valid token"),
    "wrong audience": (lambda p: p.token(aud="https://other.example"), "another service"),
    "no audience": (lambda p: p.token(aud=None), "lacks one of"),
    "wrong issuer": (lambda p: p.token(iss=p.issuer + "/"), "another provider's"),
    "no issuer": (lambda p: p.token(iss=None), "lacks one of"),
    "expired": (lambda p: p.token(exp=now() - LEEWAY_SECONDS - 5), "expired"),
    "without end": (lambda p: p.token(exp=None), "lacks one of"),
    "an end that is no number": (lambda p: p.token(exp="never"), "not a valid token"),
    "an end that is a list": (lambda p: signed(p, exp=[1]), "not a valid token"),
    "an end that is null": (lambda p: signed(p, exp=None), "lacks one of"),
    "an end that never comes": (lambda p: signed(p, exp=math.inf), "not a valid token"),
    "not yet": (lambda p: p.token(nbf=now() + LEEWAY_SECONDS + 60), "not valid yet"),
    "a beginning that is no number": (lambda p: signed(p, nbf="soon"), "not a valid token"),
    "a beginning that is null": (lambda p: signed(p, nbf=None), "not a valid token"),
    "a beginning that never comes": (lambda p: signed(p, nbf=math.inf), "not a valid token"),
    "no subject": (lambda p: p.token(sub=None), "lacks one of"),
    "a subject of two lines": (lambda p: p.token(sub="a\nb"), "subject"),
    "a long subject": (lambda p: p.token(sub="a" * 256), "subject"),
    "no kid": (lambda p: jwt.encode(p.claims(), p.keys["one"][0], "RS256"), "not one of the provider's"),
    "three dots and nothing": (lambda p: "..", "not a valid token"),
    "empty objects": (lambda p: "e30.e30.e30", "not one of the provider's"),
    "huge": (lambda p: p.token(padding="x" * MOST_TOKEN_BYTES), "is over 8192 bytes"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_token_is_refused(hostile: tuple[Told, Provider], name: str) -> None:
    service, provider = hostile
    make, reason = HOSTILE[name]
    judged = len(service.screener.judged)
    refused(post(service, make(provider)), reason)
    assert len(service.screener.judged) == judged


@pytest.mark.parametrize("header", ["jku", "x5u"])
def test_no_address_of_a_token_is_asked(provider: Provider, service: Told, header: str, soon: None) -> None:
    with providing() as attackers:
        attackers.add("evil")
        token = attackers.token("evil", headers={header: f"{attackers.issuer}/keys"}, iss=provider.issuer)
        refused(post(service, token), "not one of the provider's")
        assert attackers.asked == []


@pytest.mark.parametrize(
    "key",
    [
        {"kty": "oct", "k": SECRET, "alg": "HS256"},
        {"alg": "none"},
        {"kty": "RSA"},
        {},
    ],
    ids=str,
)
def test_a_key_that_is_no_signers_is_passed_over(
    provider: Provider, service: Told, key: dict[str, Any], soon: None
) -> None:
    provider.published.insert(0, {"kid": "secret", **key})
    secret = base64.urlsafe_b64decode(SECRET)
    token = jwt.encode(provider.claims(), secret, "HS256", headers={"kid": "secret"})
    refused(post(service, token), "not one of the provider's")
    assert post(service, provider.token()).status_code == 200


def test_a_short_key_is_passed_over(provider: Provider, service: Told, soon: None) -> None:
    key = new_key("RS256", bits=1024)
    provider.published.append(jwk(key, "short", "RS256"))
    with pytest.warns(jwt.InsecureKeyLengthWarning):
        token = jwt.encode(provider.claims(), key, "RS256", headers={"kid": "short"})
    refused(post(service, token), "not one of the provider's")


# Keys that come and go, and a provider that is down.


def test_a_new_key_is_fetched_when_a_token_names_it(provider: Provider, service: Told, soon: None) -> None:
    assert post(service, provider.token()).status_code == 200
    provider.add("two", "ES256")
    assert post(service, provider.token("two")).status_code == 200


def test_a_key_that_is_withdrawn_is_good_no_longer(
    provider: Provider, service: Told, soon: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = provider.token()
    provider.add("two")
    del provider.published[0]
    assert post(service, old).status_code == 200  # it was fetched less than ten minutes ago
    assert post(service, provider.token("two")).status_code == 200
    refused(post(service, old), "not one of the provider's")


def test_the_provider_is_asked_rarely_whatever_is_sent(provider: Provider, service: Told) -> None:
    assert post(service, provider.token()).status_code == 200
    asked = len(provider.asked)
    for number in range(30):
        refused(
            post(service, jwt.encode(provider.claims(), new_key("ES256"), "ES256", headers={"kid": f"k{number}"})),
            "kid",
        )
    assert len(provider.asked) == asked


def test_while_the_provider_is_down_the_keys_that_are_known_hold(provider: Provider, service: Told, soon: None) -> None:
    assert post(service, provider.token()).status_code == 200
    provider.down = True
    provider.add("two")
    refused(post(service, provider.token("two")), "not one of the provider's")
    assert post(service, provider.token()).status_code == 200
    provider.down = False
    assert post(service, provider.token("two")).status_code == 200


def test_before_the_first_keys_came_the_fault_is_passing(
    provider: Provider, accepting_bundle: Path, soon: None
) -> None:
    provider.down = True
    with told(accepting_bundle, oidc_issuer=provider.issuer, oidc_audience=AUDIENCE) as service:
        answer = post(service, provider.token())
        assert assert_problem(answer, 503)["type"] == "/problems/identity-provider-unavailable"
        assert answer.headers["retry-after"]
        provider.down = False
        assert post(service, provider.token()).status_code == 200
        assert service.client.get("/healthz").status_code == 200


def test_a_provider_that_hangs_holds_nobody_up_but_whose_key_it_has(
    provider: Provider, service: Told, soon: None
) -> None:
    assert post(service, provider.token()).status_code == 200
    provider.held.clear()
    provider.add("two")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(post, service, provider.token("two"))
        for _ in range(10):
            assert post(service, provider.token()).status_code == 200
        assert not waiting.done()
        provider.held.set()
        assert waiting.result(30).status_code == 200


# At the start.


def start(bundle: Path, **settings: str) -> None:
    create_application([ServedToldScreener(bundle)], Settings(record_url="sqlite://", **settings))  # type: ignore[arg-type]


def test_settings_that_cannot_be_are_refused(accepting_bundle: Path) -> None:
    with pytest.raises(SettingsError, match="CXR_OIDC_AUDIENCE is required"):
        start(accepting_bundle, oidc_issuer="https://login.example")
    with pytest.raises(SettingsError, match="must be https"):
        start(accepting_bundle, oidc_issuer="http://login.example", oidc_audience="x")
    with pytest.raises(SettingsError, match="need CXR_OIDC_ISSUER"):
        start(accepting_bundle, oidc_audience="x")
    with pytest.raises(SettingsError, match="THEIRS=OURS"):
        start(accepting_bundle, oidc_issuer="https://login.example", oidc_audience="x", oidc_scopes="Films=scores")


def test_another_issuers_discovery_document_gives_no_keys(
    provider: Provider, accepting_bundle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asked = provider.issuer.replace("127.0.0.1", "localhost")
    with told(accepting_bundle, oidc_issuer=asked, oidc_audience=AUDIENCE) as service:
        assert post(service, provider.token(iss=asked)).status_code == 503
    assert "another issuer's" in " ".join(str(record.__dict__.get("reason")) for record in caplog.records)


def test_the_address_of_the_keys_may_be_given(provider: Provider, accepting_bundle: Path) -> None:
    settings = {"oidc_issuer": "https://login.example", "oidc_jwks_url": f"{provider.issuer}/keys"}
    with told(accepting_bundle, oidc_audience=AUDIENCE, **settings) as service:
        assert post(service, provider.token(iss="https://login.example")).status_code == 200
    assert provider.asked == ["/keys"]


def test_words_are_mapped_as_they_stand() -> None:
    assert parse_scopes("") == {name: {name} for name in ("score", "operate", "review", "metrics")}
    assert parse_scopes("a=b=score x=review x=score") == {"a=b": {"score"}, "x": {"review", "score"}}
    for wrong in ("score", "=score", "a=b", "a= score"):
        with pytest.raises(OidcError):
            parse_scopes(wrong)
    with pytest.raises(OidcError, match="https"):
        Known("https://login.example", "x", "ftp://login.example/keys", {})
