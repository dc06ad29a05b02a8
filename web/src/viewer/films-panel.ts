// Beside the film, at the left: where films are opened, how far they are, and the list of them.
import { h, replace } from "../dom.js";
import { S } from "../strings.js";
import { type Film, filmOf } from "./film.js";
import type { FilmList } from "./list.js";
import type { Counts } from "./queue.js";

interface Actions {
  open: (films: Film[]) => void;
  saveCsv: () => void;
  clear: () => void;
}

export class FilmsPanel {
  readonly element: HTMLElement;
  readonly #progress = h("progress", { max: 1, value: 0, "aria-label": S.list.title });
  readonly #summary = h("p", { class: "small", role: "status" });
  readonly #saveCsv: HTMLButtonElement;
  readonly #clear: HTMLButtonElement;

  constructor(list: FilmList, { open, saveCsv, clear }: Actions) {
    this.#saveCsv = h("button", { type: "button", onclick: saveCsv }, S.list.csv);
    this.#clear = h("button", { type: "button", onclick: clear }, S.list.clear);
    this.element = h(
      "section",
      { class: "films", "aria-label": S.list.title },
      h("h1", {}, S.list.title),
      h("div", { class: "actions" }, chooser(S.list.choose, false, open), chooser(S.list.folder, true, open)),
      h("div", { class: "invitation" }, h("strong", {}, S.list.drop), h("p", {}, S.list.dropMore)),
      this.#progress,
      this.#summary,
      list.sorter,
      list.element,
      h("p", { class: "small foot" }, S.list.keys),
      h("div", { class: "actions foot" }, this.#saveCsv, this.#clear),
    );
  }

  count({ accepted, rejected, released, failed, waiting, judging }: Counts): void {
    const done = accepted + rejected + released + failed;
    const all = done + waiting + judging;
    this.#progress.max = all || 1;
    this.#progress.value = done;
    this.#progress.hidden = done === all;
    const summary = `${S.list.progress(done, all)}: ${S.list.summary(accepted, rejected, released, failed)}.`;
    replace(this.#summary, all ? summary : null);
    this.#clear.disabled = all === 0;
    this.#saveCsv.disabled = done === 0;
    document.body.classList.toggle("empty", all === 0);
  }
}

function chooser(text: string, folder: boolean, open: (films: Film[]) => void): HTMLElement {
  const input = h("input", {
    type: "file",
    multiple: true,
    hidden: true,
    webkitdirectory: folder,
    "aria-label": text,
    onchange: () => {
      open([...(input.files ?? [])].filter((file) => !file.name.startsWith(".")).map((file) => filmOf(file)));
      input.value = "";
    },
  });
  return h("span", {}, input, h("button", { type: "button", onclick: () => input.click() }, text));
}
