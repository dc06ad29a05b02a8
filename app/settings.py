"""What an operator may set, from the environment; read once, at start."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Final, get_type_hints

from app.pipeline.dicom.rules import ALWAYS_ACCEPTED_MODALITIES, OPTIONAL_MODALITIES, HeaderRules
from app.pipeline.dicom.words import WordsError
from app.pipeline.image import DEFAULT_MAX_PIXELS

PREFIX = "CXR_"
#: The forwarder's own, which may lie in the same file of variables; ``cxr-gate forward`` checks them.
FORWARD_PREFIX = "CXR_FORWARD_"
#: Where 0 means something (not at all, or every core); all other numbers are over 0.
ZERO_ALLOWED = {"CXR_BATCH_WAIT_MS", "CXR_RECORD_DAYS", "CXR_INFERENCE_THREADS", "CXR_QUOTA_PER_MINUTE"}


#: A host as callers name it: a name, an address of either kind, or ``*`` for any.
HOST: Final = re.compile(r"\*|[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+")
#: What is done about a sequence of near-duplicates (docs/query-detection.md).
QUERY_SEQUENCES: Final = ("count", "refuse", "off")
#: Settings that are one of a few words.
CHOICES: Final = {"CXR_QUERY_SEQUENCES": QUERY_SEQUENCES, "CXR_DECODE_SANDBOX": ("try", "require", "off")}


class SettingsError(Exception):
    """A setting that cannot be used; the message names it."""


@dataclass(frozen=True)
class Settings:
    """Each field is set by ``CXR_`` and its name in capitals (``CXR_MAX_BODY_BYTES``)."""

    bundle: Path = Path("artifacts/default")
    bundles: str = (
        ""  # folder whose subfolders are bundles, to bring in beside that one; empty: there is that one alone
    )
    versions_file: Path = Path("state/active.json")  # which of them was made active
    trusted_keys: str = (
        ""  # public keys (a PEM file, or a folder of *.pem) of those whose bundles are taken; empty: any's
    )
    calls_file: str = ""  # CSV of the site's own prevalences and points (docs/calls.md); empty: as the bundle has them
    shadow_waiting: int = 64  # films that may wait for a version in shadow; more are not compared
    backend: str = "auto"  # torch or openvino; auto: torch on GPUs, and on the CPU openvino where it is installed
    device: str = "auto"  # cpu, or GPUs (cuda:0,cuda:1); auto: every GPU, or the CPU where there is none
    inference_threads: int = 0  # of the CPU; 0: every core that the process may use, or OMP_NUM_THREADS
    max_body_bytes: int = 64 * 1024 * 1024
    max_pixels: int = DEFAULT_MAX_PIXELS
    max_waiting: int = 64  # requests admitted and not yet answered; more are told 503, and one caller has 3/4 of them
    max_waiting_bytes: int = 512 * 1024 * 1024  # of their bodies, as they arrive; who is alone is never refused by it
    max_batch: int = 8
    batch_wait_ms: float = (
        0.0  # how long a batch that is not full waits for more films; 0: all that waits is taken at once
    )
    device_retry_seconds: float = 10.0  # between golden checks of a device that is out of service
    decode_threads: int = 2
    decode_processes: int = (
        2  # films decoded at once, each in a process of its own: compressed DICOM, many pixels in few bytes
    )
    decode_memory_mb: int = 1024  # of such a process, in MiB; raise it with max_pixels
    decode_seconds: float = 20.0  # of CPU time, rounded up, after which such a process is killed
    decode_sandbox: str = "try"  # a filter of system calls around it: try, require, or off
    deadline_seconds: float = 30.0
    drain_seconds: int = 30
    max_store_instances: int = 200  # in one STOW-RS request
    max_store_bytes: int = 512 * 1024 * 1024  # of one STOW-RS request; each instance is under max_body_bytes too
    store_parallel: int = 4  # instances of one STOW-RS request that are judged at once, while there is room
    record_url: str = "sqlite:///state/record.sqlite"  # sqlite:// is in memory
    record_key_file: Path = Path("state/record.key")
    record_days: int = 0  # entries of the record that are older are removed; 0 keeps them for ever
    record_optional: bool = False  # true: what cannot be written down is answered all the same
    keys_file: str = ""  # of callers and their keys' hashes; empty: anybody may score, and nobody review or operate
    allowed_hosts: str = (
        ""  # without keys: names, beside this machine's, by which callers may ask, or * (docs/access.md)
    )
    metrics_open: bool = False  # true: where callers have no keys, anybody who reaches the service may read /metrics
    tls_certificate: str = ""  # PEM, with its chain; empty: HTTP in clear
    tls_key: str = ""
    tls_client_ca: str = ""  # PEM of the authorities whose certificates callers must have; empty: they need none
    oidc_issuer: str = ""  # an OpenID Connect provider whose tokens are good too; empty: none
    oidc_audience: str = ""  # this service's name at it
    oidc_jwks_url: str = ""  # of its keys; empty: as its discovery document says
    oidc_scopes: str = (
        ""  # "THEIRS=OURS ...": what its tokens say, and which of our scopes that is; empty: our own names
    )
    quota_per_minute: float = (
        0.0  # requests of each caller with a key whose file says nothing else; 0: as many as it likes
    )
    quota_burst: int = 10  # and at once, after a pause
    query_sequences: str = "count"  # what is done about many near-duplicates of one caller: count, refuse, or off
    query_near_duplicates: int = 10  # so many make a sequence
    query_films: int = 4096  # of each caller's, with which a film is compared
    query_hours: float = 24.0  # after which they are forgotten
    quarantine_folder: str = ""  # where rejected films are kept, encrypted; empty: they are not
    quarantine_key_file: str = ""  # of base64 keys of 32 bytes, one a line: the first encrypts, all decrypt
    quarantine_key: str = field(default="", repr=False)  # the same, where there is no file
    quarantine_mb: int = 4096  # MiB of all kept films; over it the oldest go, those that were decided on first
    quarantine_days: float = 30.0  # after which a film goes
    accepted_modalities: frozenset[str] = ALWAYS_ACCEPTED_MODALITIES  # "CR,DX", and RF and SC where a site says so
    header_words: tuple[str, ...] = ()  # "chest+TRX,lateral-PERFIL": a site's own words (docs/dicom.md)
    refuse_hiding_windows: bool = (
        False  # true: a window or LUT that hides a tenth of a film or more is refused, not noted
    )
    results_url: str = ""  # base of the DICOMweb server that gets a report of every DICOM film; empty: none does
    results_user: str = ""
    results_password: str = field(default="", repr=False)
    results_folder: Path = Path("state/results")  # where reports wait for that server

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Read the settings.

        Raises
        ------
        SettingsError
            An unknown ``CXR_`` name (a typo would otherwise be silent), or a value of the wrong type or not positive.
        """
        types = get_type_hints(cls)
        values: dict[str, object] = {}
        names = {PREFIX + field.name.upper(): field.name for field in fields(cls)}
        for variable, text in environment.items():
            if not variable.startswith(PREFIX) or variable == "CXR_SHARED_DATA" or variable.startswith(FORWARD_PREFIX):
                continue
            if variable not in names:
                raise SettingsError(f"unknown setting {variable}; known are {', '.join(sorted(names))}")
            kind = types[names[variable]]
            if names[variable] == "accepted_modalities":
                values[names[variable]] = _modalities(variable, text)
                continue
            if names[variable] == "header_words":
                values[names[variable]] = _header_words(variable, text)
                continue
            if kind is bool:
                values[names[variable]] = _truth(variable, text)
                continue
            try:
                value = kind(text)
            except ValueError:
                raise SettingsError(f"{variable}={text!r} is not a {kind.__name__}") from None
            if kind in (int, float) and not (value > 0 or (value == 0 and variable in ZERO_ALLOWED)):
                raise SettingsError(f"{variable}={text!r} must be over 0")
            if kind is float and not math.isfinite(value):
                raise SettingsError(f"{variable}={text!r} must be finite")
            if variable in CHOICES and text not in CHOICES[variable]:
                raise SettingsError(f"{variable}={text!r} must be {', '.join(CHOICES[variable])}")
            if variable == "CXR_ALLOWED_HOSTS" and not all(HOST.fullmatch(name) for name in text.split()):
                raise SettingsError(f"{variable}={text!r} must be names without ports, separated by spaces, or *")
            if variable == "CXR_RESULTS_URL" and not text.startswith(("http://", "https://")):
                raise SettingsError(f"{variable} must begin with http:// or https://")
            values[names[variable]] = value
        return cls(**values)  # type: ignore[arg-type]  # each was converted to its field's type

    @property
    def has_callers(self) -> bool:
        """Whether callers have keys or tokens; else anybody who reaches the service may use it."""
        return bool(self.keys_file or self.oidc_issuer)

    @property
    def header_rules(self) -> HeaderRules:
        """What holds for the headers of DICOM films."""
        return HeaderRules(self.accepted_modalities, self.header_words, self.refuse_hiding_windows)


def _truth(variable: str, text: str) -> bool:
    if text not in {"true", "false"}:
        raise SettingsError(f"{variable}={text!r} must be true or false")
    return text == "true"


def _modalities(variable: str, text: str) -> frozenset[str]:
    named = frozenset(part.strip().upper() for part in text.split(","))
    if not ALWAYS_ACCEPTED_MODALITIES <= named <= ALWAYS_ACCEPTED_MODALITIES | OPTIONAL_MODALITIES:
        raise SettingsError(
            f"{variable}={text!r} must name {','.join(sorted(ALWAYS_ACCEPTED_MODALITIES))}, and may add "
            f"{','.join(sorted(OPTIONAL_MODALITIES))}"
        )
    return named


def _header_words(variable: str, text: str) -> tuple[str, ...]:
    changes = tuple(part.strip() for part in text.split(",") if part.strip())
    try:
        _ = HeaderRules(word_changes=changes).words
    except WordsError as error:
        raise SettingsError(f"{variable}: {error}") from error
    return changes
