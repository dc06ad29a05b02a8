"""The deployed configuration of Prometheus and Alertmanager with every duration divided, and nothing else changed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import yaml

DEPLOYED: Final = Path("deploy")
RULE_FILES: Final = ("recording.yml", "alerts.yml")
MILLISECONDS: Final = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
#: Durations of PromQL stand in brackets or behind `offset`; seconds by which a rate of five minutes becomes a count do too.
IN_EXPRESSION: Final = re.compile(r"(?<=\[)\d+[smhd](?=\])|(?<=offset )\d+[smhd]\b")
SECONDS_OF_RATE: Final = re.compile(r"(?<=\* )300\b")
#: Options of Prometheus' command line: how old a sample may be, and how often an alert is sent again.
LOOKBACK: Final = "5m"
RESEND: Final = "1m"


def shorter(duration: str, factor: int) -> str:
    """A duration divided: ``15m`` by 60 is ``15000ms``.

    Raises
    ------
    ValueError
        It is no duration of one unit, or not a whole number of milliseconds afterwards.
    """
    found = re.fullmatch(r"(\d+)(ms|s|m|h|d)", duration)
    if not found:
        raise ValueError(f"{duration!r} is no duration of one unit")
    whole, rest = divmod(int(found[1]) * MILLISECONDS[found[2]], factor)
    if rest:
        raise ValueError(f"{duration} divided by {factor} is no whole number of milliseconds")
    return f"{whole}ms"


def expression(promql: str, factor: int) -> str:
    """An expression with its windows and offsets divided."""
    divided = IN_EXPRESSION.sub(lambda found: shorter(found[0], factor), promql)
    return SECONDS_OF_RATE.sub(f"{300 / factor:g}", divided)


def rules(content: dict[str, Any], factor: int) -> dict[str, Any]:
    """A file of rules, parsed from YAML."""
    groups = []
    for group in content["groups"]:
        changed = {name: shorter(group[name], factor) for name in ("interval",) if name in group}
        each = [
            rule
            | {"expr": expression(rule["expr"], factor)}
            | {name: shorter(rule[name], factor) for name in ("for", "keep_firing_for") if name in rule}
            for rule in group["rules"]
        ]
        groups.append(group | changed | {"rules": each})
    return {"groups": groups}


def write_prometheus(folder: Path, factor: int, service: int, alertmanager: int, key: str) -> Path:
    """Write configuration and rules for one service, and return the configuration's path.

    Parameters
    ----------
    service, alertmanager : int
        Ports on this machine.
    key : str
        With which the service lets its metrics be read.
    """
    deployed = yaml.safe_load((DEPLOYED / "prometheus" / "prometheus.yml").read_text())
    gate = next(job for job in deployed["scrape_configs"] if job["job_name"] == "cxr-gate")
    gate["static_configs"] = [{"targets": [f"127.0.0.1:{service}"]}]
    gate["authorization"] = {"credentials": key}
    deployed["scrape_configs"] = [gate]
    deployed["alerting"]["alertmanagers"] = [{"static_configs": [{"targets": [f"127.0.0.1:{alertmanager}"]}]}]
    deployed["global"] = {name: shorter(duration, factor) for name, duration in deployed["global"].items()}
    for name in RULE_FILES:
        content = yaml.safe_load((DEPLOYED / "prometheus" / name).read_text())
        (folder / name).write_text(yaml.safe_dump(rules(content, factor), sort_keys=False, width=200))
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(deployed, sort_keys=False))
    return path


def write_alertmanager(folder: Path, factor: int, told: int) -> Path:
    """Write the routes with a web hook in place of each address; the hook's path is the receiver's name."""
    deployed = yaml.safe_load((DEPLOYED / "alertmanager" / "alertmanager.yml").read_text())
    _shorten_route(deployed["route"], factor)
    for receiver in deployed["receivers"]:
        del receiver["email_configs"]
        receiver["webhook_configs"] = [{"url": f"http://127.0.0.1:{told}/{receiver['name']}", "send_resolved": True}]
    del deployed["global"]
    path = folder / "alertmanager.yml"
    path.write_text(yaml.safe_dump(deployed, sort_keys=False))
    return path


def _shorten_route(route: dict[str, Any], factor: int) -> None:
    for name in ("group_wait", "group_interval", "repeat_interval"):
        if name in route:
            route[name] = shorter(route[name], factor)
    for child in route.get("routes", []):
        _shorten_route(child, factor)
