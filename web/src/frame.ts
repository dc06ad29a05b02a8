// What both pages share: the bar at the top, colours, and how a problem is shown.
import type { Problem } from "./api.js";
import { h, replace } from "./dom.js";
import { ask } from "./key.js";
import { served, whenServed } from "./models.js";
import { S } from "./strings.js";

const THEMES = ["auto", "light", "dark"] as const;
type Theme = (typeof THEMES)[number];
const THEME = "cxr-gate-theme";

function theme(): Theme {
  const kept = localStorage.getItem(THEME);
  return THEMES.find((each) => each === kept) ?? "auto";
}

function themeButton(): HTMLElement {
  const show = (): void => {
    if (theme() === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme();
    button.textContent = S.theme[theme()];
  };
  const button = h("button", {
    type: "button",
    class: "quiet",
    onclick: () => {
      localStorage.setItem(THEME, THEMES[(THEMES.indexOf(theme()) + 1) % THEMES.length] ?? "auto");
      show();
    },
  });
  show();
  return button;
}

export function bar(here: "viewer" | "ops", changedKey: () => void): HTMLElement {
  const version = h("span", { class: "version" });
  whenServed((model) => replace(version, S.model(model.model_version)));
  served().catch(() => undefined);
  const link = (page: "viewer" | "ops", path: string, name: string): HTMLElement =>
    h("a", { href: path, "aria-current": here === page ? "page" : null }, name);
  return h(
    "header",
    { class: "bar" },
    h("strong", {}, S.product),
    h("nav", { "aria-label": S.pages }, link("viewer", "/", S.toViewer), link("ops", "/ops", S.toOps)),
    h("span", { class: "notice" }, S.notDevice),
    version,
    themeButton(),
    h("button", { type: "button", class: "quiet", onclick: () => void ask().then(changedKey) }, S.key.change),
  );
}

export function problemBox(problem: Problem): HTMLElement {
  return h(
    "div",
    { class: "problem", role: "alert" },
    h("strong", {}, problem.title),
    problem.detail && h("p", {}, problem.detail),
    problem.type && h("a", { href: problem.type, target: "_blank", rel: "noopener" }, S.more),
    problem.requestId && h("p", { class: "reference" }, S.reference(problem.requestId)),
  );
}
