// The record's decisions, a page at a time: however many there are, a hundred are in the page.
import { json } from "../api.js";
import { h, replace } from "../dom.js";
import type { DecisionPage, DecisionSummary } from "../schemas.js";
import { S } from "../strings.js";
import { attempt, type Section } from "./section.js";

const D = S.decisions;
const NUMBERS = new Set<string>([D.columns.entry, D.columns.seconds]);

export function decisionsSection(review: (film: string) => void): Section {
  const select = (name: string, label: string, ...choices: string[]): HTMLElement =>
    h(
      "label",
      {},
      label,
      h("select", { name }, h("option", { value: "" }, D.any), ...choices.map((each) => h("option", { value: each }, each))),
    );
  const text = (name: string, label: string): HTMLElement =>
    h("label", {}, label, h("input", { type: "text", name, size: 22, maxlength: 255, autocomplete: "off" }));
  const form = h(
    "form",
    {
      class: "filters",
      "aria-label": D.filters,
      onsubmit: (event: SubmitEvent) => {
        event.preventDefault();
        void load();
      },
      onchange: () => void load(),
    },
    select("verdict", D.verdict, "accepted", "rejected"),
    select("source_kind", D.kind, "dicom", "png", "jpeg"),
    text("caller", D.caller),
    text("model_version", D.version),
    h("button", { type: "submit" }, D.apply),
  );
  const problem = h("div", {});
  const table = h("div", { class: "table", tabindex: 0, role: "region", "aria-label": D.table });
  const where = h("span", { class: "small", role: "status" });
  const newest = h("button", { type: "button", onclick: () => void load() }, D.newest);
  const older = h("button", { type: "button", onclick: () => void load(next) }, D.older);
  let next: number | null = null;
  let loads = 0;

  async function load(before: number | null = null): Promise<void> {
    const query = new URLSearchParams({ limit: "100" });
    for (const [name, value] of new FormData(form)) if (typeof value === "string" && value) query.set(name, value.trim());
    if (before !== null) query.set("before", String(before));
    const mine = ++loads;
    await attempt(problem, async () => {
      const page = await json<DecisionPage>(`/v1/decisions?${query}`);
      if (mine !== loads) return; // another was asked for since
      next = page.next;
      older.disabled = next === null;
      newest.disabled = before === null;
      const [first, last] = [page.decisions[0], page.decisions.at(-1)];
      replace(where, first && last ? D.page(first.entry, last.entry) : D.none);
      replace(table, tableOf(page.decisions, review));
      table.scrollTop = 0;
    });
  }

  return {
    element: h("div", {}, form, problem, table, h("div", { class: "pager" }, newest, older, where)),
    start: () => load(),
    stop: () => undefined,
  };
}

function tableOf(decisions: DecisionSummary[], review: (film: string) => void): HTMLElement {
  const C = D.columns;
  const head = [C.entry, C.time, C.verdict, C.caller, C.kind, C.route, C.seconds, C.version, C.request];
  const row = (each: DecisionSummary): HTMLElement =>
    h(
      "tr",
      {},
      h("td", { class: "number" }, String(each.entry)),
      h("td", {}, each.time.slice(0, 19).replace("T", " ")),
      h(
        "td",
        {},
        each.film !== null
          ? h("button", { type: "button", onclick: () => review(each.film ?? "") }, each.verdict)
          : h("span", { class: each.verdict === "rejected" ? "state-bad" : "" }, each.verdict),
        each.repeated && ` (${D.repeated})`,
        !each.intact && h("strong", { class: "state-bad" }, ` ${D.changed}`),
      ),
      h("td", {}, each.caller),
      h("td", {}, each.source_kind),
      h("td", {}, each.route),
      h("td", { class: "number" }, each.seconds === null ? "" : S.live.seconds(each.seconds)),
      h("td", { class: "id" }, each.model_version),
      h("td", { class: "id" }, each.request_id),
    );
  return h(
    "table",
    {},
    h("thead", {}, h("tr", {}, ...head.map((name) => h("th", { scope: "col", class: NUMBERS.has(name) ? "number" : null }, name)))),
    h("tbody", {}, ...decisions.map(row)),
  );
}
