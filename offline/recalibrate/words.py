"""A recalibration in words: for the terminal, the text report and the model card. Every number is the JSON report's."""

from __future__ import annotations

from typing import Any


def sentences(content: dict[str, Any]) -> list[str]:
    """The text report, line by line."""
    site, threshold, clean = content["site"], content["threshold"], content["false_rejection"]
    weight = content["estimator"]["pseudo_films"]
    people = "patients not told" if site["patients"] is None else f"{site['patients']} patients"
    lines = [
        f"Recalibration of {content['base_version']}: {site['films']} films ({people})"
        + (f"; {site['repeats_left_out']} repeats left out" if site["repeats_left_out"] else ""),
        f"Gaussian: of the site's films and the base's, which counts as {weight} films",
        f"Threshold: from {threshold['before']:.1f} to {threshold['after']:.1f} nats, for {threshold['target']:.1%} of clean "
        f"films like these; below some {threshold['bound']:.1%} with 95 % confidence",
        f"Films rejected, each held out from the Gaussian that judges it: before {_rate(clean['before'], clean['films'])}, "
        f"after {_rate(clean['after'], clean['films'])} (which set the threshold)",
    ]
    for row in content["groups"]:
        lines.append(
            f"  {row['group']}: before {_rate(row['before'], row['films'])}, after {_rate(row['after'], row['films'])}"
        )
    if content["groups"]:
        lines.append(
            "  The bundle has one threshold for all groups; the report has these rates, but nothing evens them out."
        )
    for row in content["detection"]:
        was, now = row["before"], row["after"]
        lines.append(
            f"{row['attack']}, detected of {row['films']}: before {was['detected']}, after {now['detected']}; "
            f"area under the ROC curve {was['auroc']:.3f}, {now['auroc']:.3f}"
        )
    lines += [f"{one['name']}: {one['words']}" for one in content["evidence"]]
    lines += [f"REFUSED: {reason}" for reason in content["refusals"]]
    return lines


def model_card(base: str, content: dict[str, Any]) -> str:
    """The base's card with a section on the recalibration first."""
    title, _, rest = base.partition("\n")
    section = [
        "",
        "## Recalibrated for a site",
        "",
        "The gate is no longer the one that the sections below measure: its Gaussian and threshold were moved to a site's "
        "own clean films. The network, its probabilities and its calls are the base's, and were not measured on the site. "
        f"From `report/recalibration.json`, written by `{content['command'] or 'cxr-offline recalibrate'}`:",
        "",
        *(f"- {line.strip()}" for line in sentences(content)),
        "",
        f"SHA-256 over the site's films: `{content['site']['sha256']}`.",
        "",
        "What the films were is the site's word. A poisoner who knows the gate passes the checks for attacked films "
        "(docs/recalibration.md has figures).",
    ]
    return "\n".join([title, *section, rest])


def _rate(one: dict[str, Any], films: int) -> str:
    return f"{one['value']:.1%} ({one['rejected']} of {films}; {one['low']:.1%} to {one['high']:.1%})"
