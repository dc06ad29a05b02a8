"""Live through the day, and write reports/day and docs/day.md.

python -m benchmarks.day --prepare    the attacked films, once (five minutes on two cores)
python -m benchmarks.day              the day: half an hour
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import time
from pathlib import Path
from typing import Any, Final

from app.pipeline.bundle import Bundle, read_bundle
from benchmarks.day import films, machines, page, plan, watching
from benchmarks.day.traffic import Traffic
from offline.evaluation.store import Store

WORK: Final = Path("runs/day")
EVALUATION: Final = 15 / plan.FACTOR  # seconds between Prometheus's evaluations
START_SECONDS: Final = 60.0


def _store(bundle: Bundle) -> Store:
    identity = {"bundle": bundle.manifest.model_version, "seed": films.SEED, "gamma": films.GAMMA, "noise": films.NOISE}
    return Store.open(WORK / "attacked", identity | {"films": [films.ATTACKED, films.STORED]})


async def _quiet(prometheus: int) -> None:
    """Wait until the service is scraped and nothing fires: Prometheus begins some seconds after its own start."""
    end = time.monotonic() + START_SECONDS
    while not watching.now(prometheus, "up == 1") or watching.now(prometheus, "ALERTS"):
        if time.monotonic() > end:
            raise machines.NotStarted("Prometheus does not scrape the service, or an alert stands before the day began")
        await asyncio.sleep(0.2)


async def _live(traffic: Traffic, prometheus: int, bundle: Path, folder: Path) -> dict[str, Any]:
    await _quiet(prometheus)
    traffic.began = time.time()
    for phase in plan.DAY:
        await traffic.run(phase)
    return {}


def main() -> None:
    """Run from the repository's root."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = Path(os.environ.get("CXR_SHARED_DATA") or "../shared/data")
    parser.add_argument("--bundle", type=Path, default=Path("artifacts/default"))
    parser.add_argument("--data", type=Path, default=shared / "chest_xrays")
    parser.add_argument("--prepare", action="store_true", help="make the attacked films, and stop")
    parsed = parser.parse_args()
    bundle = read_bundle(parsed.bundle)
    pools = films.load(parsed.data, bundle, _store(bundle))
    if parsed.prepare:
        return
    folder = WORK / "run"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    began = time.monotonic()
    told = machines.Told()
    settings = {
        "CXR_RECORD_URL": f"sqlite:///{folder.resolve()}/record.sqlite",
        "CXR_RECORD_KEY_FILE": f"{folder.resolve()}/record.key",
    }
    with (
        told.listening(),
        machines.service(folder, parsed.bundle, settings) as port,
        machines.alertmanager(folder, plan.FACTOR, told.port) as alerts,
        machines.prometheus(folder, plan.FACTOR, port, alerts, "") as prometheus,
    ):
        traffic = Traffic(f"http://127.0.0.1:{port}", "", pools, plan.FACTOR)
        recalibration = asyncio.run(_live(traffic, prometheus, parsed.bundle, folder))
        last = traffic.began + traffic.phases[-1]["to"] * 3600 / plan.FACTOR
        spans = watching.firing(prometheus, traffic.began, last, EVALUATION, traffic.hours)
        curves = watching.curves(prometheus, traffic.began, last, traffic.hours)
    page.write(
        {
            "bundle": bundle.manifest.model_version,
            "factor": plan.FACTOR,
            "cores": os.cpu_count(),
            "seconds": time.monotonic() - began,
            "phases": watching.attributed(traffic.phases, spans),
            "firing": spans,
            "told": [{"hour": round(traffic.hours(one.pop("time")), 3), **one} for one in told.messages],
            "curves": curves,
            "recalibration": recalibration,
        }
    )


if __name__ == "__main__":
    main()
