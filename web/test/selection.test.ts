import assert from "node:assert/strict";
import { test } from "node:test";
import type { Film } from "../src/viewer/film.js";
import { Selection } from "../src/viewer/selection.js";
import { filmNamed } from "./films.js";

const [one, other] = [filmNamed("one"), filmNamed("other")];

test("a choice is told once", () => {
  const told: (Film | null)[] = [];
  const selection = new Selection((film) => told.push(film));
  selection.choose(one);
  selection.choose(one);
  selection.choose(other);
  selection.choose(null);
  assert.deepEqual(told, [one, other, null]);
});

test("who hears of a choice finds it made", () => {
  const selection: Selection = new Selection((film) => assert.equal(selection.film, film));
  selection.choose(one);
});

test("a heatmap that comes late is wanted only where its own film and finding are still on show", () => {
  const selection = new Selection(() => undefined);
  selection.choose(one);
  assert.equal(selection.isOn(one, "Mass"), false);
  selection.chooseFinding("Mass");
  assert.equal(selection.isOn(one, "Mass"), true);
  selection.chooseFinding("Nodule");
  assert.equal(selection.isOn(one, "Mass"), false);
  selection.choose(other);
  assert.equal(selection.isOn(other, "Nodule"), false);
  selection.choose(one); // back again, where no finding is chosen yet
  assert.equal(selection.isOn(one, "Nodule"), false);
});
