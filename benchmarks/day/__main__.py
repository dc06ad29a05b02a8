"""Live through the day, and write its report and page.

python -m benchmarks.day --prepare    the attacked films, once (five minutes on two cores)
python -m benchmarks.day              the day: half an hour
python -m benchmarks.day --night      its night alone, after an evening of the new scanner's films: ten minutes
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

from app.pipeline.bundle import Bundle, read_bundle
from benchmarks.day import films, machines, night, page, plan, watching
from benchmarks.day.traffic import Traffic
from offline.evaluation.store import Stages

WORK: Final = Path("runs/day")
EVALUATION: Final = 15 / plan.FACTOR  # seconds between Prometheus's evaluations
START_SECONDS: Final = 60.0


def _store(bundle: Bundle) -> Stages:
    identity = {"bundle": bundle.manifest.model_version, "seed": films.SEED, "gamma": films.GAMMA, "noise": films.NOISE}
    return Stages.open(WORK / "attacked", identity | {"films": [films.ATTACKED, films.STORED]})


async def _quiet(prometheus: int) -> None:
    """Wait until the service is scraped and nothing fires: Prometheus begins some seconds after its own start."""
    end = time.monotonic() + START_SECONDS
    while not watching.now(prometheus, "up == 1") or watching.now(prometheus, "ALERTS"):
        if time.monotonic() > end:
            raise machines.NotStarted("Prometheus does not scrape the service, or an alert stands before the day began")
        await asyncio.sleep(0.2)


async def _live(
    hospital: machines.Hospital, traffic: Traffic, prometheus: int, phases: tuple[plan.Phase, ...], output: Path
) -> dict[str, Any]:
    await _quiet(prometheus)
    traffic.began = time.time()
    for phase in phases:
        await traffic.run(phase)
    recalibration: dict[str, Any] | None = None
    try:
        recalibration = await night.pass_night(hospital, traffic, output / "recalibration")
    except* (night.NightFailed, subprocess.CalledProcessError) as failed:  # what the day has shown stays true
        print(*failed.exceptions, sep="\n", file=sys.stderr)
    spans, curves = watching.seen(prometheus, traffic, EVALUATION)
    if recalibration:
        recalibration["compared"] = await night.compare(hospital, traffic)
    return {
        "phases": watching.attributed(traffic.phases, spans),
        "firing": spans,
        "curves": curves,
        "recalibration": recalibration,
    }


def main() -> None:
    """Run from the repository's root."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = Path(os.environ.get("CXR_SHARED_DATA") or "../shared/data")
    parser.add_argument("--bundle", type=Path, default=Path("artifacts/default"))
    parser.add_argument("--data", type=Path, default=shared / "chest_xrays")
    parser.add_argument("--output", type=Path, default=Path("reports/day"), help="folder of the report")
    parser.add_argument("--page", type=Path, default=Path("docs/day.md"))
    parser.add_argument("--prepare", action="store_true", help="make the attacked films, and stop")
    parser.add_argument("--night", action="store_true", help="the night alone; its report stands beside the day's")
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
    with (
        told.listening(),
        machines.Hospital(folder, parsed.bundle).open() as hospital,
        machines.alertmanager(folder, plan.FACTOR, told.port) as alerts,
        machines.prometheus(folder, plan.FACTOR, hospital.port, alerts, hospital.keys["prometheus"]) as prometheus,
    ):
        traffic = Traffic(hospital.url, hospital.keys["pacs"], pools, plan.FACTOR)
        lived = asyncio.run(
            _live(hospital, traffic, prometheus, plan.EVENING if parsed.night else plan.DAY, parsed.output)
        )
    ended = lived["phases"][-1]["to"]  # the comparison after it is no part of the day
    told_in_time = [{"hour": round(traffic.hours(one.pop("time")), 3), **one} for one in told.messages]
    if parsed.night and not lived["recalibration"]:
        raise SystemExit("the night failed; nothing was written")
    (page.write_night if parsed.night else page.write)(
        {
            "bundle": bundle.manifest.model_version,
            "factor": plan.FACTOR,
            "cores": os.cpu_count(),
            "seconds": time.monotonic() - began,
            **lived,
            "told": [one for one in told_in_time if one["hour"] <= ended],
            "record": hospital.run("verify-record"),
        },
        parsed.output,
        parsed.page,
    )


if __name__ == "__main__":
    main()
