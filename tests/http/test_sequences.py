"""Near-duplicates over real sockets: counted, refused where the setting says so, and retries and neighbours unharmed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from app.access import add_key
from app.settings import Settings, SettingsError
from tests.http.stowing import CONTENT_TYPE, related
from tests.support.films import dicom, encoded, pixels
from tests.support.served import assert_problem
from tests.support.told import Told, told

LIMIT = 5


def variant(number: int, seed: int = 0) -> np.ndarray:
    """One film, each time with another small square in it."""
    grey = pixels(seed).copy()
    row, column = 16 * (number % 16), 16 * (number // 16)
    grey[row : row + 16, column : column + 16] //= 2
    return grey


def png(number: int, seed: int = 0) -> bytes:
    return encoded(Image.fromarray(variant(number, seed)))


@contextmanager
def watching(
    bundle: Path, folder: Path, mode: str, **settings: object
) -> Iterator[tuple[Told, dict[str, dict[str, str]]]]:
    """A service with two callers who may score, and one who sees the metrics."""
    file = folder / "callers.json"
    keys = {name: add_key(file, name, [scope]) for name, scope in (("a", "score"), ("b", "score"), ("m", "metrics"))}
    with told(bundle, keys_file=str(file), query_sequences=mode, query_near_duplicates=LIMIT, **settings) as service:
        service.client.headers["Authorization"] = f"Bearer {keys['m']}"
        yield service, {name: {"Authorization": f"Bearer {key}"} for name, key in keys.items()}


def post(service: Told, headers: dict[str, str], film: bytes, path: str = "/v1/score") -> httpx.Response:
    return service.client.post(path, content=film, headers={**headers, "Content-Type": "image/png"})


def test_a_sequence_is_counted_and_answered(
    accepting_bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with watching(accepting_bundle, tmp_path, "count") as (service, keys):
        assert service.metric('cxr_query_sequence_films_total{answer="judged"}') == 0
        answers = [post(service, keys["a"], png(number)) for number in range(LIMIT + 3)]
        assert {answer.status_code for answer in answers} == {200}
        assert service.metric('cxr_query_sequence_films_total{answer="judged"}') == 3
        assert service.metric("cxr_near_duplicate_films_count") == LIMIT + 3
        assert service.metric('cxr_near_duplicate_films_bucket{le="0.0"}') == 1
    logged = [record for record in caplog.records if "near-duplicates" in record.getMessage()]
    ids = [answer.headers["x-request-id"] for answer in answers]
    assert [record.__dict__["request_id"] for record in logged] == ids[LIMIT:]
    assert all(record.__dict__["nearest"] in ids for record in logged)


def test_a_sequence_is_refused_and_nothing_else_is(accepting_bundle: Path, tmp_path: Path) -> None:
    with watching(accepting_bundle, tmp_path, "refuse") as (service, keys):
        for number in range(LIMIT):
            assert post(service, keys["a"], png(number)).status_code == 200
        judged = len(service.screener.judged)
        for path in ("/v1/score", "/v1/explain?finding=Mass"):
            refused = post(service, keys["a"], png(LIMIT), path)
            assert assert_problem(refused, 403)["type"] == "/problems/query-sequence"
            assert "retry-after" not in refused.headers
        assert len(service.screener.judged) == judged
        # counted once: the second time it was the same film
        assert service.metric('cxr_query_sequence_films_total{answer="refused"}') == 1
        # a retry of what was answered, another film, and another caller's
        assert post(service, keys["a"], png(0)).status_code == 200
        assert post(service, keys["a"], png(0, seed=1)).status_code == 200
        assert post(service, keys["b"], png(LIMIT + 1)).status_code == 200
        assert post(service, keys["a"], png(LIMIT + 1)).status_code == 403


def test_heatmaps_alone_are_a_sequence_too(accepting_bundle: Path, tmp_path: Path) -> None:
    """What a heatmap shows tells an attacker as much as a probability does."""
    with watching(accepting_bundle, tmp_path, "refuse") as (service, keys):
        for number in range(LIMIT):
            answer = post(
                service, keys["a"], png(number), ("/v1/explain?finding=Mass", "/v1/score?heatmap=Mass")[number % 2]
            )
            assert answer.status_code == 200
        for path in ("/v1/explain?finding=Mass", "/v1/score?heatmap=Mass"):
            assert post(service, keys["a"], png(LIMIT), path).status_code == 403
        assert service.metric("cxr_near_duplicate_films_count") == LIMIT + 1
        # a heatmap of a film that was scored is looked at, and is the same film again
        assert post(service, keys["a"], png(0), "/v1/explain?finding=Mass").status_code == 200
        assert service.metric("cxr_near_duplicate_films_count") == LIMIT + 1


def test_a_tired_integrator_is_no_sequence(accepting_bundle: Path, tmp_path: Path) -> None:
    with watching(accepting_bundle, tmp_path, "refuse") as (service, keys):
        for _ in range(3 * LIMIT):
            assert post(service, keys["a"], png(0)).status_code == 200
        assert service.metric("cxr_near_duplicate_films_count") == 1


def test_an_instance_is_refused_for_ever(accepting_bundle: Path, tmp_path: Path) -> None:
    with watching(accepting_bundle, tmp_path, "refuse", store_parallel=1) as (service, keys):
        films = [dicom(PixelData=variant(number).tobytes()) for number in range(LIMIT + 1)]
        answer = service.client.post(
            "/dicomweb/studies", content=related(films), headers={**keys["a"], "Content-Type": CONTENT_TYPE}
        )
        assert answer.status_code == 202
        (failed,) = answer.json()["00081198"]["Value"]
        assert failed["00081197"]["Value"] == [0xC403]


def test_off_remembers_nothing(accepting_bundle: Path, tmp_path: Path) -> None:
    with watching(accepting_bundle, tmp_path, "off") as (service, keys):
        for number in range(LIMIT + 2):
            assert post(service, keys["a"], png(number)).status_code == 200
        assert service.metric("cxr_near_duplicate_films_count") == 0


def test_without_keys_all_are_one_caller(accepting_bundle: Path) -> None:
    with told(accepting_bundle, query_sequences="refuse", query_near_duplicates=LIMIT) as service:
        statuses = [post(service, {}, png(number)).status_code for number in range(LIMIT + 1)]
    assert statuses == [200] * LIMIT + [403]


def test_the_setting_is_one_of_three() -> None:
    with pytest.raises(SettingsError, match="CXR_QUERY_SEQUENCES='on' must be count, refuse, off"):
        Settings.from_environment({"CXR_QUERY_SEQUENCES": "on"})
