"""Damaged DICOM files over HTTP: statuses of the table, never a 500, and the service goes on."""

from collections import Counter
from pathlib import Path

import pytest

from tests.pipeline.films import NAME, PATIENT_ID
from tests.pipeline.mutants import Mutant, mutants, valid_films
from tests.support.served import PROBLEM_FIELDS, Served

EVERY = 5  # of the 500 that tests/pipeline/test_decode_dicom_hostile.py decodes


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> list[Mutant]:
    return mutants(valid_films(tmp_path_factory.mktemp("films")), 500)[::EVERY]


def test_100_mutants_give_statuses_of_the_table(service: Served, sample: list[Mutant]) -> None:
    statuses = Counter[int]()
    before = service.memory_kib()
    for mutant in sample:
        answer = service.post(mutant.data, "application/dicom")
        statuses[answer.status_code] += 1
        assert answer.status_code in {200, 400, 413, 415}, (mutant.name, answer.text)
        if answer.status_code != 200:
            assert set(answer.json()) == PROBLEM_FIELDS, mutant.name
        for secret in (*NAME.split("^"), PATIENT_ID):
            assert secret not in answer.text, mutant.name
    assert statuses[200] >= 10
    assert statuses[400] >= 30
    assert service.get("/readyz").status_code == 200
    assert service.memory_kib() - before < 400 * 1024
    logged = service.logged()
    for secret in (*NAME.split("^"), PATIENT_ID, "Traceback"):
        assert secret not in logged


def test_a_film_that_lacks_tags_is_counted(service: Served, shared_data: Path) -> None:
    def counted(tag: str) -> float:
        lines = service.get("/metrics").text.splitlines()
        found = [line for line in lines if line.startswith(f'cxr_missing_tags_total{{tag="{tag}"}}')]
        return float(found[0].split()[-1]) if found else 0.0

    view, part = counted("ViewPosition"), counted("BodyPartExamined")
    answer = service.post((shared_data / "dicom/dx_chest_effusion.dcm").read_bytes(), "application/dicom")
    assert "ViewPosition missing" in answer.json()["notes"]
    assert (counted("ViewPosition"), counted("BodyPartExamined")) == (view + 1, part)
