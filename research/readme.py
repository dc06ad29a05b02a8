"""The figures of README.md and docs/results.md, from committed reports: ``python -m research.readme`` fills them in.

The README's answer is that of the served bundle for pydicom's film; no number is typed by hand.
"""

from __future__ import annotations

import json
import math
import re
import textwrap
from pathlib import Path
from typing import Final

import torch
from pydicom.data import get_testdata_file

from app.pipeline import LABELS, Screener, Verdict, decode, film_tensor, read_bundle, torch_backend
from app.pipeline.bundle import REPORT
from app.pipeline.image import INPUT_SIDE
from offline.bundles.measured import report_of
from offline.bundles.model_card import aimed_table
from offline.generated_tables import filled, markdown_table
from offline.report.reading import AimedRow, Evaluation
from offline.report.words import share_of, strength, text
from offline.run import Run


def figures(bundle: Path) -> str:
    """Markdown of the table, from ``report/report.json`` and ``report/calls-report.json`` of the bundle."""
    report, calls = report_of(bundle), Run(bundle / REPORT).calls_report.read()
    target = json.loads((bundle / "manifest.json").read_text())["gate"]["target_false_rejection_rate"]
    low, high = report.mean_auroc_interval
    reject_low, reject_high = report.false_rejection_rate_interval
    lines = [
        f"| on {report.test_n} test films of {report.test_patients} patients | | 95 % interval |",
        "|---|---|---|",
        f"| mean AUROC over {len(LABELS)} findings | {report.mean_auroc:.3f} | {low:.3f} to {high:.3f} |",
        f"| clean films rejected (asked: {100 * target:g} %) | {report.false_rejection_rate:.1%} | "
        f"{reject_low:.1%} to {reject_high:.1%} |",
        f"| findings called present on a film without findings, mean | {calls['false_calls_on_a_film_without_findings']:.2f} | |",
        f"| films without findings with one or more | {calls['films_without_findings_with_a_call']:.0%} | |",
        f"| answers that are indeterminate | {calls['indeterminate']:.1%} | |",
    ]
    shares = [f"{name.split()[0]} {row.detected} of {row.n}" for name, row in report.attacks.items()]
    lines.append(f"| the paper's attacks at .02, detected | {', '.join(shares)} | |")
    return "\n".join(lines)


def aimed(bundle: Path) -> str:
    """Markdown of attackers with a goal against the served bundle, from its own report: the model card's table."""
    return aimed_table(report_of(bundle).aimed)


COLUMNS: Final = {
    "absent-to-present": "turns absent into present",
    "present-to-absent": "turns present into absent",
    "hide": "hides a finding",
    "invent": "invents one",
}
SHOWN_BUDGETS = (1 / 255,)  # what passes within this passes within any larger one


def attackers(report: Path) -> str:
    """Markdown of the attackers who pass the paper's gate, from ``evaluation.json`` of a whole experiment."""
    evaluation = Evaluation.model_validate_json((report / "evaluation.json").read_bytes())
    shown = [row for row in evaluation.aware if row.finding_choice != "random"]
    columns = {goal: title for goal, title in COLUMNS.items() if any(row.goal == goal for row in shown)}
    cells: dict[tuple[str | None, bool | None, int | None, float | None], dict[str | None, AimedRow]] = {}
    for row in shown:
        if any(math.isclose(row.epsilon or 0, budget) for budget in SHOWN_BUDGETS):
            cells.setdefault((row.attacker, row.informed, row.size, row.epsilon), {})[row.goal] = row
    lines = []
    for (name, informed, size, epsilon), found in cells.items():
        where = "" if size == INPUT_SIDE else f", on {size} pixel films"
        passed = [share_of(found[goal].evaded, found[goal].eligible) if goal in found else "" for goal in columns]
        lines.append([f"{name}{where}", text(informed), strength(epsilon), *passed])
    for one in evaluation.substitutes:
        for transfer in one.transfer:
            passed = [f"{share_of(transfer.passed, transfer.films)}: either", *[""] * (len(columns) - 1)]
            who = f"MIM on an outsider's {one.arch}, from {one.learned_from}"
            lines.append([who, "no", strength(transfer.epsilon), *passed])
    return markdown_table(["attacker", "knows the gate", "epsilon", *columns.values()], lines)


def answer(bundle: Path, film: Path, request_id: str) -> str:
    """The JSON that the service answers about a film, as people can read it; probabilities to four digits."""
    read = read_bundle(bundle)
    image = decode(film.read_bytes())
    screener = Screener(read, torch_backend(read.network, torch.device("cpu")))
    (verdict,) = screener.screen(film_tensor(image))
    if not isinstance(verdict, Verdict) or verdict.probabilities is None:
        raise ValueError(f"{film.name} is not accepted by {bundle}")
    findings = read.calls.of(verdict.probabilities)
    calls = {
        one.name: {
            "call": one.call,
            "present_from": _four_digits(one.present_from),
            "absent_below": _four_digits(one.absent_below),
            "percentile": one.percentile,
        }
        for one in findings
    }
    rest = {
        "source_kind": image.source_kind,
        "exposed_field": image.field.as_json(),
        "notes": list(image.notes),
    }
    first = {"request_id": request_id, "model_version": read.manifest.model_version, "verdict": "accepted"}
    lines = [
        "{",
        f"  {json.dumps(first)[1:-1]},",
        '  "probabilities": {',
        *_wrapped({one.name: _four_digits(one.probability) for one in findings}),
        "  },",
        '  "calls": {',
        ",\n".join(f"    {json.dumps(name)}: {json.dumps(call)}" for name, call in calls.items()),
        "  },",
        ",\n".join(f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in rest.items()),
        "}",
    ]
    return "\n".join(lines)


def _four_digits(number: float | None) -> float | None:
    return None if number is None else float(f"{number:.4g}")


def _wrapped(numbers: dict[str, float | None]) -> list[str]:
    text = ", ".join(f"{json.dumps(name)}: {number}" for name, number in numbers.items())
    return textwrap.wrap(text, 124, initial_indent="    ", subsequent_indent="    ")


def filled_readme(document: str, root: Path) -> str:
    """README.md with its figures and its answer anew."""
    bundle = root / "artifacts" / "default"
    (shown,) = re.findall(r"^```json\n(.*?)^```", document, re.MULTILINE | re.DOTALL)
    film = get_testdata_file("RG1_UNCR.dcm")
    made = answer(bundle, Path(str(film)), json.loads(shown)["request_id"])
    return filled(document.replace(shown, made + "\n"), {"figures": figures(bundle)})


def filled_results(document: str, root: Path) -> str:
    """docs/results.md with its tables anew."""
    bundle = root / "artifacts" / "default"
    tables = {"figures": figures(bundle), "aimed": aimed(bundle), "attackers": attackers(root / "reports" / "paper")}
    return filled(document, tables)


if __name__ == "__main__":
    for path, fill in ((Path("README.md"), filled_readme), (Path("docs/results.md"), filled_results)):
        path.write_text(fill(path.read_text(), Path()))
        print(f"{path}: figures filled in")
