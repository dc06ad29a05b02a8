"""Results -> a page (``docs/day.md``) and its picture: no number in them is typed by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.patches import Patch

from offline.generated_tables import markdown_table

REPORT: Final = "day.json"
PICTURE: Final = "day.png"
#: The report of a night that was a run of its own (``--night``); it stands beside the day's.
NIGHT_REPORT: Final = "night.json"
COLOURS: Final = {"rejected": "#b2182b", "extreme": "#762a83", "not judged": "#2166ac"}
#: Whether the alert must begin in the phase -> colour of its bar.
ALERT_COLOURS: Final = {True: "#35978f", False: "#d6604d"}
SAID: Final = {
    "rejected": "rejected, of those judged",
    "extreme": "extreme (over 1000 nats below the threshold)",
    "not judged": "not judged, of those sent",
}


def write(result: dict[str, Any], folder: Path, path: Path) -> None:
    """Write a day's report and picture into the folder, and the page. A night of an earlier run goes, if this has its own."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / REPORT).write_text(json.dumps(result, indent=1) + "\n")
    draw(result, folder / PICTURE)
    if result["recalibration"]:
        (folder / NIGHT_REPORT).unlink(missing_ok=True)
    path.write_text(page(*read(folder)))


def write_night(result: dict[str, Any], folder: Path, path: Path) -> None:
    """Write the report of a night beside that of the day, which must be there, and the page of both."""
    (folder / NIGHT_REPORT).write_text(json.dumps(result, indent=1) + "\n")
    path.write_text(page(*read(folder)))


def read(folder: Path) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The report of the day, and of the night if that was a run of its own."""
    night = folder / NIGHT_REPORT
    return json.loads((folder / REPORT).read_text()), json.loads(night.read_text()) if night.exists() else None


def draw(result: dict[str, Any], path: Path) -> None:
    """Shares over 15 minutes above, the alerts as bands below, phases as columns of both."""
    alerts = list(dict.fromkeys(span["alert"] for span in result["firing"]))
    named = {alert: [phase for phase in result["phases"] if alert in phase["expected"]] for alert in alerts}
    figure, (above, below) = plt.subplots(
        2, 1, figsize=(13, 7), sharex=True, height_ratios=[3, 0.5 + 0.35 * len(alerts)], layout="constrained"
    )
    for name, points in result["curves"].items():
        hours, shares = zip(*points, strict=True) if points else ((), ())
        above.plot(hours, shares, color=COLOURS[name], label=SAID[name], linewidth=1.4)
    above.set(ylabel="share of films, over 15 minutes", ylim=(0, None))
    above.legend(loc="upper right", fontsize=8)
    for row, alert in enumerate(alerts):
        for span in (each for each in result["firing"] if each["alert"] == alert):
            right = any(phase["from"] <= span["from"] < phase["to"] for phase in named[alert])
            width = max(span["to"] - span["from"], result["phases"][-1]["to"] / 400)  # one evaluation is to be seen too
            below.broken_barh([(span["from"], width)], (row - 0.35, 0.7), color=ALERT_COLOURS[right], zorder=2)
    below.legend(
        handles=[
            Patch(color=ALERT_COLOURS[right], label=said)
            for right, said in ((True, "must begin there"), (False, "must not"))
        ],
        loc="lower left",
        fontsize=8,
    )
    below.set(yticks=range(len(alerts)), yticklabels=alerts, xlabel="hour of the day", ylim=(len(alerts) - 0.4, -0.6))
    for number, phase in enumerate(result["phases"]):
        middle = (phase["from"] + phase["to"]) / 2
        above.text(middle, 1.02, phase["name"], transform=above.get_xaxis_transform(), rotation=35, fontsize=8)
        for axis in (above, below):
            axis.axvspan(phase["from"], phase["to"], color="black", alpha=0.05 if number % 2 else 0, linewidth=0)
    below.set_xlim(0, result["phases"][-1]["to"])
    figure.savefig(path, dpi=100)
    plt.close(figure)


def page(result: dict[str, Any], night: dict[str, Any] | None) -> str:
    """The page, from the reports alone."""
    phases = result["phases"]
    right = sum(phase["right"] for phase in phases)
    films = sum(sum(answers.values()) for phase in phases for answers in phase["films"].values())
    lines = [
        "# A day, measured",
        "",
        "<!-- Written by `make day` from reports/day/day.json. -->",
        "",
        f"The service with bundle {result['bundle']}, Prometheus and Alertmanager with the configuration "
        f"of `deploy/`, and real films, on one machine ({result['cores']} cores; {result['seconds'] / 60:.0f} minutes in all). "
        f"Every duration of the rules is divided by {result['factor']}; nothing else of the rules is changed. So a second is a "
        "minute of the day, and a window of 15 minutes holds as many films as at a hospital that sends some four a minute. "
        f"{films} films were posted, at times drawn at random; `benchmarks/day/films.py` says which.",
        "",
        f"**In {right} of {len(phases)} phases the right alerts began, and no others.**",
        "",
        "![shares of films and alerts over the day](../reports/day/day.png)",
        "",
        _table(phases),
        "",
        "An alert counts for the phase in which it begins; one that looks back over six hours ends that much later. This day "
        "leaves some things out: limits in seconds (latency) are not divided; a film comes several times in a day, since there "
        "are only so many; and the attacks know nothing of the gate (no alert reports an attack that does: "
        "[runbook](runbook.md#which-of-the-three-is-it)).",
        "",
        *_load(phases),
        *_told(result),
        *_recalibration(result, night),
        "## The record",
        "",
        f"`cxr-gate verify-record`, after the day: {result['record']}",
        *(["", f"After the night: {night['record']}"] if night else []),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _table(phases: list[dict[str, Any]]) -> str:
    head = ["phase", "hours", "films and answers", "must begin", "began, minutes into the phase"]
    return markdown_table([*head, "ended, minutes after the phase", ""], [_row(phase) for phase in phases])


def _load(phases: list[dict[str, Any]]) -> list[str]:
    """What else the machine was busy with: films wait then, and the alerts of the service say so, which is no fault of theirs."""
    turned_away = sum(
        count
        for phase in phases
        for answers in phase["films"].values()
        for answer, count in answers.items()
        if answer.startswith("503")
    )
    loads = [phase["load"] for phase in phases if "load" in phase]
    said = []
    if turned_away:
        said.append(
            f"**Other work kept the machine busy, and {turned_away} films got 503**: that is why CxrLatencyHigh, "
            "CxrSaturated and CxrDown fired."
        )
    if loads:
        said.append(f"At the ends of the phases the load average was {min(loads):.1f} to {max(loads):.1f}.")
    return [" ".join(said), ""] if said else []


def _row(phase: dict[str, Any]) -> list[str]:
    answers = "; ".join(
        f"{kind}: " + ", ".join(f"{count} {answer}" for answer, count in sorted(found.items()))
        for kind, found in phase["films"].items()
    )
    fired = phase["fired"]
    return [
        phase["name"],
        f"{phase['from']:.1f} to {phase['to']:.1f}",
        answers,
        ", ".join(phase["expected"]) or "none",
        ", ".join(f"{one['alert']} {one['minutes_after_begin']:.0f}" for one in fired) or "none",
        ", ".join(f"{one['alert']} {one['minutes_after_end']:.0f}" for one in fired),
        "right" if phase["right"] else "**wrong**",
    ]


def _told(result: dict[str, Any]) -> list[str]:
    first: dict[str, dict[str, float]] = {}
    for message in result["told"]:
        if message["status"] == "firing":
            first.setdefault(message["alert"], {}).setdefault(message["receiver"], message["hour"])
    told = "; ".join(
        f"{alert} to {', '.join(f'{receiver} at {hour:.2f} h' for receiver, hour in receivers.items())}"
        for alert, receivers in first.items()
    )
    return ["## Who got which alert", "", f"First messages of Alertmanager, by its routes: {told}.", ""]


def _recalibration(day: dict[str, Any], night: dict[str, Any] | None) -> list[str]:
    title = ["## The new scanner's site, recalibrated", ""]
    done = (night or day)["recalibration"]
    if done is None:
        return [*title, "**The night failed, so nothing was promoted.**", ""]
    if night:
        title += [
            f"The night was a run of its own ({night['seconds'] / 60:.0f} minutes; `python -m benchmarks.day --night`), "
            "after an evening of the new scanner's films; the day's own night did not finish.",
            "",
            _table(night["phases"]),
            "",
            *_load(night["phases"]),
        ]
    report, review, site = done["report"], done["review"], done["site"]
    own = report["false_rejection"]
    shadow = done["shadow"]
    counts = "; ".join(
        f"{row['films']} {row['active']} by the base and {row['shadow']} by the shadow"
        for row in shadow["films"]
        if row["films"]
    )
    lines = [
        *title,
        f"In the night a reviewer released {review['released']} films of the new scanner from the quarantine, confirmed "
        f"{review['confirmed']} attacked ones, and left {review['left pending']} others. The released films "
        f"({site['different released']} different ones) and the accepted ones ({site['different accepted']}) went "
        f"into `cxr-offline recalibrate`: {report['site']['films']} films of {report['site']['patients']} patients. Of these, "
        f"each held out, the gate rejected {own['before']['rejected']} before and {own['after']['rejected']} after "
        "([recalibration.txt](../reports/day/recalibration/recalibration.txt)).",
        "",
        f"`{report['model_version']}` then ran in shadow on the scanner's films: {counts}; "
        f"{shadow['dropped']} were not compared, and on {shadow['errors']} it failed. Then it was promoted.",
        "",
        "In the end every fresh film and every attack on fresh films (epsilon .02) was posted to both: to the promoted bundle "
        "and, after a rollback, to the base. No patient of a fresh film went into the recalibration. The attacks are "
        "made at the size at which they are posted. Those at 224x224 are made like the attacks by which `cxr-offline "
        "recalibrate` decides.",
        "",
    ]
    rows, verdicts = [], []
    for compared in done["compared"]:
        for row in compared["judged"]:
            cells = [_rejected(row[which]) for which in ("base", "recalibrated")]
            rows.append([compared["size"], row["attack"], f"{row['base']['films']}", *cells])
        verdicts.append(_verdict(compared, report["threshold"]["target"]))
    head = ["size", "attack", "films", "base rejects", "new bundle rejects"]
    return [*lines, markdown_table(head, rows), "", *verdicts, ""]


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
        f"Detection of an attack falls by at most {100 * lost:.1f} points (within two: {met[lost <= 0.02]})."
    )


def _rejected(found: dict[str, int]) -> str:
    others = f", {found['others']} not judged" if found["others"] else ""
    return f"{found['rejected'] / found['films']:.1%} ({found['rejected']}{others})"
