"""The README's commands run, its figures are the report's, and its answer is the service's."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from research.readme import filled_readme, filled_results
from tests.support.processes import clean_environment
from tests.support.served import Served, serve

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def default_service(tmp_path_factory: pytest.TempPathFactory):
    with serve(ROOT / "artifacts" / "default", tmp_path_factory.mktemp("readme") / "log") as served:
        yield served


def run_block(block: str, served: Served) -> str:
    script = block.replace(".venv/bin/", f"{Path(sys.executable).parent}/")
    script = script.replace("http://127.0.0.1:8000", f"http://127.0.0.1:{served.port}")
    done = subprocess.run(
        ["bash", "-euc", script],
        cwd=ROOT,
        env=clean_environment({}),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_curl_gives_the_answer_shown(default_service: Served) -> None:
    answer = json.loads(run_block(blocks("bash")[0], default_service))
    (shown,) = (json.loads(block) for block in blocks("json"))
    del answer["request_id"], shown["request_id"]
    assert answer["probabilities"] == pytest.approx(shown.pop("probabilities"), abs=2e-3)
    del answer["probabilities"]
    for name, called in shown["calls"].items():
        assert answer["calls"][name].pop("percentile") == pytest.approx(called.pop("percentile"), abs=0.5)
        for point in ("present_from", "absent_below"):
            assert answer["calls"][name].pop(point) == pytest.approx(called.pop(point), abs=1e-4)
    assert answer == shown


def test_demo_accepts_the_film_and_refuses_the_attack(default_service: Served) -> None:
    film, demo = blocks("bash")[:2]
    script = film.splitlines()[0] + "\n" + demo.replace("demo", f"demo --url http://127.0.0.1:{default_service.port}")
    statuses = re.findall(r"^(\d{3})  ", run_block(script, default_service), re.MULTILINE)
    assert statuses == ["200", "200", "422"]
    assert "rejected as adversarial" in README


def test_figures_are_the_reports() -> None:
    assert filled_readme(README, ROOT) == README


def test_attackers_are_the_reports() -> None:
    results = (ROOT / "docs" / "results.md").read_text()
    assert filled_results(results, ROOT) == results


def test_the_front_door_is_short() -> None:
    assert len(README.splitlines()) <= 145
