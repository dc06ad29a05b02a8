"""The forwarder's settings. Each is an option of ``cxr-gate forward`` too, except the secrets."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from app.configuration import Group

from .orthanc import MOST_FILM_BYTES

PREFIX: Final = "CXR_FORWARD_"


def _url(text: str) -> str:
    url = urlsplit(text)
    if url.scheme not in {"http", "https"} or not url.hostname or url.username or url.query or url.fragment:
        raise ValueError("must be http://HOST:PORT or https://HOST, with a path if needed")
    return text


def _modalities(text: str) -> frozenset[str]:
    found = frozenset(text.upper().replace(" ", "").split(","))
    if not all(re.fullmatch("[A-Z]{2,16}", modality) for modality in found) or "SR" in found:
        raise ValueError("must be modalities such as CR,DX; SR is not allowed, since reports are SR")
    return found


def _start(text: str) -> str:
    if text not in {"beginning", "now"} and not re.fullmatch(r"[0-9]{1,18}", text):
        raise ValueError("must be beginning, now, or the number of a change")
    return text


def _port(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) > 65535:
        raise ValueError("must be a number from 0 to 65535")
    return int(text)


_ENDS = Group("The forwarder: Orthanc and the service", "pacs.md")
_WORK = Group("The forwarder: its work", "pacs.md")


@dataclass(frozen=True)
class ForwardSettings:
    """Each field is set by ``CXR_FORWARD_`` and its name in capitals, or by the option of that name."""

    state: Path = _ENDS.setting(
        Path(),
        "file that remembers how far the forwarder has come, with two more beside it (.films, .done); its folder must exist",
        required=True,
    )
    orthanc_url: str = _ENDS.setting("http://127.0.0.1:8042", "Orthanc's REST interface", parse=_url, address=True)
    orthanc_user: str = _ENDS.setting("", "one of Orthanc's RegisteredUsers; empty: Orthanc asks for none")
    orthanc_password: str = _ENDS.setting("", "password of Orthanc's user", secret=True)
    service_url: str = _ENDS.setting("http://127.0.0.1:8000", "the service", parse=_url, address=True)
    service_token: str = _ENDS.setting(
        "", "key for the service, with the scope score (cxr-gate new-key --help)", secret=True
    )

    modalities: frozenset[str] = _WORK.setting(
        frozenset({"CR", "DX"}), "instances of these are posted; the service must accept them too", parse=_modalities
    )
    start: str = _WORK.setting(
        "beginning",
        "where to start without a state file: beginning (all that Orthanc has), now, or after the change with this number",
        parse=_start,
    )
    in_flight: int = _WORK.setting(4, "films worked on at once, each held in memory")
    max_film_mb: int = _WORK.setting(
        MOST_FILM_BYTES // 2**20,
        "MiB; the forwarder does not fetch a larger film, and puts it on the list of films given up on. Keep this over the "
        "service's CXR_MAX_BODY_BYTES",
    )
    give_up_hours: float = _WORK.setting(
        24.0,
        "hours after its first failure when the forwarder gives up on a film that keeps failing (cxr-gate given-up)",
    )
    keep_given_up: int = _WORK.setting(
        10000, "how many films given up on stay listed, the newest; older ones are counted, and the log names them"
    )
    reconcile_hours: float = _WORK.setting(
        6.0,
        "hours between listings of all that Orthanc has, to find instances that its log of changes did not "
        "name; also at the start",
    )
    poll_seconds: float = _WORK.setting(2.0, "seconds between looks for new changes")
    metrics_host: str = _WORK.setting("127.0.0.1", "address of Prometheus metrics")
    metrics_port: int = _WORK.setting(0, "port of Prometheus metrics (/metrics); 0 serves none", parse=_port)
