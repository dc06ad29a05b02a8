"""The night after: films are reviewed, the gate is recalibrated, and the new bundle is taken into service."""

from __future__ import annotations

import asyncio
import csv
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import httpx

from benchmarks.day import plan
from benchmarks.day.films import Posted
from benchmarks.day.machines import Hospital, environment
from benchmarks.day.traffic import Sent, Traffic

PAGE: Final = 500  # films of the quarantine that are listed at once
CLEAN: Final = "none: clean"
#: How films come -> kinds of clean and attacked ones.
SIZES: Final = {"512x512, as they come": ("fresh", "attacked-fresh"), "224x224": ("fresh-224", "attacked-fresh-224")}


class NightFailed(Exception):
    """A step did not do what it should."""


def review(hospital: Hospital, sent: list[Sent]) -> dict[str, int]:
    """Release the new scanner's rejected films, confirm the attacked ones, and leave the others to another day.

    Somebody would look at them; here it is known what they are. Reviewers and services know films by their ids alone.
    """
    wanted = {"scanner": "release", "attacked": "confirm"}
    of_id = {one.request_id: wanted[one.kind] for one in sent if one.answer == "422" and one.kind in wanted}
    reasons = {"release": "a clean film of the new scanner", "confirm": "grain that no scanner makes"}
    done = {"released": 0, "confirmed": 0, "left pending": 0}
    with hospital.caller("reviewer") as client:
        listed: list[str] = []
        before: str | None = ""
        while before is not None:
            page = _of(client.get("/v1/quarantine", params={"state": "pending", "limit": str(PAGE)} | _before(before)))
            listed += [film["id"] for film in page["films"]]
            before = page["next"]
        for film in listed:
            if action := of_id.get(film):
                _of(client.post(f"/v1/quarantine/{film}/{action}", json={"reason": reasons[action]}))
            done[{"release": "released", "confirm": "confirmed"}.get(action or "", "left pending")] += 1
    if missing := of_id.keys() - set(listed):
        raise NightFailed(f"{len(missing)} rejected films are not in the quarantine")
    return done


def _before(film: str) -> dict[str, str]:
    return {"before": film} if film else {}


def _of(response: httpx.Response) -> Any:
    if response.status_code != 200:
        raise NightFailed(f"{response.request.url.path}: {response.text}")
    return response.json()


def write_site(hospital: Hospital, folder: Path, sent: list[Sent]) -> dict[str, int]:
    """The new scanner's films, released and accepted, each once, and their table for ``cxr-offline recalibrate``.

    Only released films would be the gate's own tail, and only accepted ones would leave it where it is. Whose a film is says
    the hospital's archive, which knows it by its bytes.
    """
    exported = folder.with_name("released")
    hospital.run("export-quarantine", "--state", "released", "--out", str(exported))
    known = {_digest(one.film.body): one.film for one in sent if one.kind == "scanner"}
    released = {known[_digest(path.read_bytes())].name for path in exported.iterdir()}
    accepted = {one.film.name for one in sent if one.kind == "scanner" and one.answer == "200"}
    films: dict[str, Posted] = {film.name: film for film in known.values()}
    rows = []
    for place, names in (("released", released), ("accepted", accepted)):
        (folder / place).mkdir(parents=True)
        for name in sorted(names):
            (folder / place / name).write_bytes(films[name].body)
            rows.append((f"{place}/{name}", films[name].patient))
    with folder.with_suffix(".csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("file", "patient"), *rows])
    return {"different released": len(released), "different accepted": len(accepted)}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def recalibrate(bundle: Path, site: Path, output: Path, report_folder: Path) -> dict[str, Any]:
    """Run ``cxr-offline recalibrate``; its JSON report, with the new bundle's version.

    Raises
    ------
    CalledProcessError
        It failed, or refused.
    """
    site, output = (
        Path(os.path.relpath(path)) for path in (site, output)
    )  # the report repeats the command, and is committed
    command = [sys.executable, "-m", "offline.cli", "recalibrate", "--bundle", str(bundle), "--films", str(site)]
    command += ["--table", str(site.with_suffix(".csv")), "--output", str(output), "--report", str(report_folder)]
    subprocess.run(command, check=True, env=environment({}))
    report: dict[str, Any] = json.loads((report_folder / "recalibration.json").read_text())
    return report | {"model_version": json.loads((output / "manifest.json").read_text())["model_version"]}


async def pass_night(hospital: Hospital, traffic: Traffic, report_folder: Path) -> dict[str, Any]:
    """Review, recalibration, shadow and promotion; what each of them said."""
    site, output = hospital.folder / "site", hospital.bundles / "recalibrated"
    done = asyncio.Event()

    def work() -> dict[str, Any]:
        found = {"review": review(hospital, traffic.sent)}
        found["site"] = write_site(hospital, site, traffic.sent)
        return found | {"report": recalibrate(hospital.bundle, site, output, report_folder)}

    async def working() -> dict[str, Any]:
        try:
            return await asyncio.to_thread(work)
        finally:
            done.set()

    async with asyncio.TaskGroup() as group:
        group.create_task(traffic.run(plan.NIGHT, done))
        task = group.create_task(working())
    found = task.result()
    version = found["report"]["model_version"]
    await _operate(hospital, "POST", f"/v1/versions/{version}/shadow")
    await traffic.run(plan.SHADOW)
    found["shadow"] = (await _operate(hospital, "GET", "/v1/versions"))["comparison"]
    await _operate(hospital, "POST", f"/v1/versions/{version}/promote")
    await traffic.run(plan.PROMOTED)
    await traffic.run(plan.ATTACKED_AGAIN)
    return found


async def compare(hospital: Hospital, traffic: Traffic) -> list[dict[str, Any]]:
    """Fresh films and attacks on them, judged by the promoted bundle and, after a roll-back, by the base; for each size."""
    new = {size: await _judged(traffic, kinds, "recalibrated") for size, kinds in SIZES.items()}
    await _operate(hospital, "POST", "/v1/versions/rollback")
    base = {size: await _judged(traffic, kinds, "base") for size, kinds in SIZES.items()}
    return [
        {
            "size": size,
            "judged": [
                {"attack": name, "base": base[size][name], "recalibrated": new[size][name]}
                for name in sorted(new[size], key=lambda name: (name != CLEAN, name))
            ],
        }
        for size in SIZES
    ]


async def _operate(hospital: Hospital, method: str, path: str) -> Any:
    def call() -> Any:
        with hospital.caller("operator") as client:
            return _of(client.request(method, path))

    return await asyncio.to_thread(call)


async def _judged(traffic: Traffic, kinds: tuple[str, ...], which: str) -> dict[str, dict[str, int]]:
    """Attack -> ``films``, ``rejected``, and ``others``: answers that are neither 200 nor 422."""
    found: dict[str, dict[str, int]] = {}
    for kind in kinds:
        for one in await traffic.all_of(f"{kind}, by the {which} bundle", kind):
            row = found.setdefault(one.film.attack or CLEAN, {"films": 0, "rejected": 0, "others": 0})
            row["films"] += 1
            row["rejected"] += one.answer == "422"
            row["others"] += one.answer not in ("200", "422")
    return found
