import assert from "node:assert/strict";
import { test } from "node:test";
import type { Accepted, Call } from "../src/api.js";
import type { Film } from "../src/viewer/film.js";
import { type Order, ordered } from "../src/viewer/order.js";
import { filmNamed } from "./films.js";

function film(name: string, state: Film["state"], ...calls: Call[]): Film {
  const each = { present_from: 0.5, absent_below: 0.4, percentile: null };
  const answer = {
    probabilities: Object.fromEntries(calls.map((_, index) => [String(index), 0.5])),
    calls: Object.fromEntries(calls.map((call, index) => [String(index), { ...each, call }])),
  } as unknown as Accepted;
  return { ...filmNamed(name), state, answer: calls.length ? answer : null };
}

const FILMS = [
  film("film10", "accepted", "indeterminate", "absent"),
  film("film9", "accepted", "present", "present"),
  film("b", "failed"),
  film("a", "rejected"),
  film("c", "released", "present", "indeterminate"),
  film("d", "waiting"),
];

for (const [order, expected] of Object.entries({
  added: ["film10", "film9", "b", "a", "c", "d"],
  calls: ["film9", "c", "film10", "a", "b", "d"],
  name: ["a", "b", "c", "d", "film9", "film10"],
  state: ["a", "b", "c", "film10", "film9", "d"],
})) {
  test(`ordered by ${order}`, () => {
    const before = [...FILMS];
    assert.deepEqual(ordered(FILMS, order as Order).map(({ name }) => name), expected);
    assert.deepEqual(FILMS, before);
  });
}
