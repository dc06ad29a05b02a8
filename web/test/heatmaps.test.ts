import assert from "node:assert/strict";
import { test } from "node:test";
import type { Accepted, Call } from "../src/api.js";
import type { Film } from "../src/viewer/film.js";
import type { Heatmap } from "../src/viewer/heatmap.js";
import { captionOf, Heatmaps } from "../src/viewer/heatmaps.js";
import { type Picture, Pictures } from "../src/viewer/pictures.js";
import { filmNamed, held, type Held } from "./films.js";

const of = (version: string | null): Heatmap => ({ version }) as Heatmap;

function called(call: Call, version: string): Film {
  const calls = { Mass: { call, present_from: 0.5, absent_below: 0.4, percentile: null } };
  return { ...filmNamed("a"), answer: { model_version: version, calls } as unknown as Accepted };
}

test("a heatmap is asked for once for each film and finding, also one of nothing and one that is still being made", async () => {
  const asked: string[] = [];
  const heatmaps = new Heatmaps((film, finding) => {
    asked.push(`${film.name} ${finding}`);
    return Promise.resolve(finding === "Mass" ? of("1") : null);
  });
  const [a, b] = [filmNamed("a"), filmNamed("b")];
  const [first, again] = [heatmaps.of(a, "Mass"), heatmaps.of(a, "Mass")];
  assert.equal(await first, await again);
  assert.equal(await heatmaps.of(a, "Nodule"), null);
  await heatmaps.of(a, "Nodule");
  await heatmaps.of(b, "Mass");
  assert.deepEqual(asked, ["a Mass", "a Nodule", "b Mass"]);
});

test("one that failed is asked for again", async () => {
  let times = 0;
  const heatmaps = new Heatmaps(() => (times++ ? Promise.resolve(of("1")) : Promise.reject(new Error("overloaded"))));
  const film = filmNamed("a");
  await assert.rejects(heatmaps.of(film, "Mass"), /overloaded/);
  assert.deepEqual(await heatmaps.of(film, "Mass"), of("1"));
});

test("a caption says what the call and the version take from a heatmap", () => {
  assert.equal(captionOf(called("present", "1"), "Mass", of("1")), "Heatmap: Mass");
  assert.match(captionOf(called("absent", "1"), "Mass", of("1")), /^Heatmap: Mass\. It is absent: /);
  assert.match(captionOf(called("not called", "1"), "Mass", of("2")), /It is not called: .*did not give this answer\.$/);
  assert.doesNotMatch(captionOf(called("indeterminate", "1"), "Mass", of(null)), /It is|did not give/);
  assert.match(captionOf(called("present", "1"), "Mass", null), /Nothing to show/);
});

test("the last picture is kept, and one that failed is asked for again", async () => {
  const asked: { film: Film; answer: Held<Picture> }[] = [];
  const pictures = new Pictures((film) => {
    const answer = held<Picture>();
    asked.push({ film, answer });
    return answer.promise;
  });
  const [a, b] = [filmNamed("a"), filmNamed("b")];
  const [failing, kept] = [pictures.of(a), pictures.of(b)];
  asked[0]?.answer.reject(new Error("gone")); // after b took its place: b must stay
  await assert.rejects(failing);
  assert.equal(pictures.of(b), kept);
  assert.equal(asked.length, 2);
  const once = pictures.of(a);
  asked[2]?.answer.reject(new Error("gone"));
  await assert.rejects(once);
  void pictures.of(a);
  assert.equal(asked.length, 4);
});
