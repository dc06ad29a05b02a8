"""MODEL_CARD.md, from the run's own records: no number is typed by hand."""

from __future__ import annotations

from typing import Any, Final, get_args

from ..attacks.goals import CallGoal, Goal
from ..evaluation.adaptive import STARTS, STEEPEST, STRIDES
from ..training.harden import HARDENED


def model_card(
    fields: dict[str, Any],
    report: dict[str, Any] | None,
    turned: dict[str, Any],
    shown: dict[str, Any],
    calls: dict[str, Any],
) -> str:
    """Markdown of the card.

    `fields` are those of the manifest, `turned` and `shown` the records of orientation and content, and `calls` is what
    ``measure_calls`` found.
    """
    gate, provenance = fields["gate"], fields["provenance"]
    parts = [
        "# Model card: DenseNet-121 with a Gaussian gate\n",
        "**Not a medical device.** Made for research and engineering. No diagnosis, triage or treatment may rest on it.\n",
        "## What it is\n",
        f"DenseNet-121 (float32, grey 224x224, pixels in [0,1]) giving {len(fields['findings'])} ChestX-ray14 findings, "
        "and a multivariate Gaussian "
        f"on {_seen(gate)} (Li & Zhu, ISBI 2020) that rejects an image whose log density is under a "
        "threshold. Both are given the exposed field of a film: borders, bars, collimation and shutters are left out.\n",
        "## What it was made from\n",
        f"- {_trained(provenance)}, the Gaussian fitted on {gate['n']} training films{_variants(gate)} ({gate['shrinkage']}).\n"
        "- The films are labelled by text mining of reports, and are a selection: prevalences are not a hospital's.\n"
        f"- SHA-256 of names, labels and split: `{provenance['data_sha256']}`.\n",
        "## The threshold\n",
        f"Rule: {gate['threshold_rule']}; target false-rejection rate {gate['target_false_rejection_rate']:.1%}, from "
        f"{gate['calibration_n']} clean calibration films. With 95 % confidence the rate on films like these is below "
        f'{gate["calibration_bound"]:.1%}. Another site, scanner or file format is not "films like these": calibrate there.\n',
    ]
    parts += [*_called(fields, calls), *_turned(turned), *_shown(shown)]
    if report is None:
        return "\n".join([*parts, "## Measured\n\nNot evaluated: run `cxr-offline evaluate` before `export`.\n"])
    return "\n".join([*parts, *_measured(fields, report), *_aimed(report), *_limits(fields["gate"], report)])


def _variants(gate: dict[str, Any]) -> str:
    count = gate.get("variants")
    if not count:
        return ""
    weight = gate.get("variant_weight") or 1
    return f" and {count} copies of each under harmless changes" + (
        f" (each counting as {weight:g})" if weight != 1 else ""
    )


def _trained(provenance: dict[str, Any]) -> str:
    start, epochs = provenance["initial_weights"], f"{provenance['epochs']} epochs (seed {provenance['seed']})"
    if start.startswith(HARDENED):
        return f"Hardened against small attacks (`cxr-offline harden`) for {epochs} from network {start.removeprefix(HARDENED)}"
    return f"Fine-tuned for {epochs} from `{start}`"


def _seen(gate: dict[str, Any]) -> str:
    if gate.get("watch"):
        return (
            f"mean and deviation of each channel after {gate['watch']} of a second network, the watch, which was not "
            "hardened"
        )
    return "its 1024 features"


def _called(fields: dict[str, Any], calls: dict[str, Any]) -> list[str]:
    error, brier = calls["calibration_error"], calls["brier"]
    lines = [
        "## Calls\n",
        "A probability is calibrated on held-out films, and holds where a finding is as frequent as the table says. A finding is "
        "called *present* from one probability and *absent* below another; between them it is *indeterminate*. The points were "
        "put on held-out films so that of films without the finding few are called present. The band between them is as wide as "
        "what an attacker who knows everything moves the logit within 2/255 on 95 % of films (95 % confidence), unless the table "
        "says otherwise.\n",
        f"On {calls['films']} test films: {_told(calls['indeterminate'], '.1%')} of the answers are indeterminate. On the "
        f"{calls['films_without_findings']} films without findings "
        f"{_told(calls['false_calls_on_a_film_without_findings'], '.2f')} findings are called present on average, and "
        f"{_told(calls['films_without_findings_with_a_call'], '.0%')} of these films have one or more.\n",
        f"Calibration error (15 adaptive bins, films weighted to these prevalences, mean over findings): "
        f"{error['calibration_error']:.3f}; before calibration {error['calibration_error_before']:.3f}; a perfect calibration "
        f"would show {error['calibration_error_of_chance']:.3f} on so few films. Brier score {brier['brier']:.4f}, before "
        f"{brier['brier_before']:.4f}. Source: `report/calls-report.json`, drawn in "
        "`report/calls.png` and `report/reliability.png`.\n",
        "| finding | prevalence | present from | absent below | held-out films with it | test films with it | called present of "
        "these | called absent of these | specificity on test films | its lower bound |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for finding, row in zip(fields["findings"], calls["findings"], strict=True):
        cells = [finding["name"], f"{finding['prevalence']:.2%}"]
        if row["called"]:
            cells += [_number(finding["present_from"]), _number(finding["absent_below"])]
        else:
            cells += ["not called", ""]
        cells += [str(finding["held_out_positives"]), str(row["positives"])]
        cells += [_share(row.get(name)) for name in ("sensitivity", "missed", "specificity", "specificity_lower_bound")]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, "\nA finding that too few held-out films have is not called.\n"]


def _told(value: float | None, form: str) -> str:
    return "n/a" if value is None else format(value, form)


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"


def _turned(turned: dict[str, Any]) -> list[str]:
    lines = [
        "## Turned and inverted films\n",
        f"A linear model on the 1024 features of the network that answers, fitted on {turned['n']} training films in every "
        "sense, refuses what looks turned "
        "or inverted (400, not 422: a sender can mend it) before the gate speaks. It was chosen on no attack, and says nothing "
        f"of an image whose log density is under {turned['least_log_density']:.0f} nats. On the test films, each so turned:\n",
        "| the film is | films | refused as such | rejected by the gate | passed |",
        "|---|---|---|---|---|",
    ]
    for sense, row in turned["test"].items():
        lines.append(f"| {sense} | {row['films']} | {row['unsuitable']} | {row['rejected']} | {row['passed']} |")
    return [*lines, ""]


def _shown(shown: dict[str, Any]) -> list[str]:
    lines = [
        "## What is no frontal chest film\n",
        "A small network and a subspace look at the image reduced to 32x32, and refuse what they take for a lateral or for no "
        f"chest film (400, before the gate speaks). They were fitted on {shown['n']} training films, on projections of the CT "
        f"of one patient ({shown['source']}), frontal and lateral, and on drawn pictures; on no real lateral and no attack. "
        "Obliques were left out: some are refused, some are not.\n",
        "| images | number | refused as a lateral | refused as no frontal chest film | not refused |",
        "|---|---|---|---|---|",
    ]
    for name, row in shown["counts"].items():
        lines.append(f"| {name} | {row['images']} | {row['lateral']} | {row['other']} | {row['passed']} |")
    return [*lines, ""]


def _measured(fields: dict[str, Any], report: dict[str, Any]) -> list[str]:
    low, high = report["mean_auroc_interval"]
    reject_low, reject_high = report["false_rejection_rate_interval"]
    lines = [
        f"## Measured on {report['test_n']} test films of {report['test_patients']} other patients\n",
        "Intervals are 95 % bootstraps over patients. Source: `report/report.json`, written by `cxr-offline evaluate`.\n",
        f"- Mean AUROC {report['mean_auroc']:.3f} ({low:.3f} to {high:.3f})",
        f"- False-rejection rate {report['false_rejection_rate']:.1%} ({reject_low:.1%} to {reject_high:.1%}), "
        f"{report['false_rejections']} of {report['test_n']} clean films\n",
        "| attack (white-box, unaware of the gate) | steps | detected | top finding flipped | flipped and accepted |",
        "|---|---|---|---|---|",
    ]
    for name, row in report["attacks"].items():
        lines.append(
            f"| {name} | {row['steps']} | {row['detection_rate']:.1%} ({row['detected']} of {row['n']}) | "
            f"{row['flip_rate']:.1%} | {row['evasion_rate']:.1%} |"
        )
    lines += ["\n| group | n | false-rejection rate |", "|---|---|---|"]
    for group, row in report["false_rejection_rate_by_group"].items():
        lines.append(f"| {group} | {row['n']} | {row['false_rejection_rate']:.1%} |")
    return [*lines, ""]


#: What is passed with, in the order of the columns.
COLUMNS: Final[dict[Goal, str]] = {
    "absent-to-present": "to turn absent into present: passed",
    "present-to-absent": "to turn present into absent: passed",
    "hide": "to hide a finding: passed",
    "invent": "to invent one: passed",
}


def aimed_table(rows: list[dict[str, Any]]) -> list[str]:
    """Attackers with a goal, of a report's ``aimed``: those who pass, and how far the probability moves."""
    goals = [goal for goal in COLUMNS if any(row["goal"] == goal for row in rows)]
    lines = [
        f"| attacker | knows the gate | largest change of a pixel | {' | '.join(COLUMNS[goal] for goal in goals)} |",
        "|---|---|---|" + "---|" * len(goals),
    ]
    cells: dict[tuple[str, bool, float], dict[str, str]] = {}
    for row in rows:
        share = (
            f"{row['evaded'] / row['eligible']:.0%} ({row['evaded']} of {row['eligible']}; {row['probability_change']:.3f})"
            if row["eligible"]
            else "n/a"
        )
        cells.setdefault((row["attacker"], row["informed"], row["epsilon"]), {})[row["goal"]] = share
    for (name, informed, epsilon), shares in cells.items():
        line = " | ".join(shares.get(goal, "") for goal in goals)
        lines.append(f"| {name} | {'yes' if informed else 'no'} | {epsilon * 255:.3g}/255 | {line} |")
    return lines


def _aimed(report: dict[str, Any]) -> list[str]:
    if not report.get("aimed"):
        return []
    return [
        "## Attackers with a goal\n",
        "*minimal* does not know the gate and stops at the first 8-bit image that reaches its goal; *selective* knows network, "
        "gate and threshold. *Hide* brings the finding furthest over its operating point under it, *invent* the one nearest "
        f"under its point over it. {_on_calls(report)}Each of these two has {report['aimed_steps']} steps. Passed: goal "
        "reached, and accepted; in brackets also by how much the attack moves the probability of the finding, on average.\n",
        *aimed_table(report["aimed"]),
        "",
        *_steepest(report["aimed"]),
    ]


def _steepest(rows: list[dict[str, Any]]) -> list[str]:
    """What the attacker who wants a goal alone came to, whether he was accepted or not."""
    found = [row for row in rows if row["attacker"] == STEEPEST]
    if not found:
        return []
    reached = "; ".join(
        f"{row['goal'].replace('-to-', ' to ')} within {row['epsilon'] * 255:.3g}/255 on {row['goal_reached']} "
        f"of {row['eligible']}"
        for row in found
    )
    return [
        f"*Steepest* wants the goal alone, accepted or not, in {STRIDES} long steps from each of {STARTS} starts: whoever must "
        f"also pass the gate goes no further. He reached {reached} films.\n"
    ]


def _on_calls(report: dict[str, Any]) -> str:
    if not any(row["goal"] in get_args(CallGoal) for row in report["aimed"]):
        return ""
    return (
        "Both are about one operating point of each finding, not calibrated. *Absent into present* and *present into absent* "
        "are about the calls, and take the finding whose logit has the shortest way across its band, in widths of that band. "
    )


def _limits(gate: dict[str, Any], report: dict[str, Any]) -> list[str]:
    if report.get("aimed"):
        attackers = (
            "- **An attacker who knows the gate, or who stops at the first flip, passes as the table says**, and may pass more "
            "often with more steps, more starts or an idea that was not tried."
        )
    else:
        attackers = (
            "- These attacks overshoot and know nothing of the gate. **Expect an attacker who "
            "knows the gate, or who stops at the first flip, to pass it**: every medical detector so far has been evaded so "
            "(Yao et al. 2312.01679, Levy et al. 2201.08661). This bundle was not measured against them."
        )
    return [
        "## Limits\n",
        attackers,
        "- Noise, gamma, JPEG and small turns of ordinary strength were fitted on; other changes, and other scanners, raise "
        "false rejection."
        if gate.get("variants")
        else "- Harmless changes (noise, gamma, rotation) raise false rejection severalfold.",
        "- Frontal films of people only. Children, devices and rare findings are thin in the training films.",
        "- A rejected image is mostly a clean one: at one attack in 10,000 films, at most .2 % of rejections are attacks.\n",
    ]


def _number(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"
