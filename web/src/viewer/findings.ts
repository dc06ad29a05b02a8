// The findings of an accepted film, by call: each with its probability, where that lies beside its points, and what it means.
// Points are the answer's own, so an answer is always shown with those of the version that gave it.
import type { Accepted, Call } from "../api.js";
import { h, placed, replace } from "../dom.js";
import { descriptionOf } from "../models.js";
import type { ModelDescription, PublicFinding } from "../schemas.js";
import { percent, probability, readable, S } from "../strings.js";
import { CALLS, type Judged, judgedBy, logOdds, tally } from "./calls.js";

// Log odds from a bar's middle to its ends, at least: a finding twenty times as likely as its point lies at the end.
const REACH = 3;

type Description = "asked for" | "of another version" | "unknown" | ModelDescription;

export function findingsPanel(answer: Accepted, heatmaps: boolean, choose: (name: string) => void): HTMLElement {
  const about = h("div", { class: "about", role: "status" }, h("p", { class: "small" }, S.findings.aboutNone));
  let description: Description = "asked for";
  let shown: Judged | null = null;
  const explain = (judged: Judged): void => {
    shown = judged;
    replace(about, ...meaning(judged, description));
  };
  descriptionOf(answer.model_version)
    .then((model) => (description = model ?? "of another version"))
    .catch(() => (description = "unknown"))
    .finally(() => shown && explain(shown));

  let pointer = [-1, -1]; // where it was last
  const rows: HTMLButtonElement[] = [];
  const rowOf = (judged: Judged): HTMLElement => {
    const row = h(
      "button",
      {
        type: "button",
        class: "finding",
        "aria-pressed": "false",
        "data-finding": judged.name,
        "data-call": judged.call,
        // Not pointerenter: a line that scrolls under a resting pointer was not pointed at, and may have taken over from the keyboard.
        onpointermove: ({ clientX, clientY }: PointerEvent) => {
          const rests = clientX === pointer[0] && clientY === pointer[1];
          pointer = [clientX, clientY];
          if (!rests && shown !== judged) explain(judged);
        },
        onfocus: () => explain(judged),
        onclick: () => {
          for (const each of rows) each.setAttribute("aria-pressed", String(each === row));
          choose(judged.name);
        },
        onkeydown: (event: KeyboardEvent) => {
          const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
          if (step === undefined) return;
          event.preventDefault();
          rows[rows.indexOf(row) + step]?.focus();
        },
      },
      h("span", { class: "name" }, readable(judged.name)),
      gauge(judged),
      h("span", { class: "value" }, probability(judged.probability)),
      h("span", { class: "percentile" }, judged.call && S.findings.percentile(judged.percentile)),
      judged.call && h("span", { class: "hidden" }, S.calls.name[judged.call]),
    );
    rows.push(row);
    return row;
  };
  const counted = tally(answer);
  const groups: (Call | null)[] = counted ? [...CALLS, null] : [null];
  return h(
    "section",
    { class: "findings", "aria-label": S.findings.title },
    h("h2", {}, S.findings.title),
    h("p", { class: "small hint" }, `${counted ? S.findings.hint : S.findings.noCalls} `, heatmaps && h("span", {}, S.findings.choose)),
    ...groups.map((call) => groupOf(call, judgedBy(answer, call), rowOf)),
    about,
  );
}

// A group without findings is left out; that nothing is present is said.
function groupOf(call: Call | null, judged: Judged[], rowOf: (judged: Judged) => HTMLElement): HTMLElement | null {
  if (!judged.length && call !== "present") return null;
  const name = call ? S.calls.name[call] : S.calls.without;
  return h(
    "div",
    { class: "group", role: "group", "aria-label": name, "data-call": call },
    h("h3", {}, mark(call), `${name} `, h("span", { class: "count" }, judged.length ? String(judged.length) : S.calls.none)),
    ...judged.map(rowOf),
  );
}

// Of a shape of its own for each call, since a colour alone does not reach everyone.
export const mark = (call: Call | null): HTMLElement => h("span", { class: "mark", "data-call": call, "aria-hidden": "true" });

// The band from absent_below to present_from lies about the middle of every bar, whatever the finding's probabilities are.
function gauge({ call, probability: value, presentFrom, absentBelow }: Judged): HTMLElement {
  if (presentFrom === null || absentBelow === null) {
    return h("span", { class: "track" }, !call && placed(h("span", { class: "fill" }), "inline-size", value));
  }
  const [low, high] = [logOdds(absentBelow), logOdds(presentFrom)];
  const reach = Math.max(REACH, high - low);
  const at = (odds: number): number => 0.5 + (odds - (low + high) / 2) / (2 * reach);
  const here = Math.min(0.97, Math.max(0.03, at(logOdds(value)))); // so that the mark is seen whole
  const band = placed(placed(h("span", { class: "band" }), "inset-inline-start", at(low)), "inline-size", at(high) - at(low));
  return h(
    "span",
    { class: "track" },
    band,
    placed(h("span", { class: "fill" }), "inline-size", here),
    placed(mark(call), "inset-inline-start", here),
  );
}

function meaning(judged: Judged, description: Description): HTMLElement[] {
  const { name, call, probability: value, presentFrom, absentBelow } = judged;
  const points = presentFrom === null || absentBelow === null ? "" : ` (${S.findings.points(presentFrom, absentBelow)})`;
  const said = [
    h("p", {}, h("strong", {}, S.findings.value(readable(name), value, call && S.calls.name[call].toLowerCase())), points),
    h("p", {}, call ? S.calls.meaning[call] : S.findings.noCall),
  ];
  if (description === "asked for") return said;
  if (description === "unknown") return [...said, h("p", {}, S.findings.noDescription)];
  if (description === "of another version") return [...said, h("p", {}, S.findings.otherVersion)];
  const finding = description.findings.find((each) => each.name === name);
  return finding ? [...said, measured(finding)] : said;
}

// How good the calls were on films that the network had not seen.
function measured(finding: PublicFinding): HTMLElement {
  const M = S.findings.measured;
  const { specificity, specificity_lower_bound: bound, sensitivity, missed, auroc } = finding;
  const share = (value: number | null): string => (value === null ? M.unknown : percent(value));
  const said: [readonly [string, string], string][] = [
    [M.sensitivity, share(sensitivity)],
    [M.specificity, share(specificity)],
    [M.missed, share(missed)],
    [M.bound, share(bound)],
    [M.films, M.counts(finding.held_out_positives, finding.held_out_positives + finding.held_out_negatives)],
    [M.auroc, auroc === null ? M.unknown : auroc.toFixed(2)],
    [M.prevalence, percent(finding.prevalence, 1)],
  ];
  return h("dl", {}, ...said.map(([[term, title], value]) => h("div", { title }, h("dt", {}, term), h("dd", {}, value))));
}
