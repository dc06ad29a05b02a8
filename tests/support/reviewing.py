"""A service that keeps what it rejects, its callers, and what its record says."""

from __future__ import annotations

import base64
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from app.access import add_key
from app.cli import main
from app.http.application import create_application
from app.pipeline import Screener
from app.settings import Settings
from tests.support.served import Served, serve
from tests.support.told import running

KEY = base64.b64encode(bytes(range(32))).decode()
REASON = "a prosthesis, and no sign of tampering"


@dataclass(frozen=True)
class Site:
    """Folders and keys, which outlive a service."""

    folder: Path
    keys: dict[str, str]

    @classmethod
    def make(cls, folder: Path) -> Site:
        file = folder / "callers.json"
        callers = {
            "pacs": ["score"],
            "ward": ["score"],
            "dr.b": ["review"],
            "dr.c": ["review", "score"],
            "ops": ["metrics"],
        }
        return cls(folder, {name: add_key(file, name, scopes) for name, scopes in callers.items()})

    @property
    def films(self) -> Path:
        return self.folder / "quarantine"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def settings(self) -> dict[str, str]:
        return {
            "CXR_RECORD_URL": f"sqlite:///{self.folder}/record.sqlite",
            "CXR_RECORD_KEY_FILE": f"{self.folder}/record.key",
            "CXR_KEYS_FILE": f"{self.folder}/callers.json",
            "CXR_QUARANTINE_FOLDER": str(self.films),
            "CXR_QUARANTINE_KEY": KEY,
        }

    def files(self) -> list[str]:
        """Films that are kept, and what is no film; orphans lie in a folder of their own."""
        return sorted(path.name for path in self.films.iterdir() if path.name not in {"orphans", "record-key-id"})

    def orphans(self) -> list[str]:
        return sorted(path.name for path in self.films.glob("orphans/*"))

    def entries(self, condition: str = "1", *values: object) -> list[dict[str, Any]]:
        connection = sqlite3.connect(self.folder / "record.sqlite")
        connection.row_factory = sqlite3.Row
        try:
            query = f"SELECT * FROM entries WHERE {condition} ORDER BY id"
            return [dict(row) for row in connection.execute(query, values)]
        finally:
            connection.close()

    def happened(self, film: str) -> list[tuple[str, str]]:
        """What the record says of a film: kind and who."""
        return [(entry["kind"], entry["caller"]) for entry in self.entries("film = ?", film)]

    def verifies(self) -> bool:
        settings = self.settings
        options = ["--url", settings["CXR_RECORD_URL"], "--key-file", settings["CXR_RECORD_KEY_FILE"]]
        return main(["verify-record", *options]) == 0


@dataclass(frozen=True)
class Keeping:
    """A running service of a site."""

    client: httpx.Client
    site: Site
    service: Served | None = None  # where it has a process of its own

    def ask(self, who: str, method: str, path: str, **more: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.site.keys[who]}", **more.pop("headers", {})}
        return self.client.request(method, path, headers=headers, **more)

    def get(self, path: str, who: str = "dr.b", **headers: str) -> httpx.Response:
        return self.ask(who, "GET", path, headers=headers)

    def score(self, film: bytes, kind: str = "image/png", who: str = "pacs", path: str = "/v1/score") -> httpx.Response:
        return self.ask(who, "POST", path, content=film, headers={"Content-Type": kind})

    def reject(self, film: bytes, kind: str = "image/png", who: str = "pacs") -> str:
        """Score a film that is rejected; gives its id."""
        answer = self.score(film, kind, who)
        assert answer.status_code == 422, answer.text
        film_id: str = answer.json()["request_id"]
        return film_id

    def decide(self, film: str, decision: str, who: str = "dr.b", reason: str = REASON) -> httpx.Response:
        return self.ask(who, "POST", f"/v1/quarantine/{film}/{decision}", json={"reason": reason})

    def listed(self, query: str = "") -> list[str]:
        answer = self.get(f"/v1/quarantine{query}")
        assert answer.status_code == 200, answer.text
        return [film["id"] for film in answer.json()["films"]]

    def metric(self, name: str) -> float:
        lines = self.get("/metrics", "ops").text.splitlines()
        (value,) = (float(line.removeprefix(name)) for line in lines if line.startswith(name + " "))
        return value


@contextmanager
def keeping(site: Site, bundle: Path, **settings: str) -> Iterator[Keeping]:
    """Serve a site in a process of its own until the block ends."""
    with serve(bundle, site.log, **{**site.settings, **settings}) as service:
        yield Keeping(service.client, site, service)


@contextmanager
def keeping_here(site: Site, screener: Screener, **settings: str) -> Iterator[Keeping]:
    """Serve a site in this process, which takes less time to start."""
    read = Settings.from_environment({**site.settings, **settings})
    with (
        running(create_application([screener], read)) as port,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client,
    ):
        yield Keeping(client, site)
