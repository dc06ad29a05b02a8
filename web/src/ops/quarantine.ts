// Rejected films that are kept: looked at beside their fine detail, then released or confirmed with a reason.
import { call, json } from "../api.js";
import { type Child, h, replace } from "../dom.js";
import { fieldOf, legendOf, outlineOf } from "../field.js";
import type { JudgedField, KeptFilmDetails, KeptFilmPage, KeptFilmSummary } from "../schemas.js";
import { S } from "../strings.js";
import { attempt, type Section } from "./section.js";

const Q = S.quarantine;
const spoken = (time: string): string => time.slice(0, 19).replace("T", " ");

export interface QuarantineSection extends Section {
  review(id: string): void;
}

export function quarantineSection(): QuarantineSection {
  const problem = h("div", {});
  const list = h("ul", { class: "list" });
  const more = h("button", { type: "button", hidden: true, onclick: () => void load(next) }, Q.older);
  const pair = h("div", { class: "pair" });
  const side = h("div", { class: "card" }, h("p", {}, Q.choose));
  const state = h(
    "select",
    { id: "state", onchange: () => void load() },
    ...(["pending", "released", "confirmed"] as const).map((each) => h("option", { value: each }, Q.states[each])),
    h("option", { value: "" }, Q.all),
  );
  let next: string | null = null;
  let chosen = "";
  let urls: string[] = [];

  async function load(before: string | null = null): Promise<void> {
    const query = new URLSearchParams({ limit: "100" });
    if (state.value) query.set("state", state.value);
    if (before) query.set("before", before);
    await attempt(problem, async () => {
      const page = await json<KeptFilmPage>(`/v1/quarantine?${query}`);
      if (!before) replace(list);
      list.append(...page.films.map((film) => h("li", {}, rowOf(film))));
      if (!list.childElementCount) replace(list, h("li", { class: "small" }, Q.none));
      next = page.next;
      more.hidden = next === null;
      mark();
    });
  }

  const rowOf = (film: KeptFilmSummary): HTMLElement =>
    h(
      "button",
      { type: "button", "data-film": film.id, onclick: () => review(film.id) },
      h("span", { class: "name" }, spoken(film.time)),
      h("span", { class: "state" }, `${Q.states[film.state]} · ${film.source_kind} · ${film.callers.join(", ")}`),
    );

  function mark(): void {
    for (const row of list.querySelectorAll("button")) row.setAttribute("aria-current", String(row.dataset.film === chosen));
  }

  function review(id: string): void {
    chosen = id;
    mark();
    forget();
    replace(side, h("p", {}, S.ops.loading));
    void attempt(side, async () => {
      const path = `/v1/quarantine/${encodeURIComponent(id)}`;
      const details = await json<KeptFilmDetails>(path);
      if (chosen !== id) return;
      replace(side, ...about(details, path));
      const [film, residual] = await Promise.all([picture(`${path}/film`), picture(`${path}/residual`)]);
      if (chosen !== id) return;
      replace(
        pair,
        h(
          "figure",
          {},
          h("div", { class: "picture" }, h("img", { src: film.url, alt: Q.film }), film.field && outlineOf(film.field)),
          h(
            "figcaption",
            { class: "small" },
            h("strong", {}, Q.film),
            ...(film.field ? [h("br"), legendOf(film.field)] : []),
          ),
        ),
        h(
          "figure",
          {},
          h("img", { src: residual.url, alt: Q.residualOf, class: "detail" }),
          h("figcaption", { class: "small" }, h("strong", {}, Q.residual), h("br"), Q.residualWhat),
        ),
      );
    });
  }

  async function picture(path: string): Promise<{ url: string; field: JudgedField | null }> {
    const response = await call(path, { headers: { Accept: "image/png" } });
    const url = URL.createObjectURL(await response.blob());
    urls.push(url);
    return { url, field: fieldOf(response) };
  }

  function forget(): void {
    replace(pair);
    urls.forEach((url) => URL.revokeObjectURL(url));
    urls = [];
  }

  function about(details: KeptFilmDetails, path: string): Child[] {
    const row = (name: string, value: string): HTMLElement[] => [h("dt", {}, name), h("dd", {}, value)];
    return [
      h("h2", {}, Q.states[details.state]),
      h(
        "dl",
        { class: "plain" },
        ...row(Q.score, Q.scoreOf(details.log_density, details.percentile)),
        ...row(Q.sent, details.callers.join(", ")),
        ...row(Q.time, spoken(details.time)),
        ...row(Q.kind, details.source_kind),
        ...row(Q.version, details.model_version),
      ),
      ...(details.state === "pending" ? [decisionForm(path)] : []),
      details.happenings.length > 0 && h("h3", {}, Q.history),
      h(
        "ul",
        { class: "history" },
        ...details.happenings.map((each) =>
          h("li", {}, `${spoken(each.time)} ${Q.happening(each.kind, each.by)}`, each.reason && h("p", {}, `“${each.reason}”`)),
        ),
      ),
    ];
  }

  function decisionForm(path: string): HTMLElement {
    const reason = h("textarea", { id: "reason", required: true, minlength: 3, maxlength: 500, "aria-describedby": "reason-hint" });
    const refused = h("div", {});
    const decide = (action: "release" | "confirm"): void => {
      if (!reason.reportValidity()) return;
      void attempt(refused, async () => {
        const init = { method: "POST", body: JSON.stringify({ reason: reason.value }), headers: { "Content-Type": "application/json" } };
        const details = await json<KeptFilmDetails>(`${path}/${action}`, init);
        replace(side, h("p", { role: "status" }, h("strong", {}, Q.done(Q.states[details.state]))), ...about(details, path));
        await load();
      });
    };
    return h(
      "form",
      { onsubmit: (event: SubmitEvent) => event.preventDefault() },
      h("label", { for: "reason" }, h("strong", {}, Q.reason)),
      reason,
      h("p", { class: "small", id: "reason-hint" }, Q.reasonHint),
      h(
        "div",
        { class: "actions" },
        h("button", { type: "button", class: "primary", onclick: () => decide("release") }, Q.release),
        h("button", { type: "button", onclick: () => decide("confirm") }, Q.confirm),
      ),
      refused,
    );
  }

  return {
    element: h(
      "div",
      {},
      problem,
      h(
        "div",
        { class: "review" },
        h("div", { class: "card" }, h("h2", {}, Q.list), h("p", { class: "sorter" }, h("label", { for: "state" }, `${Q.state} `), state), list, more),
        pair,
        side,
      ),
    ),
    start: () => load(),
    stop: () => undefined,
    review,
  };
}
