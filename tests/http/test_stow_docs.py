"""The examples of docs/pacs.md run, and its table of reasons is the code's."""

from __future__ import annotations

import json
import re
import subprocess
import sys

from pydicom.dataset import Dataset

from app.http import store_response
from app.pipeline.labels import LABELS
from tests.http.served import ROOT, Served, clean_environment
from tests.http.stowing import scored, told

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


def test_the_table_of_reasons_is_the_codes() -> None:
    listed = {int(code, 16): int(number) for code, number in re.findall(r"^\| ([0-9A-F]{4}) \((\d+)\)", DOCUMENT, re.M)}
    assert all(code == number for code, number in listed.items())
    used = {value for name, value in vars(store_response).items() if name.isupper() and isinstance(value, int)}
    assert set(listed) == used
