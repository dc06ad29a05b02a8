"""Results -> a page (``docs/day.md``) and its picture: no number in them is typed by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

REPORT: Final = "day.json"
PICTURE: Final = "day.png"
COLOURS: Final = {"rejected": "#b2182b", "extreme": "#762a83", "not judged": "#2166ac"}
SAID: Final = {
    "rejected": "rejected, of those judged",
    "extreme": "extreme (over 1000 nats below the threshold)",
    "not judged": "not judged, of those sent",
}


def write(result: dict[str, Any], folder: Path, path: Path) -> None:
    """Write report and picture into the folder, and the page."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / REPORT).write_text(json.dumps(result, indent=1) + "\n")
    draw(result, folder / PICTURE)
    path.write_text(page(result))


def draw(result: dict[str, Any], path: Path) -> None:
    """Shares over 15 minutes above, the alerts as bands below, phases as columns of both."""
    alerts = list(dict.fromkeys(span["alert"] for span in result["firing"]))
    figure, (above, below) = plt.subplots(
        2, 1, figsize=(13, 7), sharex=True, height_ratios=[3, 0.5 + 0.35 * len(alerts)], layout="constrained"
    )
    for name, points in result["curves"].items():
        hours, shares = zip(*points, strict=True) if points else ((), ())
        above.plot(hours, shares, color=COLOURS[name], label=SAID[name], linewidth=1.4)
    above.set(ylabel="share of films, over 15 minutes", ylim=(0, None))
    above.legend(loc="upper right", fontsize=8)
    for row, alert in enumerate(alerts):
        spans = [(span["from"], span["to"] - span["from"]) for span in result["firing"] if span["alert"] == alert]
        below.broken_barh(spans, (row - 0.35, 0.7), color="#d6604d")
    below.set(yticks=range(len(alerts)), yticklabels=alerts, xlabel="hour of the day", ylim=(len(alerts) - 0.4, -0.6))
    for number, phase in enumerate(result["phases"]):
        middle = (phase["from"] + phase["to"]) / 2
        above.text(middle, 1.02, phase["name"], transform=above.get_xaxis_transform(), rotation=35, fontsize=8)
        for axis in (above, below):
            axis.axvspan(phase["from"], phase["to"], color="black", alpha=0.05 if number % 2 else 0, linewidth=0)
    below.set_xlim(0, result["phases"][-1]["to"])
    figure.savefig(path, dpi=100)
    plt.close(figure)


def page(result: dict[str, Any]) -> str:
    """The page, from the report alone."""
    phases = result["phases"]
    right = sum(phase["right"] for phase in phases)
    films = sum(sum(answers.values()) for phase in phases for answers in phase["films"].values())
    lines = [
        "# A day, measured",
        "",
        "<!-- Written by `make day` from reports/day/day.json. -->",
        "",
        f"The service with its default bundle ({result['bundle']}), Prometheus and Alertmanager with the configuration "
        f"of `deploy/`, and real films, on one machine ({result['cores']} cores; {result['seconds'] / 60:.0f} minutes in all). "
        f"Every duration of the rules is divided by {result['factor']}, and nothing else of them is changed: a second is a "
        "minute of the day, and a window of 15 minutes holds as many films as at a hospital that sends some four in a minute. "
        f"{films} films were posted, at times drawn at random; `benchmarks/day/films.py` says which.",
        "",
        f"**In {right} of {len(phases)} phases the right alerts began, and no others.**",
        "",
        "![shares of films and alerts over the day](../reports/day/day.png)",
        "",
        "| phase | hours | films and answers | must begin | began, minutes into the phase | ended, minutes after the phase | |",
        "|---|---|---|---|---|---|---|",
        *[_row(phase) for phase in phases],
        "",
        "An alert counts for the phase in which it begins; one that looks back over six hours ends that much later. What this "
        "does not show: limits in seconds (latency) are as they are, not divided; a film comes several times in a day, since "
        "there are only so many; and the attacks know nothing of the gate (of one that does, no alert tells: "
        "[runbook](runbook.md#which-of-the-three-is-it)).",
        "",
        *_told(result),
        *_recalibration(result["recalibration"]),
        "## The record",
        "",
        f"`cxr-gate verify-record`, afterwards: {result['record']}",
    ]
    return "\n".join(lines).rstrip() + "\n"


def _row(phase: dict[str, Any]) -> str:
    answers = "; ".join(
        f"{kind}: " + ", ".join(f"{count} {answer}" for answer, count in sorted(found.items()))
        for kind, found in phase["films"].items()
    )
    fired = phase["fired"]
    cells = [
        phase["name"],
        f"{phase['from']:.1f} to {phase['to']:.1f}",
        answers,
        ", ".join(phase["expected"]) or "none",
        ", ".join(f"{one['alert']} {one['minutes_after_begin']:.0f}" for one in fired) or "none",
        ", ".join(f"{one['alert']} {one['minutes_after_end']:.0f}" for one in fired),
        "right" if phase["right"] else "**wrong**",
    ]
    return f"| {' | '.join(cells)} |"


def _told(result: dict[str, Any]) -> list[str]:
    first: dict[str, dict[str, float]] = {}
    for message in result["told"]:
        if message["status"] == "firing":
            first.setdefault(message["alert"], {}).setdefault(message["receiver"], message["hour"])
    told = "; ".join(
        f"{alert} to {', '.join(f'{receiver} at {hour:.2f} h' for receiver, hour in receivers.items())}"
        for alert, receivers in first.items()
    )
    return ["## Who was told", "", f"First messages of Alertmanager, by its routes: {told}.", ""]


def _recalibration(done: dict[str, Any] | None) -> list[str]:
    if done is None:
        return ["## The new scanner's site, recalibrated", "", "**The night failed, so nothing was promoted.**", ""]
    report, review, site = done["report"], done["review"], done["site"]
    own = report["false_rejection"]
    shadow = done["shadow"]
    counts = "; ".join(
        f"{row['films']} {row['active']} by the base and {row['shadow']} by the shadow"
        for row in shadow["films"]
        if row["films"]
    )
    lines = [
        "## The new scanner's site, recalibrated",
        "",
        f"In the night a reviewer released {review['released']} films of the new scanner from the quarantine, confirmed "
        f"{review['confirmed']} attacked ones, and left {review['left pending']} others. The released films "
        f"({site['different released']} different ones) and those that had been accepted ({site['different accepted']}) went "
        f"into `cxr-offline recalibrate`: {report['site']['films']} films of {report['site']['patients']} patients. On these, "
        f"each held out, it counted {own['before']['rejected']} rejected before and {own['after']['rejected']} after "
        "([recalibration.txt](../reports/day/recalibration/recalibration.txt)).",
        "",
        f"`{report['model_version']}` then ran in shadow on the scanner's films: {counts}; "
        f"{shadow['dropped']} were not compared, and on {shadow['errors']} it failed. Then it was promoted.",
        "",
        "In the end every fresh film and every attack on fresh films (epsilon .02) was posted to both: to the promoted bundle "
        "and, after a roll-back, to the base. Of the patients of fresh films none went into the recalibration. The attacks are "
        "made at the size at which they are posted; those at 224x224 are made as `cxr-offline recalibrate` makes its own, by "
        "which it decides.",
        "",
        "| size | attack | films | base rejects | new bundle rejects |",
        "|---|---|---|---|---|",
    ]
    verdicts = []
    for compared in done["compared"]:
        for row in compared["judged"]:
            cells = [_rejected(row[which]) for which in ("base", "recalibrated")]
            lines.append(f"| {compared['size']} | {row['attack']} | {row['base']['films']} | {' | '.join(cells)} |")
        verdicts.append(_verdict(compared, report["threshold"]["target"]))
    return [*lines, "", *verdicts, ""]


def judge(compared: dict[str, Any]) -> tuple[float, float]:
    """False-rejection rate of the new bundle on clean films, and the most that it detects less of any attack; shares."""
    share = {
        which: {row["attack"]: row[which]["rejected"] / row[which]["films"] for row in compared["judged"]}
        for which in ("base", "recalibrated")
    }
    clean, *attacks = share["base"]
    lost = max(share["base"][attack] - share["recalibrated"][attack] for attack in attacks)
    return share["recalibrated"][clean], lost


def _verdict(compared: dict[str, Any], target: float) -> str:
    rejected, lost = judge(compared)
    off = 100 * (rejected - target)
    met = ["**missed**", "met"]
    return (
        f"- {compared['size']}: false rejection is {rejected:.1%}, {abs(off):.1f} points {'over' if off > 0 else 'under'} the "
        f"target of {target:.0%} (at most two over: {met[off <= 2]}; within two on either side: {met[abs(off) <= 2]}). "
        f"Of an attack at most {100 * lost:.1f} points are detected less (within two: {met[lost <= 0.02]})."
    )


def _rejected(found: dict[str, int]) -> str:
    others = f", {found['others']} not judged" if found["others"] else ""
    return f"{found['rejected'] / found['films']:.1%} ({found['rejected']}{others})"
