"""kill -9 of either side, again and again, while films come in: each film ends with one report, and one only."""

from __future__ import annotations

import io
import random
import time
from collections import Counter
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import generate_uid

from tests.orthanc.pacs import Forwarder, Service, film_of, says_accepted
from tests.orthanc.test_forward import noisy
from tests.support.orthanc import Orthanc

SEED = 4
FILMS_A_WAVE = 3
#: Long enough for the films of a wave to be done with, so that kills fall before, within and after.
MOST_SECONDS_BEFORE_A_KILL = 2.5


class Films:
    """New instances of a real film and of its tampered copy, each in a study of its own, sent by ``dcmsend``."""

    def __init__(self, film: Path, folder: Path) -> None:
        self.folder = folder
        self.kinds = [film.read_bytes(), noisy(film)]
        self.accepted: dict[str, bool] = {}  # by SOPInstanceUID: what the report must say

    def send(self, orthanc: Orthanc, count: int) -> None:
        made = []
        for number in range(len(self.accepted), len(self.accepted) + count):
            dataset = dcmread(io.BytesIO(self.kinds[number % 2]))
            for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
                setattr(dataset, keyword, generate_uid(entropy_srcs=[keyword, str(number)]))
            dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
            self.accepted[str(dataset.SOPInstanceUID)] = number % 2 == 0
            made.append(self.folder / f"{number}.dcm")
            dataset.save_as(made[-1])
        orthanc.send("dcmsend", *made)


@pytest.fixture
def films(shared_data: Path, tmp_path: Path) -> Films:
    return Films(shared_data / "dicom" / "dx_chest_effusion.dcm", tmp_path)


def assert_one_report_a_film(orthanc: Orthanc, films: Films) -> None:
    reports = orthanc.reports()
    assert Counter(map(film_of, reports)) == Counter(films.accepted.keys())
    assert {film_of(report): says_accepted(report) for report in reports} == films.accepted


def kill(victim: Forwarder | Service) -> None:
    victim.kill()
    if isinstance(victim, Service):
        victim.launch()  # the forwarder meets it while it loads
    else:
        victim.start()


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_random_points_each_film_has_one_report(
    orthanc: Orthanc, default_service: Service, films: Films, tmp_path: Path, kills: int
) -> None:
    chance = random.Random(SEED)
    forwarder = Forwarder(tmp_path, orthanc, default_service.url)
    victims: list[Forwarder | Service] = [forwarder if index % 2 == 0 else default_service for index in range(kills)]
    chance.shuffle(victims)
    with forwarder.running():
        for victim in victims:
            if victim is default_service:
                default_service.await_ready()
            films.send(orthanc, FILMS_A_WAVE)
            time.sleep(chance.uniform(0, MOST_SECONDS_BEFORE_A_KILL))
            kill(victim)
        default_service.await_ready()
        forwarder.await_caught_up(120)
    assert len(films.accepted) == FILMS_A_WAVE * kills
    assert_one_report_a_film(orthanc, films)


def test_killed_forwarder_alone_many_times(
    orthanc: Orthanc, default_service: Service, films: Films, tmp_path: Path
) -> None:
    """Quick to start, it can be killed often: the points fall close together."""
    chance = random.Random(SEED)
    forwarder = Forwarder(tmp_path, orthanc, default_service.url)
    default_service.await_ready()
    with forwarder.running():
        for _ in range(10):
            films.send(orthanc, 1)
            time.sleep(chance.uniform(0.3, 1.5))
            kill(forwarder)
        forwarder.await_caught_up(120)
    assert_one_report_a_film(orthanc, films)


@pytest.mark.parametrize("how", ["restarted", "killed"])
def test_orthanc_goes_away_and_comes_back(
    orthanc: Orthanc, default_service: Service, films: Films, tmp_path: Path, how: str
) -> None:
    chance = random.Random(SEED)
    forwarder = Forwarder(tmp_path, orthanc, default_service.url)
    default_service.await_ready()
    with forwarder.running():
        for _ in range(3):
            films.send(orthanc, FILMS_A_WAVE)
            time.sleep(chance.uniform(0, MOST_SECONDS_BEFORE_A_KILL))
            orthanc.kill() if how == "killed" else orthanc.stop()
            orthanc.start()
        forwarder.await_caught_up(120)
    assert_one_report_a_film(orthanc, films)
