import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { Problem } from "../src/api.js";
import type { Film } from "../src/viewer/film.js";
import { AT_ONCE, Queue } from "../src/viewer/queue.js";
import { filmNamed, held, type Held, settled } from "./films.js";

let begun: { film: Film; end: Held }[];
let changed: string[];
let finished: number;
let onShow: Film | null;
let queue: Queue;

beforeEach(() => {
  [begun, changed, finished, onShow] = [[], [], 0, null];
  queue = new Queue({
    judge: (film) => {
      const end = held();
      begun.push({ film, end });
      return end.promise;
    },
    first: () => onShow,
    changed: (film) => changed.push(`${film.name} ${film.state}`),
    finished: () => finished++,
  });
});

const names = (): string[] => begun.map(({ film }) => film.name);

async function end(name: string, state: Film["state"] = "accepted", problem: Problem | null = null): Promise<void> {
  const each = begun.find(({ film }) => film.name === name);
  assert.ok(each, name);
  [each.film.state, each.film.problem] = [state, problem];
  each.end.resolve();
  await settled();
}

test("no more are judged at once than the service should be sent, and in the order in which they came", async () => {
  queue.add(["a", "b", "c", "d"].map(filmNamed));
  assert.deepEqual(names(), ["a", "b"]);
  assert.equal(names().length, AT_ONCE);
  await end("b");
  assert.deepEqual(names(), ["a", "b", "c"]);
  await end("a");
  await end("c");
  await end("d");
  assert.deepEqual(names(), ["a", "b", "c", "d"]);
  assert.equal(queue.counts().accepted, 4);
});

test("the film on show goes before those that came earlier", async () => {
  const films = ["a", "b", "c", "d"].map(filmNamed);
  queue.add(films);
  onShow = films[3] ?? null;
  await end("a");
  assert.deepEqual(names(), ["a", "b", "d"]);
  await end("b"); // and once it is being judged, the others follow
  assert.deepEqual(names(), ["a", "b", "d", "c"]);
});

test("it is finished once, after the last film, and again when more have come", async () => {
  queue.add(["a", "b"].map(filmNamed));
  await end("a");
  assert.equal(finished, 0);
  await end("b", "failed");
  assert.equal(finished, 1);
  queue.add([filmNamed("c")]);
  await end("c");
  assert.equal(finished, 2);
});

test("each change of a film is told", async () => {
  queue.add([filmNamed("a")]);
  await end("a", "rejected");
  assert.deepEqual(changed, ["a judging", "a rejected"]);
});

test("without a key all that wait fail with the same problem, and none is asked for", async () => {
  queue.add(["a", "b", "c", "d"].map(filmNamed));
  const problem = new Problem(401, "unauthenticated", "");
  await end("a", "failed", problem);
  assert.deepEqual(names(), ["a", "b"]);
  assert.deepEqual(queue.films.map((film) => film.state), ["failed", "judging", "failed", "failed"]);
  assert.equal(queue.films[2]?.problem, problem);
});

test("another problem fails its own film alone", async () => {
  queue.add(["a", "b", "c"].map(filmNamed));
  await end("a", "failed", new Problem(400, "malformed image", ""));
  assert.deepEqual(names(), ["a", "b", "c"]);
});

test("of a film that was cleared nothing is told, and new films are judged", async () => {
  queue.add(["a", "b", "c"].map(filmNamed));
  queue.clear();
  changed.length = 0;
  await end("a", "rejected");
  assert.deepEqual(changed, []);
  assert.deepEqual(names(), ["a", "b"]);
  queue.add([filmNamed("d")]);
  assert.deepEqual(names(), ["a", "b", "d"]);
  assert.deepEqual(queue.films.map(({ name }) => name), ["d"]);
});
