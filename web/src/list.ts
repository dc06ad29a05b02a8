// The list of films: one line says of each what came of it; it lies in the order that a person chooses.
import { tally } from "./calls.js";
import { type Child, h, replace } from "./dom.js";
import type { Film, FilmState } from "./film.js";
import { mark } from "./findings.js";
import { S } from "./strings.js";

const ORDERS = ["added", "calls", "name", "state"] as const;
type Order = (typeof ORDERS)[number];

// States in the order of what is to be done about them.
const STATES: readonly FilmState[] = ["rejected", "failed", "released", "accepted", "judging", "waiting"];

export class FilmList {
  readonly element = h("ul", { class: "list" });
  readonly sorter: HTMLElement;
  readonly films: Film[] = []; // as they were added
  #listed: Film[] = [];
  #chosen: Film | null = null;
  #order: Order = "added";
  readonly #rows = new Map<Film, HTMLButtonElement>();
  readonly #choose: (film: Film) => void;

  constructor(choose: (film: Film) => void) {
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

  add(added: Film[]): void {
    this.films.push(...added);
    for (const film of added) this.#rows.set(film, this.#rowOf(film));
    this.sort();
  }

  clear(): void {
    this.films.length = 0;
    this.#chosen = null;
    this.#rows.clear();
    this.sort();
  }

  // Done when films come, when the order is chosen, and when the last film is judged: not at each, for then a line would move
  // away from under the hand that reaches for it.
  sort(): void {
    const compare = COMPARE[this.#order];
    this.#listed = compare ? [...this.films].sort(compare) : [...this.films];
    const focus = document.activeElement;
    replace(this.element, ...this.#listed.map((film) => this.#rows.get(film)?.parentElement));
    if (focus instanceof HTMLElement && this.element.contains(focus)) focus.focus();
    this.#rows.get(this.#chosen as Film)?.scrollIntoView({ block: "nearest" });
  }

  paint(film: Film): void {
    const row = this.#rows.get(film);
    if (!row) return;
    row.dataset["state"] = film.state;
    replace(row.lastElementChild as Element, ...summaryOf(film));
    row.setAttribute("aria-current", String(film === this.#chosen));
  }

  choose(film: Film): void {
    const before = this.#chosen;
    this.#chosen = film;
    if (before) this.paint(before);
    this.paint(film);
    this.#rows.get(film)?.scrollIntoView({ block: "nearest" });
  }

  // The film that is listed so many places after one.
  after(film: Film, places: number): Film | undefined {
    return this.#listed[this.#listed.indexOf(film) + places];
  }

  focus(film: Film): void {
    this.#rows.get(film)?.focus();
  }

  #rowOf(film: Film): HTMLButtonElement {
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
      h("span", { class: "name", title: film.name }, film.name),
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

// By how many findings are present, then by how many may be; films without an answer come last.
const called = (film: Film): number => {
  const counted = film.answer && tally(film.answer);
  return counted ? 100 * counted.present + counted.indeterminate : -1 - STATES.indexOf(film.state);
};

const COMPARE: Record<Order, ((one: Film, other: Film) => number) | null> = {
  added: null,
  calls: (one, other) => called(other) - called(one),
  name: (one, other) => one.name.localeCompare(other.name, "en", { numeric: true }),
  state: (one, other) => STATES.indexOf(one.state) - STATES.indexOf(other.state),
};
