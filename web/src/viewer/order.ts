// The orders in which the list of films may lie.
import { tally } from "./calls.js";
import type { Film, FilmState } from "./film.js";

export const ORDERS = ["added", "calls", "name", "state"] as const;
export type Order = (typeof ORDERS)[number];

// States in the order of what is to be done about them.
const STATES: readonly FilmState[] = ["rejected", "failed", "released", "accepted", "judging", "waiting"];

// By how many findings are present, then by how many may be; films without an answer come last.
const called = (film: Film): number => {
  const counted = film.answer && tally(film.answer);
  return counted ? 100 * counted.present + counted.indeterminate : -1 - STATES.indexOf(film.state);
};

const COMPARE: Record<Order, (one: Film, other: Film) => number> = {
  added: () => 0,
  calls: (one, other) => called(other) - called(one),
  name: (one, other) => one.name.localeCompare(other.name, "en", { numeric: true }),
  state: (one, other) => STATES.indexOf(one.state) - STATES.indexOf(other.state),
};

export const ordered = (films: readonly Film[], order: Order): Film[] => [...films].sort(COMPARE[order]);
