// The operations console: four tabs, of which the one on show asks the service.
import { h } from "./dom.js";
import { bar } from "./frame.js";
import { decisionsSection } from "./ops/decisions.js";
import { liveSection } from "./ops/live.js";
import { quarantineSection } from "./ops/quarantine.js";
import { versionsSection } from "./ops/versions.js";
import { S } from "./strings.js";

const quarantine = quarantineSection();
const sections = {
  live: liveSection(),
  decisions: decisionsSection((film) => {
    open("quarantine");
    quarantine.review(film);
  }),
  quarantine,
  versions: versionsSection(),
};
type Name = keyof typeof sections;
const names = Object.keys(sections) as Name[];
let shown: Name | null = null;

const tabs = names.map((name) =>
  h(
    "button",
    {
      type: "button",
      role: "tab",
      id: `tab-${name}`,
      "aria-controls": `panel-${name}`,
      onclick: () => open(name),
      onkeydown: (event: KeyboardEvent) => {
        const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (step === undefined) return;
        const next = names[(names.indexOf(name) + step + names.length) % names.length];
        if (next) open(next);
        tabs[names.indexOf(next ?? name)]?.focus();
      },
    },
    S.ops[name],
  ),
);
const panels = names.map((name) =>
  h("div", { role: "tabpanel", id: `panel-${name}`, "aria-labelledby": `tab-${name}`, hidden: true }, sections[name].element),
);

function open(name: Name): void {
  if (shown) sections[shown].stop();
  shown = name;
  names.forEach((each, index) => {
    tabs[index]?.setAttribute("aria-selected", String(each === name));
    tabs[index]?.setAttribute("tabindex", each === name ? "0" : "-1");
    const panel = panels[index];
    if (panel) panel.hidden = each !== name;
  });
  if (location.hash !== `#${name}`) history.replaceState(null, "", `#${name}`);
  void sections[name].start();
}

document.body.append(
  bar("ops", () => shown && open(shown)),
  h("main", {}, h("h1", { class: "hidden" }, S.toOps), h("div", { class: "tabs", role: "tablist", "aria-label": S.ops.sections }, ...tabs), ...panels),
);
open(names.find((name) => `#${name}` === location.hash) ?? "live");
