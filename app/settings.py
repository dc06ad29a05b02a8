"""The operator's settings, from the environment; read once, at start."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.configuration import Group, SettingsError, values
from app.pipeline.dicom.rules import ALWAYS_ACCEPTED_MODALITIES, OPTIONAL_MODALITIES, HeaderRules
from app.pipeline.dicom.words import WordsError
from app.pipeline.image import DEFAULT_MAX_PIXELS

__all__ = ["PREFIX", "Settings", "SettingsError"]

PREFIX: Final = "CXR_"
#: Names in the same environment that the service ignores: ``cxr-gate forward`` checks the first, tests find films by the second.
_OTHERS: Final = ("CXR_FORWARD_", "CXR_SHARED_DATA")
#: A host as callers name it: a name, an address of either kind, or ``*`` for any.
_HOST: Final = re.compile(r"\*|[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+")
#: An origin as browsers write it: in lower case, without the scheme's own port.
_ORIGIN: Final = re.compile(
    r"(?!http://[^/]*:80$|https://[^/]*:443$)https?://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?"
)


def _hosts(text: str) -> str:
    if not all(_HOST.fullmatch(name) for name in text.split()):
        raise ValueError("must be names without ports, separated by spaces, or *")
    return text


def _origins(text: str) -> str:
    if not all(_ORIGIN.fullmatch(origin) for origin in text.split()):
        raise ValueError(
            "must be origins as browsers send them, separated by spaces: https://viewer.example or http://localhost:3000, in "
            "lower case, without a path, a final slash, or the port that the scheme has anyway; there is no *"
        )
    return text


def _http(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise ValueError("must begin with http:// or https://")
    return text


def _modalities(text: str) -> frozenset[str]:
    named = frozenset(part.strip().upper() for part in text.split(","))
    if not ALWAYS_ACCEPTED_MODALITIES <= named <= ALWAYS_ACCEPTED_MODALITIES | OPTIONAL_MODALITIES:
        always, optional = (",".join(sorted(some)) for some in (ALWAYS_ACCEPTED_MODALITIES, OPTIONAL_MODALITIES))
        raise ValueError(f"must name {always}, and may add {optional}")
    return named


def _header_words(text: str) -> tuple[str, ...]:
    changes = tuple(part.strip() for part in text.split(",") if part.strip())
    try:
        _ = HeaderRules(word_changes=changes).words
    except WordsError as error:
        raise SettingsError(str(error)) from error
    return changes


_SERVED = Group("What is served", "versions.md")
_CALLERS = Group("Who may ask", "access.md")
_TOKENS = Group("Tokens of an identity provider", "access.md")
_TLS = Group("TLS", "access.md")
_LOAD = Group("Load and limits", "engine.md")
_DECODING = Group("Decoding", "dicom.md")
_COMPUTING = Group("Computing", "engine.md")
_HEADERS = Group("Which DICOM films are judged", "dicom.md")
_RECORD = Group("The record of decisions", "record.md")
_QUARANTINE = Group("The quarantine of rejected films", "quarantine.md")
_QUERIES = Group("Attacks by queries", "query-detection.md")
_RESULTS = Group("Reports to a DICOMweb server", "pacs.md")


@dataclass(frozen=True)
class Settings:
    """Each field is set by ``CXR_`` and its name in capitals (``CXR_MAX_BODY_BYTES``)."""

    bundle: Path = _SERVED.setting(Path("artifacts/default"), "folder of the bundle")
    bundles: str = _SERVED.setting(
        "", "folder whose subfolders are more bundles, to bring in without a restart; empty: CXR_BUNDLE is the only one"
    )
    versions_file: Path = _SERVED.setting(
        Path("state/active.json"), "file that says which version was made active; one for each service"
    )
    shadow_waiting: int = _SERVED.setting(
        64, "films that may wait for the version in shadow, 200 KB each; further films are not compared"
    )
    trusted_keys: str = _SERVED.setting(
        "", "PEM file, or folder of *.pem: only bundles signed by one of these keys are served; empty: any bundle is"
    )
    calls_file: str = _SERVED.setting(
        "", "CSV of the site's own prevalences and operating points (docs/calls.md); empty: the bundle's own"
    )

    keys_file: str = _CALLERS.setting(
        "",
        "file of callers with the hashes of their keys (cxr-gate new-key --help); empty: anybody may score, and nobody may "
        "review or operate",
    )
    allowed_hosts: str = _CALLERS.setting(
        "",
        "without keys: names or addresses, beside this machine's, by which a proxy, the forwarder or Prometheus asks; separated "
        "by spaces, without ports; * allows any, and then only the network keeps foreign pages out",
        parse=_hosts,
    )
    allowed_origins: str = _CALLERS.setting(
        "",
        "other sites whose pages may ask from a browser and read the answers (CORS): origins, separated by spaces, such as "
        "https://viewer.example; empty: none",
        parse=_origins,
    )
    metrics_open: bool = _CALLERS.setting(
        False, "without keys: true lets anybody who reaches the service read /metrics"
    )
    quota_per_minute: float = _CALLERS.setting(
        0.0, "requests a minute of each caller whose entry names no quota; 0: no limit", zero=True
    )
    quota_burst: int = _CALLERS.setting(10, "requests that such a caller may make at once, after a pause")

    oidc_issuer: str = _TOKENS.setting(
        "", "OpenID Connect provider whose tokens are accepted; https, or on this machine; empty: none"
    )
    oidc_audience: str = _TOKENS.setting(
        "", "this service's name at the provider; required: without it a token for any other service would work here"
    )
    oidc_jwks_url: str = _TOKENS.setting(
        "", "where the provider's keys are; empty: where its .well-known/openid-configuration says"
    )
    oidc_scopes: str = _TOKENS.setting(
        "",
        "pairs THEIRS=OURS, separated by spaces: which words in a token's scope, scp or roles give which of score, review, "
        "operate and metrics; empty: these words themselves",
    )

    tls_certificate: str = _TLS.setting("", "PEM of the certificate and its chain; empty: HTTP in clear")
    tls_key: str = _TLS.setting("", "PEM of the certificate's key")
    tls_client_ca: str = _TLS.setting(
        "", "PEM of the authorities whose certificates callers must have; empty: callers need none"
    )

    max_body_bytes: int = _LOAD.setting(64 * 1024 * 1024, "bytes of one request's body, or of one instance of a store")
    max_pixels: int = _LOAD.setting(DEFAULT_MAX_PIXELS, "pixels of one film, by its header")
    max_waiting: int = _LOAD.setting(
        64, "requests admitted and not yet answered; further ones get 503; one caller may have three quarters"
    )
    max_waiting_bytes: int = _LOAD.setting(
        512 * 1024 * 1024,
        "bytes of their bodies together, as they arrive; a request that is alone is never refused for its bytes",
    )
    deadline_seconds: float = _LOAD.setting(30.0, "from admission to the answer, which is 504 after that")
    drain_seconds: int = _LOAD.setting(30, "for requests already admitted, when the service stops")
    max_store_instances: int = _LOAD.setting(200, "instances of one STOW-RS request")
    max_store_bytes: int = _LOAD.setting(512 * 1024 * 1024, "bytes of one STOW-RS request")
    store_parallel: int = _LOAD.setting(
        4, "instances of one STOW-RS request that are judged at once, while there is room"
    )

    decode_threads: int = _DECODING.setting(
        2, "films decoded at once in threads: PNG and JPEG of usual sizes, and uncompressed DICOM"
    )
    decode_processes: int = _DECODING.setting(
        2,
        "films decoded at once, each in a process of its own: compressed DICOM, and PNG and JPEG of many pixels in few bytes",
    )
    decode_memory_mb: int = _DECODING.setting(
        1024, "MiB of memory that such a process may take; raise it with CXR_MAX_PIXELS"
    )
    decode_seconds: float = _DECODING.setting(
        20.0,
        "CPU time of such a process, rounded up to whole seconds, after which it is killed; waiting does not count",
    )
    decode_sandbox: str = _DECODING.setting(
        "try",
        "filter of system calls around such a process: try warns if the machine has none, require does not start then, off uses "
        "none",
        one_of=("try", "require", "off"),
    )

    backend: str = _COMPUTING.setting(
        "auto", "torch or openvino; auto: torch on GPUs, and on the CPU openvino where it is installed"
    )
    device: str = _COMPUTING.setting(
        "auto", "cpu, or GPUs with commas between them (cuda:0,cuda:1); auto: every GPU, or the CPU if there is none"
    )
    inference_threads: int = _COMPUTING.setting(
        0, "threads on the CPU; 0: every core that the process may use, or OMP_NUM_THREADS", zero=True
    )
    max_batch: int = _COMPUTING.setting(8, "films in a forward pass; fewer where a backend gains nothing by more")
    batch_wait_ms: float = _COMPUTING.setting(
        0.0, "milliseconds for which a batch that is not full waits for more films; 0: not at all", zero=True
    )
    device_retry_seconds: float = _COMPUTING.setting(
        10.0, "seconds between golden checks of a device that is out of service"
    )

    accepted_modalities: frozenset[str] = _HEADERS.setting(
        ALWAYS_ACCEPTED_MODALITIES,
        "values of Modality, with commas between them: CR and DX, to which RF and SC may be added",
        parse=_modalities,
    )
    header_words: tuple[str, ...] = _HEADERS.setting(
        (),
        "the site's own words in headers, with commas between them: chest+TRX adds one, lateral-PERFIL removes "
        "one (cxr-gate check-headers --help)",
        parse=_header_words,
    )
    refuse_hiding_windows: bool = _HEADERS.setting(
        False, "true: a window or LUT that hides a tenth of a film or more is refused; false: it is noted"
    )

    record_url: str = _RECORD.setting(
        "sqlite:///state/record.sqlite",
        "database: a file of SQLite; postgresql://user:password@host/database (needs cxr-gate[postgresql]); or sqlite://, in "
        "memory until the service stops",
        address=True,
    )
    record_key_file: Path = _RECORD.setting(
        Path("state/record.key"),
        "64 hexadecimal digits, made at the first start with mode 0600, but never beside a record that has a key; services that "
        "share a database share it",
    )
    record_days: int = _RECORD.setting(0, "days after which an entry is removed; 0: it is kept for ever", zero=True)
    record_optional: bool = _RECORD.setting(
        False, "true: a decision that cannot be written is answered all the same; false: the answer is 503"
    )

    quarantine_folder: str = _QUARANTINE.setting(
        "",
        "folder of one service where rejected films are kept, encrypted; made with mode 0700; empty: they are not kept",
    )
    quarantine_key_file: str = _QUARANTINE.setting(
        "", "base64 keys of 32 bytes, one a line, mode 0600: the first encrypts, all decrypt"
    )
    quarantine_key: str = _QUARANTINE.setting("", "the same from the environment, instead of a file", secret=True)
    quarantine_mb: int = _QUARANTINE.setting(
        4096,
        "MiB of all kept films, at least twice CXR_MAX_BODY_BYTES; beyond it the oldest are removed, those with a decision first",
    )
    quarantine_days: float = _QUARANTINE.setting(
        30.0, "days after which a film is removed; below CXR_RECORD_DAYS, if that is set"
    )

    query_sequences: str = _QUERIES.setting(
        "count",
        "about many near-duplicates from one caller: count writes a metric and the log, refuse also answers 403, off remembers "
        "nothing",
        one_of=("count", "refuse", "off"),
    )
    query_near_duplicates: int = _QUERIES.setting(10, "so many near-duplicates make a film part of a sequence")
    query_films: int = _QUERIES.setting(4096, "films remembered of each caller; of all callers together 65,536 (51 MB)")
    query_hours: float = _QUERIES.setting(24.0, "hours after which they are forgotten")

    results_url: str = _RESULTS.setting(
        "",
        "base of the DICOMweb server that gets a report of every DICOM film (http://pacs:8042/dicom-web); empty: no server",
        parse=_http,
        address=True,
    )
    results_user: str = _RESULTS.setting("", "user name at that server; empty: it asks for none")
    results_password: str = _RESULTS.setting("", "password of that user", secret=True)
    results_folder: Path = _RESULTS.setting(
        Path("state/results"), "folder where reports wait for that server; mode 0700, since it holds patient data"
    )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Read the settings.

        Raises
        ------
        SettingsError
            An unknown ``CXR_`` name, or a value that a setting does not take.
        """
        return cls(**values(cls, PREFIX, environment, except_for=_OTHERS))

    @property
    def has_callers(self) -> bool:
        """Whether callers have keys or tokens. If not, anybody who reaches the service may use it."""
        return bool(self.keys_file or self.oidc_issuer)

    @property
    def header_rules(self) -> HeaderRules:
        """The rules for headers of DICOM films."""
        return HeaderRules(self.accepted_modalities, self.header_words, self.refuse_hiding_windows)
