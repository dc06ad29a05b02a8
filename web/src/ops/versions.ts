// Bundles side by side: which one judges, which one is tried in shadow, and the way in and back.
import { json } from "../api.js";
import { h, replace } from "../dom.js";
import { served } from "../models.js";
import type { ListedVersion, ShadowComparison, VersionsState } from "../schemas.js";
import { S } from "../strings.js";
import { attempt, type Section } from "./section.js";

const V = S.versions;

export function versionsSection(): Section {
  const problem = h("div", { role: "status" });
  const body = h("div", { class: "cards" });

  const paint = (state: VersionsState): void =>
    replace(
      body,
      h("section", { class: "card wide" }, h("h2", {}, V.title), tableOf(state.versions, act)),
      h("section", { class: "card", "data-card": "comparison" }, h("h2", {}, V.compare), ...compared(state.comparison)),
    );

  function act(path: string, method: "POST" | "DELETE", question: string | null): void {
    void sure(question).then((yes) => {
      if (!yes) return;
      void attempt(problem, async () => {
        for (const button of body.querySelectorAll("button")) button.disabled = true;
        replace(problem, h("p", {}, V.working));
        try {
          paint(await json<VersionsState>(path, { method }));
          replace(problem);
          served().catch(() => undefined); // for the bar at the top
        } catch (error) {
          paint(await json<VersionsState>("/v1/versions"));
          throw error;
        }
      });
    });
  }

  return {
    element: h("div", {}, problem, body),
    start: () => attempt(problem, async () => paint(await json<VersionsState>("/v1/versions"))),
    stop: () => undefined,
  };
}

type Act = (path: string, method: "POST" | "DELETE", question: string | null) => void;

function tableOf(versions: ListedVersion[], act: Act): HTMLElement {
  const row = (version: ListedVersion): HTMLElement => {
    const name = version.model_version ?? version.folder ?? "";
    const path = `/v1/versions/${encodeURIComponent(name)}`;
    const button = (text: string, does: () => void): HTMLElement => h("button", { type: "button", onclick: does }, text);
    const actions = {
      active: [],
      idle: version.verified ? [button(V.shadow, () => act(`${path}/shadow`, "POST", null))] : [],
      shadow: [
        button(V.promote, () => act(`${path}/promote`, "POST", V.sure.promote(name))),
        button(V.endShadow, () => act("/v1/versions/shadow", "DELETE", null)),
      ],
      previous: [button(V.rollBack, () => act("/v1/versions/rollback", "POST", V.sure.rollback))],
    }[version.role];
    return h(
      "tr",
      { "data-role": version.role },
      h("td", { class: "id" }, name),
      h("td", {}, h("span", { class: version.role === "active" ? "state-good" : "" }, V.roles[version.role])),
      h("td", {}, version.verified ? V.good : `${V.bad}: ${version.reason ?? ""}`),
      h("td", {}, h("div", { class: "actions" }, ...actions)),
    );
  };
  const head = [V.version, V.role, V.verified, V.actions];
  return h(
    "div",
    { class: "table", tabindex: 0, role: "region", "aria-label": V.title },
    h(
      "table",
      {},
      h("thead", {}, h("tr", {}, ...head.map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, ...versions.map(row)),
    ),
  );
}

function compared(comparison: ShadowComparison | null): Node[] {
  if (!comparison) return [h("p", {}, V.noShadow)];
  const shadows = ["accepted", "rejected", "not_judged"] as const;
  const films = (active: string, shadow: string): string =>
    String(comparison.films.find((each) => each.active === active && each.shadow === shadow)?.films ?? 0);
  const since = V.since(comparison.since.slice(0, 16).replace("T", " "));
  return [
    h("p", { class: "small" }, V.between(comparison.shadow, comparison.active)),
    h("p", { class: "small" }, `${since}, ${comparison.ended ? V.ended(comparison.ended) : V.running}`),
    h(
      "table",
      {},
      h("thead", {}, h("tr", {}, h("td", {}), ...shadows.map((each) => h("th", { scope: "col", class: "number" }, `${V.shadowSays}: ${V.judgements[each]}`)))),
      h(
        "tbody",
        {},
        ...(["accepted", "rejected"] as const).map((active) =>
          h(
            "tr",
            {},
            h("th", { scope: "row" }, `${V.activeSays}: ${V.judgements[active]}`),
            ...shadows.map((shadow) => h("td", { class: "number" }, films(active, shadow))),
          ),
        ),
      ),
    ),
    h(
      "dl",
      {},
      h("dt", {}, V.difference),
      h("dd", {}, comparison.largest_probability_difference.toFixed(3)),
      h("dt", {}, V.dropped),
      h("dd", {}, String(comparison.dropped)),
      h("dt", {}, V.errors),
      h("dd", {}, String(comparison.errors)),
    ),
  ];
}

function sure(question: string | null): Promise<boolean> {
  if (question === null) return Promise.resolve(true);
  return new Promise((resolve) => {
    const end = (): void => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    };
    const dialog = h(
      "dialog",
      { "aria-labelledby": "question", onclose: end },
      h("p", { id: "question" }, question),
      h(
        "div",
        { class: "actions" },
        h("button", { type: "button", onclick: () => dialog.close("") }, V.no),
        h("button", { type: "button", class: "primary", onclick: () => dialog.close("yes") }, V.yes),
      ),
    );
    document.body.append(dialog);
    dialog.showModal();
  });
}
