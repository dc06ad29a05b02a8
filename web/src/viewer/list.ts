// The list of films: one line says of each what came of it; it lies in the order that a person chooses.
import { type Child, h, replace } from "../dom.js";
import { S } from "../strings.js";
import { tally } from "./calls.js";
import type { Film } from "./film.js";
import { mark } from "./findings.js";
import { type Order, ordered, ORDERS } from "./order.js";

export class FilmList {
  readonly element = h("ul", { class: "list" });
  readonly sorter: HTMLElement;
  readonly #films: readonly Film[]; // as they were added
  #listed: Film[] = [];
  #chosen: Film | null = null;
  #order: Order = "added";
  readonly #rows = new WeakMap<Film, HTMLButtonElement>();
  readonly #choose: (film: Film) => void;

  constructor(films: readonly Film[], choose: (film: Film) => void) {
    this.#films = films;
    this.#choose = choose;
    const select = h(
      "select",
      {
        id: "order",
        onchange: () => {
          this.#order = ORDERS[select.selectedIndex] ?? "added";
          this.sort();
        },
      },
      ...ORDERS.map((order) => h("option", {}, S.list.orders[order])),
    );
    this.sorter = h("label", { class: "sorter small", for: "order" }, `${S.list.sortBy} `, select);
  }

  // Done when films come or go, when the order is chosen, and when the last film is judged: not at each, for then a line would move
  // away from under the hand that reaches for it.
  sort(): void {
    this.#listed = ordered(this.#films, this.#order);
    const focus = document.activeElement;
    replace(this.element, ...this.#listed.map((film) => this.#rowOf(film).parentElement));
    if (focus instanceof HTMLElement && this.element.contains(focus)) focus.focus();
    this.#reveal();
  }

  paint(film: Film): void {
    const row = this.#rowOf(film);
    row.dataset.state = film.state;
    replace(row.lastElementChild as Element, ...summaryOf(film));
    row.setAttribute("aria-current", String(film === this.#chosen));
  }

  choose(film: Film | null): void {
    const before = this.#chosen;
    this.#chosen = film;
    for (const each of [before, film]) if (each) this.paint(each);
    this.#reveal();
  }

  // The film that is listed so many places after one.
  after(film: Film, places: number): Film | undefined {
    return this.#listed[this.#listed.indexOf(film) + places];
  }

  focus(film: Film): void {
    this.#rowOf(film).focus();
  }

  #reveal(): void {
    if (this.#chosen) this.#rowOf(this.#chosen).scrollIntoView({ block: "nearest" });
  }

  #rowOf(film: Film): HTMLButtonElement {
    const known = this.#rows.get(film);
    if (known) return known;
    const file = film.name.lastIndexOf("/") + 1;
    const row = h(
      "button",
      {
        type: "button",
        onclick: () => this.#choose(film),
        onkeydown: (event: KeyboardEvent) => {
          const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
          const next = step === undefined ? undefined : this.after(film, step);
          if (step !== undefined) event.preventDefault();
          if (!next) return;
          this.#choose(next);
          this.focus(next);
        },
      },
      h(
        "span",
        { class: "name", title: film.name },
        file > 0 && h("span", { class: "folder" }, film.name.slice(0, file)),
        h("span", { class: "file" }, film.name.slice(file)),
      ),
      h("span", { class: "state" }),
    );
    h("li", {}, row);
    this.#rows.set(film, row);
    this.paint(film);
    return row;
  }
}

function summaryOf(film: Film): Child[] {
  if (film.problem) return [film.problem.title || S.list.state[film.state]];
  const counted = film.answer && tally(film.answer);
  if (!counted) return [S.list.state[film.state]];
  const { present, indeterminate, absent } = counted;
  const call = present ? "present" : indeterminate ? "indeterminate" : absent ? "absent" : "not called";
  return [mark(call), film.released && `${S.list.state.released}: `, S.list.calls(present, indeterminate, present + indeterminate + absent)];
}
