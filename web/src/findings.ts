// The 14 findings of an accepted film, largest first: bar, operating point, and what the number means.
import type { Accepted, Finding, Model } from "./api.js";
import { h, placed, replace } from "./dom.js";
import { probability, readable, S } from "./strings.js";

export function findingsPanel(answer: Accepted, model: Model | null, choose: (name: string) => void): HTMLElement {
  const known = new Map(model?.findings.map((finding) => [finding.name, finding]));
  const sorted = Object.entries(answer.probabilities).sort((one, other) => other[1] - one[1]);
  const about = h("div", { class: "about", id: "about", role: "status" }, h("p", {}, S.findings.aboutNone));
  const over = sorted.filter(([name, value]) => value >= (known.get(name)?.operating_point ?? Infinity)).length;
  const rows = sorted.map(([name, value]) => {
    const finding = known.get(name);
    const point = finding?.operating_point ?? null;
    const isOver = point !== null && value >= point;
    const explain = (): void => replace(about, ...meaning(name, value, finding));
    const row = h(
      "button",
      {
        type: "button",
        class: isOver ? "finding over" : "finding",
        "aria-pressed": "false",
        "data-finding": name,
        "aria-label": `${readable(name)} ${probability(value)}, ${isOver ? S.findings.over : S.findings.under}`,
        onpointerenter: explain,
        onfocus: explain,
        onclick: () => {
          for (const each of rows) each.setAttribute("aria-pressed", String(each === row));
          choose(name);
        },
        onkeydown: (event: KeyboardEvent) => {
          const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
          if (step === undefined) return;
          event.preventDefault();
          rows[rows.indexOf(row) + step]?.focus();
        },
      },
      h("span", { class: "name" }, readable(name)),
      h(
        "span",
        { class: "track" },
        placed(h("span", { class: "fill" }), "inline-size", value),
        point !== null && placed(h("span", { class: "point" }), "inset-inline-start", point),
      ),
      h("span", { class: "value" }, probability(value)),
    );
    return row;
  });
  return h(
    "div",
    { class: "findings" },
    h("h2", {}, S.findings.title),
    h("p", { class: "small" }, `${over ? S.findings.someOver(over) : S.findings.noneOver} ${S.findings.hint}`),
    h("div", { class: "rows" }, ...rows),
    about,
  );
}

function meaning(name: string, value: number, finding: Finding | undefined): HTMLElement[] {
  if (!finding) return [h("p", {}, S.findings.aboutNone)];
  const { sensitivity, specificity, operating_point, auroc, calibration_positives } = finding;
  return [
    h("p", {}, h("strong", {}, S.findings.value(readable(name), value, operating_point))),
    h(
      "p",
      {},
      sensitivity === null || specificity === null
        ? S.findings.noMeaning
        : `${S.findings.meaning(sensitivity, specificity)} (${S.findings.positives(calibration_positives)})`,
    ),
    h("p", {}, auroc === null ? S.findings.noAuroc : S.findings.auroc(auroc)),
  ];
}
