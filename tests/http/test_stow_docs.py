"""The examples of docs/pacs.md run, and its table of reasons is the code's."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from pydicom.dataset import Dataset

from app.access.sequences import QuerySequence
from app.decoding.decode_pool import DecodingUnavailable
from app.engine import DeadlinePassed, InferenceFailed, NotReady, Overloaded
from app.http import store_response
from app.pipeline.errors import ImageTooLarge, MalformedImage, NumericalError, UnsuitableImage, UnsupportedMedia
from app.pipeline.labels import LABELS
from app.quarantine import QuarantineUnavailable
from app.records import RecordUnavailable
from tests.http.stowing import scored, told
from tests.support.processes import ROOT, clean_environment
from tests.support.served import Served

DOCUMENT = (ROOT / "docs" / "pacs.md").read_text()


def example(language: str) -> str:
    (block,) = re.findall(rf"^```{language}\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)
    return str(block)


def run(arguments: list[str], served: Served) -> str:
    filled = [text.replace("http://127.0.0.1:8000", f"http://127.0.0.1:{served.port}") for text in arguments]
    done = subprocess.run(
        filled, cwd=ROOT, env=clean_environment({}), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_curl_stores_a_film(service: Served) -> None:
    script = example("bash").replace(".venv/bin/python", sys.executable)
    answer = json.loads(run(["bash", "-euc", script], service))
    (item,) = scored(Dataset.from_json(answer))
    assert tuple(told(item)[3]) == LABELS


def test_dicomweb_client_prints_the_probabilities(service: Served) -> None:
    lines = run([sys.executable, "-c", example("python")], service).splitlines()
    assert [line.split()[0] for line in lines] == list(LABELS)


REASONS: dict[type[Exception], int] = {
    MalformedImage: 0xC000,
    UnsuitableImage: 0xC400,
    UnsupportedMedia: 0xC122,
    ImageTooLarge: 0xC413,
    NumericalError: 0x0110,
    QuerySequence: 0xC403,
    Overloaded: 0xA700,
    NotReady: 0xA700,
    DecodingUnavailable: 0xA700,
    InferenceFailed: 0xA700,
    DeadlinePassed: 0xA700,
    RecordUnavailable: 0xA700,
    QuarantineUnavailable: 0xA700,
}


@pytest.mark.parametrize("kind", REASONS)
def test_each_error_has_its_reason(kind: type[Exception]) -> None:
    assert store_response.reason_of(kind) == REASONS[kind]


def test_the_table_of_reasons_is_the_codes() -> None:
    listed = {int(code, 16): int(number) for code, number in re.findall(r"^\| ([0-9A-F]{4}) \((\d+)\)", DOCUMENT, re.M)}
    assert all(code == number for code, number in listed.items())
    named = {value for name, value in vars(store_response).items() if name.isupper() and isinstance(value, int)}
    assert set(listed) == named | set(REASONS.values())
