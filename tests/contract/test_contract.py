"""Every route keeps to its OpenAPI document: no 500, no status, media type or body that it does not name, no open door."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from app.access import add_key
from app.pipeline import Screener, read_bundle, to_tensor
from app.pipeline.backends.torch_cpu import TorchCpu
from tests.support.bundles import ACCEPT_EVERYTHING, write_random_bundle
from tests.support.films import pixels, png
from tests.support.processes import ROOT
from tests.support.reviewing import Keeping, Site, keeping

EXAMPLES = 20  # of each operation, beside those that the document's own limits give
SEEDS = range(4)
#: Answers that only whole films, known ids and versions get: the run has looked behind the refusals.
REACHED = {
    *(("/v1/score", status) for status in (200, 400, 401, 415, 422)),
    ("/dicomweb/studies", 409),
    *(("/v1/quarantine" + path, 200) for path in ("", "/{id}", "/{id}/film", "/{id}/residual", "/{id}/release")),
    ("/v1/results/{id}", 200),
    ("/v1/versions/{model_version}/shadow", 200),
}


def choosing(folder: Path) -> Path:
    """A bundle that rejects half of the films."""
    bundle = read_bundle(write_random_bundle(folder / "all", ACCEPT_EVERYTHING))
    screener = Screener(bundle, TorchCpu(bundle.network))
    films = [to_tensor(pixels(seed).astype(np.float32) / 255) for seed in SEEDS]
    densities = [float(bundle.gate.log_density(screener.outputs(film).gate_features)[0]) for film in films]
    return write_random_bundle(folder / "half", float(np.median(densities)))


def test_schemathesis_finds_no_fault(tmp_path: Path) -> None:
    site, bundles = Site.make(tmp_path), tmp_path / "bundles"
    write_random_bundle(bundles / "other", ACCEPT_EVERYTHING, seed=1)
    settings = {"CXR_BUNDLES": str(bundles), "CXR_VERSIONS_FILE": f"{tmp_path}/active.json"}
    site.keys["all"] = add_key(tmp_path / "callers.json", "all", ["score", "operate", "review", "metrics"])
    with keeping(site, choosing(bundles), **settings) as kept:
        answers = [kept.score(png(seed)).status_code for seed in SEEDS]
        assert set(answers) == {200, 422}
        assert kept.score(png(0), "image/jpeg").status_code == 415  # the run seldom finds two kinds that differ
        versions = [each["model_version"] for each in kept.get("/v1/versions", "all").json()["versions"]]
        films = kept.listed()
        assert kept.decide(films[0], "release").status_code == 200
        document = kept.client.get("/openapi.json").json()
        run = schemathesis(kept, CONTRACT_FILMS=" ".join(films), CONTRACT_VERSIONS=" ".join(versions))
        log = site.log.read_text()
    told = run.stdout.decode(errors="replace")
    assert run.returncode == 0, told[:20_000] + run.stderr.decode(errors="replace")[-2_000:]
    assert f"Tested: {sum(map(len, document['paths'].values()))}" in told  # operations
    assert "Traceback" not in log
    reached = {(line["route"], line["status"]) for line in map(json.loads, log.splitlines()) if "route" in line}
    assert reached >= REACHED


def schemathesis(kept: Keeping, **names: str) -> subprocess.CompletedProcess[bytes]:
    document = str(kept.client.base_url.join("/openapi.json"))
    configured = ["--config-file", str(Path(__file__).parent / "schemathesis.toml")]
    return subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", *configured),
            *("run", document, "--header", f"Authorization: Bearer {kept.site.keys['all']}"),
            *("--phases", "examples,coverage,fuzzing", "--max-examples", str(EXAMPLES), "--seed", "7", "--workers", "2"),
            *("--request-timeout", "60"),  # a version is loaded within one of them
            *("--continue-on-failure", "--no-color", "--warnings", "off", "--output-truncate", "true"),
        ],
        cwd=ROOT,
        env={**os.environ, "SCHEMATHESIS_HOOKS": "tests.contract.hooks", **names},
        capture_output=True,
        timeout=240,
        check=False,
    )  # fmt: skip
