"""The night after: films are reviewed, the gate is recalibrated, and the new bundle is taken into service."""

from __future__ import annotations

import asyncio
import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from benchmarks.day.machines import environment
from benchmarks.day.plan import NIGHT
from benchmarks.day.traffic import Sent, Traffic

REPORT: Final = Path("reports/day/recalibration")
TARGET: Final = 0.05
POINTS: Final = 0.02


def write_site(folder: Path, sent: list[Sent]) -> dict[str, int]:
    """The new scanner's films, rejected and accepted, each once, and their table for ``cxr-offline recalibrate``.

    Only released films would be the gate's own tail, and only accepted ones would leave it where it is.
    """
    counts = {"released": 0, "accepted": 0}
    rows = []
    for one in {one.film.name: one for one in sent if one.answer in ("200", "422")}.values():
        place = "accepted" if one.answer == "200" else "released"
        (folder / place).mkdir(parents=True, exist_ok=True)
        (folder / place / one.film.name).write_bytes(one.film.body)
        rows.append((f"{place}/{one.film.name}", one.film.patient))
        counts[place] += 1
    with (folder.with_suffix(".csv")).open("w", newline="") as stream:
        csv.writer(stream).writerows([("file", "patient"), *rows])
    return counts


def recalibrate(bundle: Path, site: Path, output: Path) -> dict[str, Any]:
    """Run ``cxr-offline recalibrate``; its JSON report.

    Raises
    ------
    CalledProcessError
        It failed, or refused.
    """
    command = [sys.executable, "-m", "offline.cli", "recalibrate", "--bundle", str(bundle), "--films", str(site)]
    command += ["--table", str(site.with_suffix(".csv")), "--output", str(output), "--report", str(REPORT)]
    subprocess.run(command, check=True, env=environment({}))
    report: dict[str, Any] = json.loads((REPORT / "recalibration.json").read_text())
    return report


async def pass_night(traffic: Traffic, bundle: Path, site: Path, output: Path, trial: str) -> dict[str, Any]:
    """Review and recalibrate while a few films come; what the report says of it."""
    done = asyncio.Event()

    async def work() -> dict[str, Any]:
        try:
            counts = write_site(site, [one for one in traffic.sent if one.phase == trial])
            return counts | {"report": await asyncio.to_thread(recalibrate, bundle, site, output)}
        finally:
            done.set()

    async with asyncio.TaskGroup() as group:
        group.create_task(traffic.run(NIGHT, done))
        working = group.create_task(work())
    return working.result()


async def judged(traffic: Traffic, which: str) -> dict[str, dict[str, Any]]:
    """Fresh films and the stored attacks, all of them once, as the bundle that is served judges them.

    Returns
    -------
    dict
        Name -> ``films``, ``rejected``, and ``others``: answers that are neither 200 nor 422.
    """
    sent = [
        one
        for kind in ("fresh", "attacked-fresh")
        for one in await traffic.all_of(f"{kind}, judged by the {which} bundle", kind)
    ]
    found: dict[str, dict[str, Any]] = {}
    for one in sent:
        row = found.setdefault(one.film.attack or "fresh, clean", {"films": 0, "rejected": 0, "others": 0})
        row["films"] += 1
        row["rejected"] += one.answer == "422"
        row["others"] += one.answer not in ("200", "422")
    return found


def compared(base: dict[str, dict[str, Any]], new: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Both bundles' judgements side by side, and whether the two promises hold."""
    rows = [
        {"name": name, "films": found["films"], "base": base[name], "recalibrated": found}
        for name, found in sorted(new.items(), key=lambda pair: (pair[0] != "fresh, clean", pair[0]))
    ]
    share = {row["name"]: row["recalibrated"]["rejected"] / row["films"] for row in rows}
    before = {row["name"]: row["base"]["rejected"] / row["films"] for row in rows}
    off = abs(share["fresh, clean"] - TARGET)
    lost = max(before[name] - share[name] for name in share if name != "fresh, clean")
    verdicts = [
        f"False rejection of fresh films: {share['fresh, clean']:.1%}, asked {TARGET:.0%}; within {POINTS * 100:.0f} points: "
        f"{'yes' if off <= POINTS else '**no**'}. Most detection lost: {100 * lost:.1f} points; "
        f"within {POINTS * 100:.0f}: {'yes' if lost <= POINTS else '**no**'}."
    ]
    return {"judged": rows, "verdicts": verdicts}
